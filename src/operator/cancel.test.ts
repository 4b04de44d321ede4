import { describe, expect, it } from 'vitest'
import { acme, doubted, failedFor, made } from '../../tests/support/engine.ts'
import { acting, flow, gate, withEngines } from '../../tests/support/runBench.ts'
import { pause, systemClock } from '../base/index.ts'
import { RUN_MOVES, type RunState } from '../define/index.ts'

const CANCELLABLE = (Object.keys(RUN_MOVES) as RunState[]).filter((state) =>
  RUN_MOVES[state].includes('cancelled'),
)

describe('a cancelled run', () => {
  it('whose payment was in doubt makes none after a person said that it was not done', () =>
    withEngines(async (start) => {
      let sent = 0
      const t = await start({
        flows: [flow(({ use }) => use(acme).things.post({ pay: 1 }))],
        call: async (request) => {
          await request.begin?.({} as never)
          return ++sent === 1 ? doubted() : made()
        },
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'held')
      await t.operator.cancel(runs[0]!, acting)
      await t.reached(runs[0]!, 'held')
      await t.operator.settle(runs[0]!, { as: 'not_done', step: 'acme.things.post' }, acting)
      await t.reached(runs[0]!, 'cancelled')
      expect(sent).toBe(1)
    }))

  it('keeps a doubt that its code reaches only after an await of its own', () =>
    withEngines(async (start) => {
      const t = await start({
        flows: [
          flow(async ({ use, step }) => {
            await step('first', () => 1)
            await pause(systemClock, 20)
            await use(acme).things.post({ pay: 1 })
          }),
        ],
        call: async (request) => (await request.begin?.({} as never), doubted()),
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'held')
      await t.operator.cancel(runs[0]!, acting)
      expect((await t.reached(runs[0]!, 'held', 'cancelled')).state).toBe('held')
    }))

  it('ends, although its flow is gone from the configuration', () =>
    withEngines(async (start) => {
      const t = await start({ flows: [flow(() => 1)], idle: true })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      const other = await start({ flows: [] })
      await t.reached(runs[0]!, 'parked')
      await t.operator.cancel(runs[0]!, acting)
      expect((await other.reached(runs[0]!, 'cancelled', 'held')).state).toBe('cancelled')
    }))

  it('ends, although its event no longer fits its contract', () =>
    withEngines(async (start) => {
      const t = await start({ flows: [flow(() => 1)], idle: true })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.database.pool.query(`update deliveries set body = '{"data":{"n":"no number"}}'`)
      await t.engine.start()
      await t.reached(runs[0]!, 'held')
      await t.operator.cancel(runs[0]!, acting)
      await t.reached(runs[0]!, 'cancelled')
    }))

  it('is cancelled, not a dead letter, where its flow threw while it was being told', () =>
    withEngines(async (start) => {
      const entered = gate()
      const told = gate()
      const t = await start({
        flows: [
          flow(async () => {
            entered.open()
            await told.passed
            throw new Error('no')
          }),
        ],
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await entered.passed
      await t.operator.cancel(runs[0]!, acting)
      told.open()
      expect((await t.reached(runs[0]!, 'cancelled', 'dead_lettered')).state).toBe('cancelled')
    }))

  it.each(CANCELLABLE)('may have been %s', (state) =>
    withEngines(async (start) => {
      const t = await start({ flows: [flow(() => 1)], idle: true })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.database.pool.query(`update runs set state = $1, undo_to = $2`, [
        state,
        state === 'undoing' ? 'undone' : null,
      ])
      await t.operator.cancel(runs[0]!, acting)
      await t.engine.start()
      await t.reached(runs[0]!, 'cancelled')
    }),
  )

  it('whose node had died learns of the call that may have been under way, and makes no further ones', () =>
    withEngines(async (start) => {
      const sent: string[] = []
      const two = flow(async ({ use }) => {
        const { things } = use(acme)
        for (const as of ['a', 'b']) await things.create({ as }, { as, undo: () => things.remove({ as }) })
      })
      const t = await start({
        flows: [two],
        idle: true,
        call: (request) => (sent.push(request.stepName), made()),
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.database.pool.query('update runs set claims = 1, fence = 1, claimed_at = now()')
      await t.operator.cancel(runs[0]!, acting)
      await t.engine.start()
      await t.reached(runs[0]!, 'cancelled')
      expect(sent).toEqual(['a', 'undo:a'])
    }))

  it('is refused where it is over already', () =>
    withEngines(async (start) => {
      const t = await start({ flows: [flow(() => 1)] })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'succeeded')
      await expect(t.operator.cancel(runs[0]!, acting)).rejects.toMatchObject({ code: 'state_conflict' })
    }))

  it('whose undo had failed does not try it again, and ends cancelled once that was done by hand', () =>
    withEngines(async (start) => {
      let undos = 0
      const t = await start({
        flows: [
          flow(async ({ use }) => {
            const things = use(acme).things
            await things.create({}, { undo: () => things.remove({}) })
            throw new Error('no')
          }),
        ],
        call: ({ operationName }) =>
          operationName === 'things.remove' ? (undos++, failedFor('refused', false)) : made(),
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'held')
      await t.operator.cancel(runs[0]!, acting)
      expect((await t.reached(runs[0]!, 'held', 'cancelled', 'undoing')).state).toBe('held')
      await t.operator.settle(runs[0]!, { as: 'undone' }, acting)
      await t.reached(runs[0]!, 'cancelled')
      expect(undos).toBe(1)
    }))
})
