import { pause, systemClock } from '../../src/base/index.ts'
import { defineFlow, type AnyFlow, type FlowContext } from '../../src/define/index.ts'
import { createTestDatabase } from './database.ts'
import { acme, startTestEngine, TENANT, type TestEngine, type TestEngineOptions } from './engine.ts'

export type Context = FlowContext<{ n: number; customer?: string }>

/** A flow on the test provider's first event that tries again at once. */
export const flow = (run: (context: Context) => unknown, over: object = {}): AnyFlow =>
  defineFlow({
    name: 'test',
    on: acme.on('thing.happened'),
    retry: { first: 5, cap: 20 },
    run,
    ...over,
  })

/** The person who acts. */
export const acting = { actor: 'operator:test' as const, tenant: TENANT }

/** A database of its own, and as many engines on it as the test starts. */
export async function withEngines(
  work: (start: (options: TestEngineOptions) => Promise<TestEngine>) => Promise<void>,
): Promise<void> {
  const testDatabase = await createTestDatabase()
  const engines: TestEngine[] = []
  try {
    await work(async (options) => {
      const engine = await startTestEngine(testDatabase, options)
      engines.push(engine)
      return engine
    })
  } finally {
    await Promise.allSettled(engines.map((engine) => engine.stop()))
    await testDatabase.drop()
  }
}

/** Asks until there is an answer. */
export async function until<Answer>(
  ask: () => Promise<Answer | undefined> | Answer | undefined,
): Promise<Answer> {
  for (;;) {
    const answer = await ask()
    if (answer !== undefined) return answer
    await pause(systemClock, 10)
  }
}

/** The id of what was quarantined, once something is. */
export const quarantinedIn = (engine: TestEngine): Promise<string> =>
  until(async () => {
    const { rows } = await engine.database.pool.query<{ id: string }>('select id from quarantine')
    return rows[0]?.id
  })

/** A door that stays shut until `open`. */
export function gate(): { readonly passed: Promise<void>; open: () => void } {
  let open: () => void = () => {}
  const passed = new Promise<void>((resolve) => {
    open = resolve
  })
  return { passed, open }
}
