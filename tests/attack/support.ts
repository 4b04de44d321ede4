import { Client } from 'pg'
import { defineFlow, type AnyFlow, type FlowContext } from '../../src/define/index.ts'
import { asUnavailable } from '../../src/db/index.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { acme, startTestEngine, type TestEngine, type TestEngineOptions } from '../support/engine.ts'

export type Context = FlowContext<{ n: number; customer?: string }>

export const flow = (run: (context: Context) => unknown, over: object = {}): AnyFlow =>
  defineFlow({
    name: 'test',
    on: acme.on('thing.happened'),
    retry: { first: 5, cap: 20 },
    run,
    ...over,
  })

/**
 * A database of its own, and as many engines on it as the test starts. `watcher` is a connection beside their pools: it
 * can look while they are busy, for longer than anybody waits for a pool.
 */
export async function attack(
  work: (start: (options: TestEngineOptions) => Promise<TestEngine>, watcher: Client) => Promise<void>,
): Promise<void> {
  const testDatabase: TestDatabase = await createTestDatabase()
  const watcher = new Client({ connectionString: testDatabase.url })
  const engines: TestEngine[] = []
  try {
    await watcher.connect()
    await work(async (options) => {
      const engine = await startTestEngine(testDatabase, options)
      engines.push(engine)
      return engine
    }, watcher)
  } finally {
    await Promise.allSettled(engines.map((engine) => engine.stop()))
    await watcher.end()
    await testDatabase.drop()
  }
}

/** Times that a test is begun anew in which a node was taken for dead, or the database for away. */
const TRIES = 5

/**
 * {@link attack} for a test of what happens while nothing goes wrong. Where this machine stood still for so long that a
 * node was taken for dead, or the database for away, the runs were rightly begun again: it is tried once more.
 */
export async function undisturbed(
  work: (start: (options: TestEngineOptions) => Promise<TestEngine>, watcher: Client) => Promise<void>,
): Promise<void> {
  for (let tried = 1; ; tried++) {
    let disturbed = false
    const failed = await attack(async (start, watcher) => {
      const engines: TestEngine[] = []
      try {
        await work(async (options) => {
          const engine = await start(options)
          engines.push(engine)
          return engine
        }, watcher)
      } catch (error) {
        const dead = await watcher.query(`select 1 from ledger where action = 'node.declared_dead'`)
        disturbed = dead.rows.length > 0 || engines.some(({ faults }) => faults.length > 0)
        throw error
      }
    }).then(
      () => undefined,
      (error: unknown) => ({ error }),
    )
    if (!failed) return
    if (!disturbed || tried === TRIES) throw failed.error
  }
}

export const pauseMs = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** By then it is told what the run is instead. Nothing is judged by how long it took. */
const LONG_ENOUGH_MS = 120_000

/** The run once its state is one of these; what it is after two minutes where that never comes. */
export async function stateOf(
  engine: TestEngine,
  run: string,
  ...states: string[]
): Promise<{
  state: string
  reason_code: string | null
  reason: string | null
  waits: string | null
  node_id: string | null
}> {
  const end = Date.now() + LONG_ENOUGH_MS
  for (;;) {
    const row = await load(engine, run)
    if (row && (states.includes(row.state) || Date.now() > end)) return row
    await pauseMs(50)
  }
}

async function load(engine: TestEngine, run: string) {
  const { rows } = await engine.database.pool
    .query('select state, reason_code, reason, waits, node_id from runs where id = $1', [run])
    .catch((error: unknown) => {
      if (!asUnavailable(error)) throw error
      return { rows: [] }
    })
  return rows[0]
}

/** The next statement whose name or text contains this fails as if the connection had been cut. */
export function cutOnce(engine: TestEngine, statement: string): { hit: boolean } {
  const cut = { hit: false }
  const pool = engine.database.pool as unknown as { query: (...args: unknown[]) => unknown }
  const query = pool.query.bind(pool)
  pool.query = (...args: unknown[]) => {
    const first = args[0] as string | { name?: string; text?: string }
    const text = typeof first === 'string' ? first : `${first.name ?? ''} ${first.text ?? ''}`
    if (!cut.hit && text.includes(statement)) {
      cut.hit = true
      return Promise.reject(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }))
    }
    return query(...args)
  }
  return cut
}
