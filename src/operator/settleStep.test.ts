import { describe, expect, it } from 'vitest'
import type { CallRequest } from '../calls/index.ts'
import { acme, failedFor, made } from '../../tests/support/engine.ts'
import { acting, flow, withEngines } from '../../tests/support/runBench.ts'

describe('an undo that was done by hand', () => {
  it('after it failed lets the earlier steps be undone too', () =>
    withEngines(async (start) => {
      const undone: unknown[] = []
      const t = await start({
        flows: [
          flow(async ({ use }) => {
            const things = use(acme).things
            await things.create({ n: 1 }, { undo: () => things.remove({ n: 1 }) })
            await things.create({ n: 2 }, { undo: () => things.remove({ n: 2 }) })
            throw new Error('no')
          }),
        ],
        call: (request) => removing(request, undone, 2),
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'held')
      await t.operator.settle(runs[0]!, { as: 'undone' }, acting)
      await t.reached(runs[0]!, 'undone')
      expect(undone).toEqual([1])
      const { rows } = await t.database.pool.query(
        `select name, ordinal, outcome, summary from journal where kind = 'undo' order by seq`,
      )
      expect(rows).toMatchObject([
        { name: 'undo:acme.things.create', ordinal: 2, outcome: 'succeeded', summary: 'undone by hand' },
        { name: 'undo:acme.things.create', ordinal: 1, outcome: 'succeeded' },
      ])
    }))

  it('because it was impossible lets the earlier steps be undone too, each such by its own word', () =>
    withEngines(async (start) => {
      const undone: unknown[] = []
      const t = await start({
        flows: [
          flow(async ({ use }) => {
            const things = use(acme).things
            await things.create({ n: 1 }, { undo: () => things.remove({ n: 1 }) })
            await things.create({ n: 2 }, { undo: () => undefined })
            await things.create({ n: 3 }, { undo: () => undefined })
            throw new Error('no')
          }),
        ],
        call: (request) => removing(request, undone, undefined),
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      expect((await t.reached(runs[0]!, 'held')).reason).toContain('acme.things.create#3 ')
      await t.operator.settle(runs[0]!, { as: 'undone' }, acting)
      expect((await t.reached(runs[0]!, 'held', 'undone')).reason).toContain('acme.things.create#2 ')
      await t.operator.settle(runs[0]!, { as: 'undone' }, acting)
      await t.reached(runs[0]!, 'undone')
      expect(undone).toEqual([1])
    }))

  it('is refused of a run that waits for a word on a step', () =>
    withEngines(async (start) => {
      const t = await start({ flows: [flow(() => 1)], idle: true })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.database.pool.query(`update runs set state = 'held', reason_code = 'outcome_unknown'`)
      await expect(t.operator.settle(runs[0]!, { as: 'undone' }, acting)).rejects.toMatchObject({
        code: 'state_conflict',
      })
    }))
})

function removing(request: CallRequest, undone: unknown[], refused: number | undefined) {
  if (request.operationName !== 'things.remove') return made()
  const { n } = request.input as { n: number }
  if (n === refused) return failedFor('refused', false)
  undone.push(n)
  return made()
}
