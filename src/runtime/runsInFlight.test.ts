import { afterAll, beforeAll, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { acme, startTestEngine } from '../../tests/support/engine.ts'
import { systemClock } from '../base/index.ts'
import { defineFlow, type AnyFlow, type FlowContext } from '../define/index.ts'
import { createFlowTable } from '../inbox/index.ts'
import { noticesOfRunsInFlight } from './runsInFlight.ts'

let testDatabase: TestDatabase
beforeAll(async () => {
  testDatabase = await createTestDatabase()
})
afterAll(() => testDatabase.drop())

it('names the runs in flight that cannot go on with the code as it is, and the ways out', async () => {
  const sleeping = async ({ sleep, step }: FlowContext): Promise<void> => {
    await step('one', () => 1)
    await sleep('1 day')
  }
  const flow = (version: number, run: (context: FlowContext) => unknown = sleeping): AnyFlow =>
    defineFlow({ name: 'test', version, on: acme.on('thing.happened'), run }) as AnyFlow
  const engine = await startTestEngine(testDatabase, { flows: [flow(2)] })
  try {
    const { runs } = await engine.deliver('thing.happened', { n: 1 })
    await engine.reached(runs[0]!, 'waiting')
    const notices = (flows: readonly AnyFlow[]): Promise<string[]> =>
      noticesOfRunsInFlight({
        client: engine.database.pool,
        flows: createFlowTable(flows),
        connectorNamed: (name) => (name === 'acme' ? acme : undefined),
        clock: systemClock,
      })
    expect(await notices([flow(2)])).toEqual([])
    // The same journal, and a newer version whose code goes on with it: nothing to say.
    expect(await notices([flow(3)])).toEqual([])
    const [conflict] = await notices([flow(3, ({ step }) => step('another', () => 1))])
    expect(conflict).toContain(`1 run of "test" cannot go on with version 3: ${runs[0]}`)
    expect(conflict).toContain('trestle runs migrate')
    expect((await notices([flow(1)]))[0]).toContain('needs a newer version than 1')
    expect((await notices([]))[0]).toContain('is not in the configuration')
  } finally {
    await engine.stop()
  }
})
