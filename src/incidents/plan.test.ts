import { describe, expect, it } from 'vitest'
import type { Condition, IncidentKind, OpenIncident } from './incident.ts'
import { leftOutCondition } from './leftOut.ts'
import { OPEN_INCIDENTS_LIMIT, planChanges } from './plan.ts'

const condition = (subject: string, over: Partial<Condition> = {}): Condition => ({
  kind: 'dead_letters',
  subject,
  title: `Runs of ${subject} gave up`,
  what: 'One run gave up.',
  since: 1,
  holdsUp: 'It.',
  todo: 'Retry it.',
  ...over,
})
const incident = (subject: string, over: Partial<OpenIncident> = {}): OpenIncident => ({
  ...condition(subject),
  id: `inc_${subject}`,
  state: 'open',
  ...over,
})
const LOOKED = new Set<IncidentKind>(['dead_letters'])

describe('an outage', () => {
  const subject = 'con_1 hubspot.contacts.create'
  const calls = { kind: 'failing_calls', connectionId: 'con_1' } as const
  const outage = (target: string, connectionId = 'con_1') =>
    condition('out_1', { kind: 'outage', connectionId, covers: { connectionId, target } })
  const looked = new Set<IncidentKind>(['failing_calls', 'outage'])

  it('takes over the incident of the calls that it covers, instead of opening one beside it', () => {
    const before = incident(subject, calls)
    for (const target of ['hubspot', 'hubspot.contacts']) {
      const plan = planChanges([before], [condition(subject, calls), outage(target)], looked)
      expect(plan.takeOver).toEqual([{ incident: before, now: outage(target) }])
      expect([plan.open, plan.update, plan.resolve]).toEqual([[], [], []])
    }
  })

  it('keeps calls that begin to fail from an incident of their own', () => {
    const known = { ...outage('hubspot'), id: 'inc_o', state: 'open' } as const
    const plan = planChanges([known], [outage('hubspot'), condition(subject, calls)], looked)
    expect(plan).toMatchObject({ open: [], update: [], resolve: [], takeOver: [] })
  })

  it('leaves other calls alone: of another group, another connection, a longer name', () => {
    for (const other of [outage('hubspot.deals'), outage('hubspot', 'con_2'), outage('hubspot.contact')]) {
      const plan = planChanges([], [other, condition(subject, calls)], looked)
      expect(plan.open).toEqual([other, condition(subject, calls)])
    }
  })
})

describe('the changes of a look', () => {
  it('open one incident for a condition, and none for one that has one', () => {
    const plan = planChanges([incident('a')], [condition('a'), condition('b'), condition('b')], LOOKED)
    expect(plan.open.map((one) => one.subject)).toEqual(['b'])
    expect(plan.update).toEqual([])
    expect(plan.resolve).toEqual([])
  })

  it('update an incident whose sentences changed, acknowledged or not', () => {
    const now = condition('a', { what: 'Two runs gave up.' })
    const plan = planChanges([incident('a', { state: 'acknowledged' })], [now], LOOKED)
    expect(plan.update).toEqual([{ incident: incident('a', { state: 'acknowledged' }), now }])
  })

  it('resolve what is found no more, but only of kinds that were looked for', () => {
    const other = incident('node', { kind: 'node_gone' })
    expect(planChanges([incident('a'), other], [], LOOKED).resolve).toEqual([incident('a')])
  })

  it('leave out what is too much, and open it when there is room', () => {
    const open = Array.from({ length: OPEN_INCIDENTS_LIMIT }, (_, i) => incident(`old${i}`))
    const still = open.slice(1).map((one) => condition(one.subject))
    expect(planChanges(open, [...still, condition('x'), condition('y')], LOOKED)).toMatchObject({
      open: [{ subject: 'x' }],
      leftOut: 1,
    })
  })

  it('have a place for the word that something is left out, which takes none from the others', () => {
    const open = Array.from({ length: OPEN_INCIDENTS_LIMIT }, (_, i) => incident(`old${i}`))
    const still = open.map((one) => condition(one.subject))
    const word = leftOutCondition({ unread: [], noRoom: 1 }, 1)!
    const looked = new Set<IncidentKind>(['dead_letters', 'left_out'])
    expect(planChanges(open, [...still, condition('x'), word], looked)).toMatchObject({
      open: [{ kind: 'left_out' }],
      leftOut: 1,
    })
    const told = { ...word, id: 'inc_word', state: 'open' } as const
    expect(planChanges([...open, told], [...still.slice(1), condition('x')], looked)).toMatchObject({
      open: [{ subject: 'x' }],
      resolve: [{ subject: 'old0' }, { kind: 'left_out' }],
      leftOut: 0,
    })
  })
})
