import { describe, expect, it } from 'vitest'
import { acme, doubted, failedFor, made } from '../../tests/support/engine.ts'
import { acting, flow, withEngines } from '../../tests/support/runBench.ts'

const refused = { ...acting, repeatEffects: false }
const consented = { ...acting, repeatEffects: true }

describe('a replay', () => {
  it('names an effect that is in doubt', () =>
    withEngines(async (start) => {
      const t = await start({
        flows: [flow(({ use }) => use(acme).things.post({}))],
        call: async (request) => (await request.begin?.({} as never), doubted()),
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'held')
      await expect(t.operator.replayRun(runs[0]!, refused)).rejects.toMatchObject({
        code: 'effects_repeated',
      })
    }))

  it('names nothing of a call that failed for certain', () =>
    withEngines(async (start) => {
      const t = await start({
        flows: [flow(({ use }) => use(acme).things.post({}))],
        call: async (request) => (await request.begin?.({} as never), failedFor('no', false)),
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'dead_lettered')
      const replayed = await t.operator.replayRun(runs[0]!, refused)
      expect(replayed.effects).toEqual([])
    }))

  it('names the effects of the first run, where a second had none', () =>
    withEngines(async (start) => {
      let broken = false
      const t = await start({
        flows: [
          flow(async ({ use }) => {
            if (broken) throw new Error('no')
            await use(acme).things.post({})
          }),
        ],
      })
      const { runs, event } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'succeeded')
      broken = true
      const second = await t.operator.replayRun(runs[0]!, consented)
      await t.reached(second.runs[0]!, 'dead_lettered')
      await expect(t.operator.replayEvent(event, refused)).rejects.toMatchObject({ code: 'effects_repeated' })
      await expect(t.operator.replayRun(second.runs[0]!, refused)).rejects.toMatchObject({
        code: 'effects_repeated',
      })
    }))

  it('is refused while an earlier run of the event is open, which it names', () =>
    withEngines(async (start) => {
      const t = await start({
        flows: [flow(({ sleep }) => sleep('1 day'))],
        call: () => made(),
      })
      const { runs, event } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'waiting')
      for (const replay of [
        () => t.operator.replayRun(runs[0]!, consented),
        () => t.operator.replayEvent(event, consented),
      ])
        await expect(replay()).rejects.toMatchObject({
          code: 'state_conflict',
          message: expect.stringContaining(runs[0]!) as string,
        })
      await t.operator.cancel(runs[0]!, acting)
      await t.reached(runs[0]!, 'cancelled')
      expect((await t.operator.replayEvent(event, consented)).runs).toHaveLength(1)
    }))

  it('asked for twice at once starts one run', () =>
    withEngines(async (start) => {
      const t = await start({ flows: [flow(() => 1)] })
      const { runs, event } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'succeeded')
      await t.engine.stop()
      const both = await Promise.allSettled([
        t.operator.replayEvent(event, consented),
        t.operator.replayEvent(event, consented),
      ])
      expect(both.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
    }))
})
