import { describe, expect, it } from 'vitest'
import type { CallOutcome, CallRequest } from '../../src/calls/index.ts'
import { defineFlow } from '../../src/define/index.ts'
import { acme, failedFor, made, TENANT } from '../support/engine.ts'
import { attack, flow, pauseMs, stateOf, undisturbed } from './support.ts'

const never = new Promise<never>(() => {})
const killNodes = `update nodes set stopped_at = now(), heartbeat_at = now() - interval '1 minute'`

describe('after the death of a node', () => {
  it('a look-up waits until the request of a node that only seemed dead must have ended', () =>
    attack(async (start) => {
      const begun = Date.now()
      const asked: string[] = []
      const finding = flow(({ use }) => use(acme).things.find({}))
      let first = true
      const call = async (request: CallRequest): Promise<CallOutcome> => {
        await request.begin?.({} as never)
        if (first) {
          first = false
          return never
        }
        asked.push(request.kind)
        return request.kind === 'lookup'
          ? ({ as: 'not_found', exchange: { status: 200, ms: 1 } } as never)
          : made()
      }
      const a = await start({ flows: [finding], call })
      const { runs } = await a.deliver('thing.happened', { n: 1 })
      for (;;) {
        if ((await a.database.pool.query('select 1 from attempts')).rowCount) break
        await pauseMs(20)
      }
      // Cut off from the database, while its request (up to 30 s) is still under way.
      await a.database.pool.query(killNodes)
      const b = await start({ flows: [finding], call })
      const { waits } = await b.reached(runs[0]!, 'waiting')
      // 30 s is the operation's time-out: before that the first request may still be acted on.
      const [{ until }] = JSON.parse(waits!) as [{ until: number }]
      expect(until).toBeGreaterThanOrEqual(begun + 30_000)
      expect(asked).toEqual([])
    }))

  it('a step that is too late is skipped, also where nothing of it was ever sent', () =>
    attack(async (start) => {
      const sent: unknown[] = []
      const late = flow(({ use }) =>
        use(acme).things.create(
          { reminder: 1 },
          { validUntil: new Date(Date.now() - 3_600_000), onLate: 'skip' },
        ),
      )
      const t = await start({
        flows: [late],
        idle: true,
        call: (request) => (sent.push(request.input), made()),
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      // As a node leaves it that died after its claim, two hours ago.
      await t.database.pool.query(
        `update runs set claims = 1, fence = 1, claimed_at = now() - interval '2 hours' where id = $1`,
        [runs[0]],
      )
      await t.engine.start()
      await t.reached(runs[0]!, 'succeeded')
      expect(sent).toEqual([])
    }))

  it('and a cancel, no further steps are made', () =>
    attack(async (start) => {
      const sent: string[] = []
      const three = flow(async ({ use }) => {
        const things = use(acme).things
        for (const name of ['a', 'b', 'c'])
          await things.create({ name }, { as: name, undo: () => things.remove({ name }) })
      })
      const t = await start({
        flows: [three],
        idle: true,
        call: (request) => (sent.push(request.stepName), made()),
      })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.database.pool.query(`update runs set claims = 1, fence = 1, claimed_at = now() where id = $1`, [
        runs[0],
      ])
      await t.operator.cancel(runs[0]!, { actor: 'operator:test', tenant: TENANT })
      await t.engine.start()
      await t.reached(runs[0]!, 'cancelled')
      // `a` may have been sent before the node died, so it is learned and undone. `b` and `c` cannot have been.
      expect(sent).toEqual(['a', 'undo:a'])
    }))

  it('a step that was under way while its neighbour failed keeps its generation', () =>
    attack(async (start) => {
      const keys: string[] = []
      const side = flow(({ use }) =>
        Promise.all([
          use(acme).things.create({ a: 1 }, { as: 'a' }),
          use(acme).things.create(
            { b: 1 },
            { as: 'b', retry: { first: '9 days', cap: '9 days', horizon: '90 days' } },
          ),
        ]),
      )
      let aHangs = false
      const a = await start({
        flows: [side],
        call: async (request) => {
          if (request.stepName === 'b') {
            // oxlint-disable-next-line no-unmodified-loop-condition -- set by a callback
            while (!aHangs) await pauseMs(10)
            return failedFor('busy', true)
          }
          keys.push(request.idempotencyKey)
          if (keys.length === 1) return { ...failedFor('stored_error', true), newKey: true } as CallOutcome
          aHangs = true
          return never
        },
      })
      const { runs } = await a.deliver('thing.happened', { n: 1 })
      for (;;) {
        const { rows } = await a.database.pool.query(
          `select 1 from attempts where name = 'b' and state = 'failed'`,
        )
        if (rows.length > 0) break
        await pauseMs(20)
      }
      await a.database.pool.query(killNodes)
      const b = await start({
        flows: [side],
        call: (request) => (request.stepName === 'a' && keys.push(request.idempotencyKey), made()),
      })
      while (keys.length < 3) await pauseMs(20)
      void runs
      void b
      // The attempt in doubt had the second key: the same must be sent, not the first one again.
      expect(keys[2]).toBe(keys[1])
    }))
})

describe('a graceful stop', () => {
  it('lets an unrepeatable call end that takes 7 s, although other nodes run', () =>
    undisturbed(async (start) => {
      let sent = 0
      const pays = flow(({ use }) => use(acme).things.post({}))
      const call = async (request: { begin?: (request: never) => Promise<void> }): Promise<CallOutcome> => {
        await request.begin?.({} as never)
        sent++
        await pauseMs(7_500)
        return made()
      }
      const a = await start({ flows: [pays], call })
      const { runs } = await a.deliver('thing.happened', { n: 1 })
      // oxlint-disable-next-line no-unmodified-loop-condition -- set by a callback
      while (sent === 0) await pauseMs(10)
      const b = await start({ flows: [pays], call })
      void a.engine.stop()
      const row = await stateOf(b, runs[0]!, 'succeeded', 'held')
      expect({ state: row.state, sent }).toEqual({ state: 'succeeded', sent: 1 })
    }))
})

describe('a flow', () => {
  it('that awaits something for ever before its first step is ended after 10 s', () =>
    attack(async (start) => {
      const t = await start({ flows: [flow(() => never)] })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      expect((await stateOf(t, runs[0]!, 'dead_lettered')).state).toBe('dead_lettered')
    }))

  it('that asks for a step after its end does not lose an outcome in doubt, nor its undo', () =>
    attack(async (start) => {
      const sent: string[] = []
      let ended = (): void => {}
      const executionEnded = new Promise<void>((resolve) => (ended = resolve))
      const odd = flow(async ({ use, sleep, step }) => {
        await use(acme).things.create({}, { as: 'paid', undo: () => use(acme).things.remove({}) })
        await Promise.all([sleep('1 hour'), executionEnded.then(() => step('late', () => 1))])
      })
      const t = await start({ flows: [odd], call: (request) => (sent.push(request.stepName), made()) })
      const { runs } = await t.deliver('thing.happened', { n: 1 })
      await t.reached(runs[0]!, 'waiting')
      ended()
      await stateOf(t, runs[0]!, 'dead_lettered', 'undone', 'held')
      expect(sent).toEqual(['paid', 'undo:paid'])
    }))
})

describe('events of one lane', () => {
  it('that were accepted one after the other run in that order', () =>
    attack(async (start) => {
      const order: number[] = []
      const t = await start({
        flows: [
          defineFlow({
            name: 'test',
            on: acme.on('thing.happened'),
            key: () => 'one',
            run: ({ event }) => void order.push((event.data as { n: number }).n),
          }),
        ],
        idle: true,
      })
      const accepted = Array.from({ length: 12 }, (_, n) => t.deliver('thing.happened', { n }))
      const runs = (await Promise.all(accepted)).flatMap((delivered) => delivered.runs)
      const { rows } = await t.database.pool.query<{ id: string }>('select id from runs order by lane_seq')
      expect(rows.map((row) => runs.indexOf(row.id as never))).toEqual(
        Array.from({ length: 12 }, (_, n) => n),
      )
    }))
})
