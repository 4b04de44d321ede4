import { afterAll, beforeAll, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { acme, startTestEngine } from '../../tests/support/engine.ts'
import { defineFlow, type AnyFlow } from '../define/index.ts'
import { createFlowTable } from '../inbox/index.ts'
import { noticesOfRunsInFlight } from './runsInFlight.ts'

let testDatabase: TestDatabase
beforeAll(async () => {
  testDatabase = await createTestDatabase()
})
afterAll(() => testDatabase.drop())

it('names the runs in flight whose flow changed or is gone', async () => {
  const flow = (version: number): AnyFlow =>
    defineFlow({
      name: 'test',
      version,
      on: acme.on('thing.happened'),
      run: ({ sleep }) => sleep('1 day'),
    }) as AnyFlow
  const engine = await startTestEngine(testDatabase, { flows: [flow(1)] })
  try {
    const { runs } = await engine.deliver('thing.happened', { n: 1 })
    await engine.reached(runs[0]!, 'waiting')
    const notices = (flows: readonly AnyFlow[]): Promise<string[]> =>
      noticesOfRunsInFlight(engine.database.pool, createFlowTable(flows))
    expect(await notices([flow(1)])).toEqual([])
    expect((await notices([flow(2)]))[0]).toContain(`(${runs[0]}) began with version 1`)
    expect((await notices([]))[0]).toContain('is not in the configuration')
  } finally {
    await engine.stop()
  }
})
