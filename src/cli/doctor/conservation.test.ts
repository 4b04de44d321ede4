import { afterAll, beforeAll, expect, it } from 'vitest'
import { acme, startTestEngine, TENANT, type TestEngine } from '../../../tests/support/engine.ts'
import { createTestDatabase, type TestDatabase } from '../../../tests/support/database.ts'
import { HOUR, systemClock, timeOfId } from '../../base/index.ts'
import { beginConservation, countOnce } from '../../conservation/check.ts'
import { defineFlow } from '../../define/index.ts'
import { lookAtConservation } from './conservation.ts'

let testDatabase: TestDatabase
let engine: TestEngine
const flow = defineFlow({ name: 'thing-happened', on: acme.on('thing.happened'), run: () => undefined })
const look = (now = systemClock.now()) =>
  lookAtConservation(engine.database.pool, TENANT, { ...systemClock, now: () => now })

beforeAll(async () => {
  testDatabase = await createTestDatabase()
  engine = await startTestEngine(testDatabase, { flows: [flow] })
})
afterAll(async () => {
  await engine.stop()
  await testDatabase.drop()
})

it('doctor says whether what came in is still there, and names what is not', async () => {
  expect(await look()).toMatchObject({
    level: 'ok',
    found: expect.stringContaining('nothing is counted yet') as string,
  })
  const options = { database: engine.database, clock: systemClock, tenant: TENANT }
  await beginConservation(options)
  const { runs } = await engine.deliver('thing.happened', { n: 1 })
  await engine.reached(runs[0]!, 'succeeded')
  // Other tests of the run share the server of the database, and their transactions count.
  for (let read = 0; read === 0;) {
    await countOnce(options, 0)
    read = (await engine.database.pool.query('select 1 from conservation')).rowCount ?? 0
  }
  expect(await look()).toMatchObject({ level: 'ok', what: 'Conservation' })
  expect(await look(systemClock.now() + 2 * HOUR)).toMatchObject({ level: 'warn' })
  await engine.database.pool.query('delete from runs')
  // Of the run, which may have come before midnight.
  const day = new Date(timeOfId(runs[0]!)).toISOString().slice(0, 10)
  expect(await look()).toMatchObject({
    level: 'fail',
    found: `runs of thing-happened for events of con_acme on ${day}: the ledger has 1, the tables have 0`,
  })
})
