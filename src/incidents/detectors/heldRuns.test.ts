import { afterAll, beforeAll, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../tests/support/database.ts'
import { systemClock } from '../../base/index.ts'
import { openDatabase, type Database } from '../../db/index.ts'
import { heldRuns } from './heldRuns.ts'

let testDatabase: TestDatabase
let database: Database
beforeAll(async () => {
  testDatabase = await createTestDatabase()
  database = openDatabase({ url: testDatabase.url, max: 2 })
})
afterAll(async () => {
  await database.close()
  await testDatabase.drop()
})

const hold = (flow: string, from: number, count: number) =>
  database.pool.query(
    `insert into runs (tenant, id, flow, flow_version, event_id, root_run_id, state, reason)
     select 'default', 'run_' || lpad(n::text, 8, '0'), $1, 1, 'evt_1', 'root', 'held', 'reason ' || n from generate_series($2::int, $3::int) n`,
    [flow, from, from + count - 1],
  )

it('names each flow whose runs are held, however many another flow has', async () => {
  await hold('many', 1, 1_500)
  await hold('few', 2_000, 2)
  const found = await heldRuns.look({ client: database.pool, tenant: 'default', now: systemClock.now() })
  expect(found).toMatchObject([
    { subject: 'few', what: expect.stringMatching(/^2 runs of few are held .* reason 2001$/) as string },
    {
      subject: 'many',
      what: expect.stringMatching(/^over 1,000 runs of many are held .* reason 1500$/) as string,
    },
  ])
})
