import { Client } from 'pg'
import { defineFlow, type AnyFlow, type FlowContext } from '../../src/define/index.ts'
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

export const pauseMs = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** The run's state once it is one of these, or what it is after `ms`. */
export async function stateWithin(
  engine: TestEngine,
  run: string,
  ms: number,
  ...states: string[]
): Promise<{
  state: string
  reason_code: string | null
  reason: string | null
  waits: string | null
  node_id: string | null
}> {
  const end = Date.now() + ms
  for (;;) {
    const { rows } = await engine.database.pool.query(
      'select state, reason_code, reason, waits, node_id from runs where id = $1',
      [run],
    )
    if (states.includes(rows[0].state) || Date.now() > end) return rows[0]
    await pauseMs(50)
  }
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
