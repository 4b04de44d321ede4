import { describe, expect, it } from 'vitest'
import type { Condition, IncidentKind, OpenIncident } from './incident.ts'
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
})
