/** Limits of runs, met on a real engine and database; the provider is a function. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { systemClock } from '../../src/base/index.ts'
import type { CallOutcome } from '../../src/calls/index.ts'
import { defineFlow, type AnyFlow, type FlowContext } from '../../src/define/index.ts'
import { CLAIMS_WITHOUT_PROGRESS } from '../../src/flows/advance.ts'
import { STOP_LIMIT_MS } from '../../src/flows/engine.ts'
import { JOURNAL_LIMIT_BYTES, RESULT_LIMIT_BYTES, STEP_NAME_LIMIT } from '../../src/flows/runLimits.ts'
import { STEPS_AT_ONCE, STEPS_PER_RUN } from '../../src/flows/index.ts'
import { DEAD_AFTER_MS, rescueRuns } from '../../src/flows/nodes.ts'
import { FLOW_RESULT_LIMIT_BYTES } from '../../src/flows/settle.ts'
import { createFlowTable, WAKE_AGAIN_SECONDS } from '../../src/inbox/index.ts'
import { EVENTS_PER_DELIVERY } from '../../src/inbox/prepare.ts'
import { FLOWS_PER_EVENT } from '../../src/inbox/flowTable.ts'
import { writeEntries } from '../../src/ledger/index.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { acme, CONNECTION, made, startTestEngine, TENANT, type TestEngineOptions } from '../support/engine.ts'

let testDatabase: TestDatabase
beforeAll(async () => {
  testDatabase = await createTestDatabase()
})
afterAll(() => testDatabase.drop())

let serial = 0
beforeEach(() => {
  serial++
})

const flow = (run: (context: FlowContext<{ n: number }>) => unknown, over: object = {}): AnyFlow =>
  defineFlow({ name: `limit-${serial}`, on: acme.on('thing.happened'), run, ...over }) as AnyFlow

type Engine = Awaited<ReturnType<typeof startTestEngine>>

async function withEngine(
  options: TestEngineOptions,
  work: (engine: Engine) => Promise<void>,
): Promise<void> {
  const engine = await startTestEngine(testDatabase, options)
  try {
    await work(engine)
  } finally {
    await engine.stop()
  }
}

/** How a run of this flow ends, and why. */
async function endOf(
  run: (context: FlowContext<{ n: number }>) => unknown,
  options: Partial<TestEngineOptions> = {},
) {
  let end: { state: string; code: string | null; reason: string | null } | undefined
  await withEngine({ flows: [flow(run)], ...options }, async (engine) => {
    const { runs } = await engine.deliver('thing.happened', { n: 1 })
    const row = await engine.reached(runs[0]!, 'succeeded', 'dead_lettered', 'undone', 'held', 'parked')
    end = { state: row.state, code: row.reason_code, reason: row.reason }
  })
  return end!
}

const big = (bytes: number): string => 'x'.repeat(bytes)

it('a run that asks for more steps than it may fails with too_many_steps', async () => {
  const end = await endOf(async ({ step }) => {
    // All at once: that they are too many is said before any of them is begun.
    await Promise.all(Array.from({ length: STEPS_PER_RUN + 1 }, (_, i) => step(`s${i}`, () => i)))
  })
  expect(end).toMatchObject({ state: 'dead_lettered', code: 'too_many_steps' })
  expect(end.reason).toContain('Split the work')
})

it('more steps at once than may be under way wait their turn', async () => {
  let under = 0
  let most = 0
  let letGo = (): void => {}
  const gate = new Promise<void>((resolve) => (letGo = resolve))
  const many = STEPS_AT_ONCE + 10
  const end = await endOf(({ step }) =>
    Promise.all(
      Array.from({ length: many }, (_, i) =>
        step(`s${i}`, async () => {
          most = Math.max(most, ++under)
          if (under === STEPS_AT_ONCE) letGo()
          await gate
          under--
        }),
      ),
    ),
  )
  expect(end.state).toBe('succeeded')
  expect(most).toBe(STEPS_AT_ONCE)
})

it('a result of a local step over its limit fails with result_too_large', async () => {
  expect(
    await endOf(({ step }) => step('fits', () => big(RESULT_LIMIT_BYTES - 2)).then(() => 1)),
  ).toMatchObject({
    state: 'succeeded',
  })
  const end = await endOf(({ step }) => step('big', () => big(RESULT_LIMIT_BYTES - 1)))
  expect(end).toMatchObject({ state: 'dead_lettered', code: 'result_too_large' })
})

it('a journal over its limit begins no further step, and says journal_too_large', async () => {
  const answer = big(4 * 1024 * 1024)
  const count = Math.ceil(JOURNAL_LIMIT_BYTES / answer.length) + 3
  let calls = 0
  const end = await endOf(
    async ({ use }) => {
      for (let i = 0; i < count; i++) await use(acme).things.upsert({ i })
    },
    { call: () => (calls++, made({ answer })) },
  )
  expect(end).toMatchObject({ state: 'dead_lettered', code: 'journal_too_large' })
  expect(end.reason).toContain('smaller pages')
  expect(calls).toBe(
    JOURNAL_LIMIT_BYTES / answer.length + (JOURNAL_LIMIT_BYTES % answer.length === 0 ? 0 : 1),
  )
})

it('what a flow returns over its limit is left out, with the reason on the run', async () => {
  const end = await endOf(() => big(FLOW_RESULT_LIMIT_BYTES))
  expect(end).toMatchObject({ state: 'succeeded', code: 'result_too_large' })
})

it('a name of a step over its limit fails with step_name_too_long', async () => {
  const end = await endOf(({ step }) => step(big(STEP_NAME_LIMIT + 1), () => 1))
  expect(end).toMatchObject({ state: 'dead_lettered', code: 'step_name_too_long' })
})

it('more runs than a node executes at once wait in the database', async () => {
  let letGo = (): void => {}
  const gate = new Promise<void>((resolve) => (letGo = resolve))
  await withEngine(
    { flows: [flow(({ step }) => step('wait', () => gate))], runsAtOnce: 2 },
    async (engine) => {
      const delivered = await Promise.all([1, 2, 3, 4, 5].map((n) => engine.deliver('thing.happened', { n })))
      while (engine.engine.size < 2) await new Promise((resolve) => setTimeout(resolve, 10))
      const { rows } = await engine.database.pool.query<{ state: string; n: number }>(
        `select state, count(*)::int as n from runs where flow = $1 group by 1 order by 1`,
        [`limit-${serial}`],
      )
      expect(engine.engine.size).toBe(2)
      expect(rows.find(({ state }) => state === 'queued')!.n).toBeGreaterThanOrEqual(1)
      letGo()
      for (const { runs } of delivered) await engine.reached(runs[0]!, 'succeeded')
    },
  )
})

it('a run that was claimed too often without progress is parked', async () => {
  await withEngine({ flows: [flow(() => 1)], idle: true }, async (engine) => {
    const { runs } = await engine.deliver('thing.happened', { n: 1 })
    await engine.database.pool.query('update runs set claims = $2 where id = $1', [
      runs[0],
      CLAIMS_WITHOUT_PROGRESS - 1,
    ])
    await engine.engine.start()
    const row = await engine.reached(runs[0]!, 'parked')
    expect(row).toMatchObject({
      reason_code: 'no_progress',
      reason: expect.stringContaining(`begun ${CLAIMS_WITHOUT_PROGRESS} times`),
    })
  })
})

it('a run whose last three nodes died rests before it is begun once more, unless it got on', async () => {
  await withEngine({ flows: [flow(() => 1)], idle: true }, async (engine) => {
    const { runs } = await engine.deliver('thing.happened', { n: 1 })
    const { pool } = engine.database
    const diedAfter = async (claims: number, progress: number): Promise<readonly [boolean, number]> => {
      await pool.query(
        `insert into nodes (id, roles, version, host, pid, heartbeat_at) values ('nod_' || $1, 'worker', '1', 'h', 1, 'epoch')`,
        [`${claims}-${progress}`],
      )
      await pool.query(
        `update runs set state = 'running', node_id = 'nod_' || $2, claims = $3, progress_seq = $4 where id = $1`,
        [runs[0], `${claims}-${progress}`, claims, -progress],
      )
      const woken: string[] = []
      const now = systemClock.now()
      await rescueRuns({
        database: engine.database,
        clock: { ...systemClock, now: () => now },
        writeEntries,
        wake: (_, some) => {
          woken.push(...some.map(({ id }) => id))
          return Promise.resolve()
        },
      })
      const { rows } = await pool.query<{ due_at: Date }>('select due_at from runs where id = $1', [runs[0]])
      return [woken.includes(runs[0]!), (rows[0]!.due_at.getTime() - now) / 1000]
    }
    expect(await diedAfter(1, 0)).toEqual([true, WAKE_AGAIN_SECONDS])
    expect(await diedAfter(2, 0)).toEqual([true, WAKE_AGAIN_SECONDS])
    expect(await diedAfter(3, 0)).toEqual([false, 30])
    expect(await diedAfter(3, 1)).toEqual([true, WAKE_AGAIN_SECONDS])
  })
})

it('a wake-up that a dead node took along comes again at once, not when it would have come again anyway', async () => {
  await withEngine({ flows: [flow(() => 1)], idle: true }, async (engine) => {
    const { pool } = engine.database
    const now = systemClock.now()
    const some: readonly (readonly [state: string, claims: number, dueIn: number, soon: boolean])[] = [
      ['queued', 0, WAKE_AGAIN_SECONDS, true],
      ['queued', 2, 1, true],
      ['queued', 3, WAKE_AGAIN_SECONDS, false], // It rests.
      ['queued', 0, WAKE_AGAIN_SECONDS + 5, false],
      ['waiting', 0, 5, false],
      ['undoing', 0, 5, false],
    ]
    const dueIn = async (death: boolean): Promise<number[]> => {
      const ids: string[] = []
      for (const [state, claims, seconds] of some) {
        const id = (await engine.deliver('thing.happened', { n: 1 })).runs[0]!
        ids.push(id)
        await pool.query('update runs set state = $2, claims = $3, due_at = $4 where id = $1', [
          id,
          state,
          claims,
          new Date(now + seconds * 1_000),
        ])
      }
      if (death)
        await pool.query(
          `insert into nodes (id, roles, version, host, pid, heartbeat_at) values ('nod_gone', 'worker', '1', 'h', 1, 'epoch')`,
        )
      await rescueRuns({
        database: engine.database,
        clock: { ...systemClock, now: () => now },
        writeEntries,
        wake: () => Promise.resolve(),
      })
      const { rows } = await pool.query<{ id: string; due_at: Date }>(
        'select id, due_at from runs where id = any($1)',
        [ids],
      )
      const due = new Map(rows.map((row) => [row.id, (row.due_at.getTime() - now) / 1_000]))
      return ids.map((id) => due.get(id)!)
    }
    expect(await dueIn(false)).toEqual(some.map(([, , seconds]) => seconds))
    expect(await dueIn(true)).toEqual(some.map(([, , seconds, soon]) => (soon ? 0 : seconds)))
  })
})

it('a node that is silent for too long loses its runs, and no sooner', async () => {
  let letGo = (): void => {}
  const gate = new Promise<CallOutcome>((resolve) => (letGo = () => resolve(made())))
  await withEngine(
    { flows: [flow(({ use }) => use(acme).things.upsert({}))], call: () => gate },
    async (engine) => {
      const { runs } = await engine.deliver('thing.happened', { n: 1 })
      await engine.reached(runs[0]!, 'running')
      const { pool } = engine.database
      await pool.query(
        `insert into nodes (id, roles, version, host, pid) values ('nod_silent', 'worker', '1', 'h', 1)`,
      )
      await pool.query(`update runs set node_id = 'nod_silent' where id = $1`, [runs[0]])
      const silentFor = async (ms: number): Promise<number> => {
        await pool.query(
          `update nodes set heartbeat_at = clock_timestamp() - $1 * interval '1 millisecond', stopped_at = null where id = 'nod_silent'`,
          [ms],
        )
        const rescued = await rescueRuns({
          database: engine.database,
          clock: systemClock,
          writeEntries,
          wake: () => Promise.resolve(),
        })
        return rescued.filter(({ id }) => id === runs[0]).length
      }
      // Where this machine stood still meanwhile, the node was silent for too long after all: that proves nothing.
      let seen: readonly [rescued: number, kept: boolean] | undefined
      while (seen === undefined) {
        await pool.query(`update runs set state = 'running', node_id = 'nod_silent' where id = $1`, [runs[0]])
        const rescued = await silentFor(DEAD_AFTER_MS / 2)
        const { rows } = await pool.query<{ kept: boolean; young: boolean }>(
          `select r.node_id = n.id as kept, clock_timestamp() - n.heartbeat_at < $2 * interval '1 millisecond' as young
           from runs r, nodes n where r.id = $1 and n.id = 'nod_silent'`,
          [runs[0], DEAD_AFTER_MS],
        )
        if (rows[0]!.young) seen = [rescued, rows[0]!.kept]
      }
      // The engine beats too, and may have rescued it in the meantime only if it was dead.
      expect(seen).toEqual([0, true])
      const rescued = await silentFor(DEAD_AFTER_MS + 1_000)
      const { rows } = await pool.query<{ node_id: string | null }>(
        'select node_id from runs where id = $1',
        [runs[0]],
      )
      expect(rescued === 1 || rows[0]!.node_id !== 'nod_silent').toBe(true)
      letGo()
    },
  )
})

it('what does not end in time at a stop is handed back', async () => {
  const fast = {
    ...systemClock,
    after: (ms: number, wake: () => void) =>
      systemClock.after(ms === STOP_LIMIT_MS ? 200 : ms, wake, { keepAlive: true }),
  }
  const engine = await startTestEngine(testDatabase, {
    flows: [flow(({ step }) => step('never', () => new Promise(() => {})))],
    clock: fast,
  })
  const { runs } = await engine.deliver('thing.happened', { n: 1 })
  while (engine.engine.size === 0) await new Promise((resolve) => setTimeout(resolve, 10))
  await engine.engine.stop()
  const { rows } = await engine.database.pool.query('select state, node_id from runs where id = $1', [
    runs[0],
  ])
  expect(rows).toEqual([{ state: 'queued', node_id: null }])
  await engine.database.close()
})

it('a delivery of more events than one may carry is quarantined whole', async () => {
  await withEngine({ flows: [flow(() => 1)], idle: true }, async (engine) => {
    const events = Array.from({ length: EVENTS_PER_DELIVERY + 1 }, (_, i) => ({
      id: `many-${serial}-${i}`,
      type: 'thing.happened',
      at: '/data',
    }))
    const accepted = await engine.inbox.accept({
      tenant: TENANT,
      connectionId: CONNECTION,
      connectionName: 'acme',
      connector: acme,
      headers: [],
      contentType: 'application/json',
      body: Buffer.from('{"data":{"n":1}}'),
      receivedAt: Date.now(),
      parsed: { data: { n: 1 } },
      events,
      contentUnique: false,
    })
    const { rows } = await engine.database.pool.query(
      'select state, reason from events where delivery_id = $1',
      [accepted.deliveryId],
    )
    expect(rows).toEqual([
      { state: 'quarantined', reason: expect.stringContaining(`at most ${EVENTS_PER_DELIVERY}`) },
    ])
  })
})

it('more flows on one event than may start are refused at start', () => {
  const flows = Array.from({ length: FLOWS_PER_EVENT + 1 }, (_, i) => flow(() => 1, { name: `fan-${i}` }))
  expect(() => createFlowTable(flows.slice(1))).not.toThrow()
  expect(() => createFlowTable(flows)).toThrow(`at most ${FLOWS_PER_EVENT} may start on one event`)
})
