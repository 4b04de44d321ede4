import { describe, expect, it } from 'vitest'
import type { CallOutcome } from '../calls/index.ts'
import { acme, exchange, failedFor, made } from '../../tests/support/engine.ts'
import { acting, flow, quarantinedIn, withEngines } from '../../tests/support/runBench.ts'

describe('a retry of a dead letter', () => {
  it('leaves alone a failure that the code had caught', () =>
    withEngines(async (start) => {
      const calls: string[] = []
      let broken = true
      const t = await start({
        flows: [
          flow(async ({ use }) => {
            await use(acme)
              .things.post({ by: 'card' })
              .catch(() => use(acme).things.create({ by: 'invoice' }))
            if (broken) throw new TypeError('a bug')
          }),
        ],
        call: async (request) => {
          await request.begin?.({} as never)
          calls.push(request.operationName)
          return request.operationName === 'things.post' ? failedFor('card_declined', false) : made()
        },
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'dead_lettered')
      broken = false
      await t.operator.retry(runs[0]!, acting)
      expect((await t.reached(runs[0]!, 'succeeded', 'held', 'dead_lettered')).state).toBe('succeeded')
      expect(calls).toEqual(['things.post', 'things.create'])
    }))

  it('tries again where two steps had failed side by side', () =>
    withEngines(async (start) => {
      let broken = true
      const t = await start({
        flows: [
          flow(({ use }) =>
            Promise.all([use(acme).things.create({ a: 1 }), use(acme).things.create({ b: 2 })]),
          ),
        ],
        call: () => (broken ? failedFor('no', false) : made()),
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'dead_lettered')
      broken = false
      await t.operator.retry(runs[0]!, acting)
      expect((await t.reached(runs[0]!, 'succeeded', 'dead_lettered')).state).toBe('succeeded')
    }))

  it('keeps the record of the attempts that were made before, and the key', () =>
    withEngines(async (start) => {
      let broken = true
      const keys: string[] = []
      const t = await start({
        flows: [flow(({ use }) => use(acme).things.post({}))],
        call: async (request) => {
          await request.begin?.({} as never)
          keys.push(request.idempotencyKey)
          return broken ? failedFor('no', false) : made()
        },
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'dead_lettered')
      broken = false
      await t.operator.retry(runs[0]!, acting)
      await t.reached(runs[0]!, 'succeeded')
      const { rows } = await t.database.pool.query('select number, state from attempts order by number')
      expect(rows).toEqual([
        { number: 1, state: 'failed' },
        { number: 2, state: 'succeeded' },
      ])
      expect(new Set(keys).size).toBe(1)
    }))

  it('counts its attempts anew', () =>
    withEngines(async (start) => {
      let calls = 0
      const t = await start({
        flows: [flow(({ use }) => use(acme).things.create({}), { retry: { first: 5, cap: 5, attempts: 2 } })],
        call: () => (++calls < 4 ? failedFor('busy', true) : made()),
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'dead_lettered')
      await t.operator.retry(runs[0]!, acting)
      expect((await t.reached(runs[0]!, 'succeeded', 'dead_lettered')).state).toBe('succeeded')
      expect(calls).toBe(4)
    }))

  it('does not send again what the provider answered, though its answer was discarded', () =>
    withEngines(async (start) => {
      let sent = 0
      const t = await start({
        flows: [flow(({ use }) => use(acme).things.post({}))],
        call: async (request) => {
          await request.begin?.({} as never)
          sent++
          return {
            as: 'quarantined',
            path: '/a',
            reason: 'is no number',
            payload: Buffer.from('{}'),
            exchange,
          } as unknown as CallOutcome
        },
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'held')
      await t.operator.discard(await quarantinedIn(t), acting)
      await t.reached(runs[0]!, 'dead_lettered')
      await t.operator.retry(runs[0]!, acting)
      expect((await t.reached(runs[0]!, 'held', 'dead_lettered')).state).toBe('held')
      expect(sent).toBe(1)
    }))
})

describe('a retry of a parked run', () => {
  it('asks the provider at once', () =>
    withEngines(async (start) => {
      let calls = 0
      const t = await start({
        flows: [flow(({ use }) => use(acme).things.create({}))],
        call: () =>
          ++calls === 1
            ? ({ ...failedFor('busy', true), retryAt: Date.now() + 48 * 3_600_000 } as CallOutcome)
            : made(),
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'parked')
      await t.operator.retry(runs[0]!, acting)
      await t.reached(runs[0]!, 'succeeded')
    }))

  it('goes on with an unrepeatable call that was refused for its credential', () =>
    withEngines(async (start) => {
      let calls = 0
      const t = await start({
        flows: [flow(({ use }) => use(acme).things.post({}))],
        call: async (request) => {
          await request.begin?.({} as never)
          return ++calls === 1
            ? ({
                as: 'parked',
                code: 'credential_refused',
                reason: '401',
                exchange,
              } as unknown as CallOutcome)
            : made()
        },
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'parked')
      await t.operator.retry(runs[0]!, acting)
      expect((await t.reached(runs[0]!, 'succeeded', 'held')).state).toBe('succeeded')
    }))
})
