import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { DAY, SECOND, systemClock, type Clock } from '../../src/base/index.ts'
import { createDispatch } from '../../src/dispatch/index.ts'
import { acme, CONNECTION, made, TENANT } from '../support/engine.ts'
import { attack, flow, pauseMs, stateOf, undisturbed } from './support.ts'

const unhandled: unknown[] = []
const note = (reason: unknown): void => void unhandled.push(reason)
beforeAll(() => void process.on('unhandledRejection', note))
afterAll(() => void process.off('unhandledRejection', note))

const counts = async (t: {
  database: { pool: { query: (text: string) => Promise<{ rows: unknown[] }> } }
}): Promise<unknown> =>
  (
    await t.database.pool.query(
      `select state, reason_code, node_id is not null as claimed, count(*)::int from runs group by 1, 2, 3 order by 1`,
    )
  ).rows

describe('under fire', () => {
  it('all runs end, whatever connections are cut', () =>
    attack(async (start, watcher) => {
      unhandled.length = 0
      const done = new Map<string, number>()
      const t = await start({
        flows: [
          flow(async ({ use, sleep, event }) => {
            await use(acme).things.create({ n: event.data.n })
            await sleep(150)
            await use(acme).things.create({ n: event.data.n })
          }),
        ],
        call: async (request) => {
          await pauseMs(Math.random() * 40)
          done.set(request.idempotencyKey, (done.get(request.idempotencyKey) ?? 0) + 1)
          return made()
        },
      })
      const accepting = Array.from({ length: 150 }, async (_, n) => {
        await pauseMs(n * 10)
        for (;;)
          try {
            return await t.inbox.accept({
              tenant: TENANT,
              endpointId: 'ep',
              connectionId: CONNECTION,
              connectionName: 'acme',
              connector: acme,
              headers: [],
              contentType: 'application/json',
              body: Buffer.from(JSON.stringify({ data: { n } })),
              receivedAt: Date.now(),
              parsed: { data: { n } },
              events: [{ id: `evt_${n}`, type: 'thing.happened', at: '/data' }],
              contentUnique: false,
            })
          } catch (error) {
            if (!/unavailable/.test((error as { code: string }).code)) throw error
            await pauseMs(50)
          }
      })
      for (let i = 0; i < 8; i++) {
        await pauseMs(250)
        await watcher.query(
          `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name like 'trestle%'`,
        )
      }
      await Promise.all(accepting)
      const end = Date.now() + 120_000
      for (;;) {
        const { rows } = await watcher.query<{ left: number }>(
          `select count(*)::int as left from runs where state <> 'succeeded'`,
        )
        if (rows[0]!.left === 0 || Date.now() > end) break
        await pauseMs(300)
      }
      expect({
        runs: await counts({ database: { pool: watcher } }),
        unhandled: unhandled.map(String),
      }).toEqual({
        runs: [{ state: 'succeeded', reason_code: null, claimed: false, count: 150 }],
        unhandled: [],
      })
    }))

  it('three nodes, wake-ups sent over and over: each step is made once, in the order of its lane', () =>
    undisturbed(async (start) => {
      const calls: string[] = []
      let inLane = 0
      let overlapped = false
      const laned = flow(
        async ({ use, step, event }) => {
          await step('in', async () => {
            overlapped ||= ++inLane > 1
            await pauseMs(2)
          })
          await use(acme).things.create({ n: event.data.n })
          await step('out', () => void inLane--)
        },
        { key: () => 'one' },
      )
      const options = {
        flows: [laned],
        call: (request: { idempotencyKey: string }) => (calls.push(request.idempotencyKey), made()),
      }
      const [a, b, c] = [await start(options), await start(options), await start(options)]
      const dispatch = createDispatch({ database: a.database, clock: systemClock })
      const engines = [a, b, c]
      const runs = (
        await Promise.all(
          Array.from({ length: 60 }, async (_, n) => {
            await pauseMs(n * 5)
            return engines[n % 3]!.deliver('thing.happened', { n })
          }),
        )
      ).flatMap(({ runs }) => runs)
      const end = Date.now() + 120_000
      for (;;) {
        await dispatch.wake(
          a.database.pool,
          runs.map((id) => ({ tenant: TENANT, id })),
        )
        const { rows } = await a.database.pool.query(
          `select count(*)::int as left from runs where state <> 'succeeded'`,
        )
        if (rows[0].left === 0 || Date.now() > end) break
        await pauseMs(100)
      }
      expect(await counts(a)).toEqual([{ state: 'succeeded', reason_code: null, claimed: false, count: 60 }])
      expect({ calls: calls.length, distinct: new Set(calls).size, overlapped }).toEqual({
        calls: 60,
        distinct: 60,
        overlapped: false,
      })
    }))

  it('a lane is handed over without the sweep while its next runs are inserted', () =>
    undisturbed(async (start) => {
      // What is done once a second is not done at all: the sweep is not there to help.
      const clock: Clock = {
        ...systemClock,
        after: (ms, wake, given) => systemClock.after(ms === SECOND ? DAY : ms, wake, given),
      }
      const t = await start({
        flows: [flow(async ({ step }) => step('s', () => 1), { key: () => 'one' })],
        clock,
      })
      for (let round = 0; round < 15; round++) {
        const delivered = await Promise.all(
          Array.from({ length: 4 }, async (_, n) => {
            await pauseMs(n * 3)
            return t.deliver('thing.happened', { n })
          }),
        )
        for (const { runs } of delivered)
          expect((await stateOf(t, runs[0]!, 'succeeded')).state).toBe('succeeded')
      }
    }))

  it('two hundred runs that each wait for fifty events do not starve the heartbeat, and none is given up', () =>
    undisturbed(async (start, watcher) => {
      const many = flow(({ waitFor, event }) =>
        Promise.all(
          Array.from({ length: 50 }, (_, i) =>
            waitFor(acme.on('thing.answered'), {
              on: 'data.customer',
              equals: `${event.data.n}-${i}`,
              timeout: '1 hour',
            }),
          ),
        ),
      )
      const t = await start({ flows: [many] })
      await Promise.all(Array.from({ length: 200 }, (_, n) => t.deliver('thing.happened', { n })))
      for (;;) {
        const { rows } = await watcher.query<{ left: number }>(
          `select count(*)::int as left from runs where state not in ('waiting', 'dead_lettered')`,
        )
        if (rows[0]!.left === 0) break
        await pauseMs(200)
      }
      expect(await counts({ database: { pool: watcher } })).toEqual([
        { state: 'waiting', reason_code: null, claimed: false, count: 200 },
      ])
      const dead = await watcher.query(`select 1 from ledger where action = 'node.declared_dead'`)
      expect(dead.rows).toEqual([])
    }))

  it('a sleep beyond what a date can hold is refused', () =>
    attack(async (start) => {
      const t = await start({ flows: [flow(({ sleep }) => sleep(1e17))] })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      const row = await stateOf(t, runs[0]!, 'dead_lettered', 'waiting')
      expect(row).toMatchObject({ state: 'dead_lettered', reason_code: 'duration_invalid' })
    }))

  it('a step with a zero character in its name fails no neighbour', () =>
    attack(async (start) => {
      let go = (): void => {}
      const gate = new Promise<void>((resolve) => (go = resolve))
      const t = await start({
        flows: [flow(({ step, event }) => step(event.data.n === 0 ? 'a\u0000' : 'b', () => gate))],
      })
      const runs = (
        await Promise.all(Array.from({ length: 12 }, (_, n) => t.deliver('thing.happened', { n })))
      ).flatMap((d) => d.runs)
      while (t.engine.size < 12) await pauseMs(20)
      go()
      const states = await Promise.all(
        runs.map(async (run) => (await stateOf(t, run, 'succeeded', 'dead_lettered')).state),
      )
      expect(states).toEqual(['dead_lettered', ...Array.from({ length: 11 }, () => 'succeeded')])
    }))

  it('of a delivery of many events, those known already start nothing', () =>
    attack(async (start) => {
      const t = await start({ flows: [flow(() => 1)], idle: true })
      const accept = (ids: string[]) =>
        t.inbox.accept({
          tenant: TENANT,
          endpointId: 'ep',
          connectionId: CONNECTION,
          connectionName: 'acme',
          connector: acme,
          headers: [],
          contentType: 'application/json',
          body: Buffer.from('{"data":{"n":1}}'),
          receivedAt: Date.now(),
          parsed: { data: { n: 1 } },
          events: ids.map((id) => ({ id, type: 'thing.happened', at: '/data' })),
          contentUnique: false,
        })
      await Promise.all([accept(['a', 'b', 'a']), accept(['b', 'c']), accept(['c', 'a'])])
      expect((await accept(['a', 'd'])).state).toBe('accepted')
      expect((await accept(['d', 'b'])).state).toBe('duplicate')
      expect((await t.database.pool.query('select count(*)::int from runs')).rows[0].count).toBe(4)
    }))
})
