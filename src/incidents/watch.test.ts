import { afterAll, beforeAll, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { SECOND, seededRandom, turn } from '../base/index.ts'
import { openDatabase, type Database } from '../db/index.ts'
import { ensurePartitions } from '../ledger/index.ts'
import { createFakeClock } from '../testing/index.ts'
import { Watch } from './watch.ts'

let testDatabase: TestDatabase
let database: Database
const clock = createFakeClock()
beforeAll(async () => {
  testDatabase = await createTestDatabase()
  database = openDatabase({ url: testDatabase.url, max: 3 })
  await ensurePartitions(database.pool, clock.now())
})
afterAll(async () => {
  await database.close()
  await testDatabase.drop()
})

/** Time passes, and the look that was due then is over: the next one is timed, beside the check of the database. */
async function pass(ms: number): Promise<void> {
  await clock.advance(ms)
  while (clock.pending() < 2) await turn()
}

const silent = (id: string) =>
  database.pool.query(
    `insert into nodes (id, roles, version, host, pid, started_at, heartbeat_at) values ($1, 'worker', 'test', 'host-1', 42, now() - interval '1 hour', now() - interval '1 minute')`,
    [id],
  )
const gone = async (): Promise<string[]> =>
  (
    await database.pool.query<{ subject: string }>(
      `select subject from incidents where kind = 'node_gone' order by id`,
    )
  ).rows.map(({ subject }) => subject)

it('tells of a node that is gone only after it has looked for a while without a break', async () => {
  await silent('nod_1')
  const watch = new Watch({
    database,
    clock,
    random: seededRandom('watch'),
    tenant: 'default',
    channels: [],
    limitsOf: () => [],
  })
  await watch.start()
  await pass(0)
  for (let i = 0; i < 9; i++) {
    await pass(SECOND)
    expect(await gone()).toEqual([])
  }
  await pass(SECOND)
  await pass(SECOND)
  expect(await gone()).toEqual(['nod_1'])

  // The database was away: every node was silent, and those that live have not been heard of yet.
  await pass(60 * SECOND)
  await silent('nod_2')
  for (let i = 0; i < 9; i++) {
    await pass(SECOND)
    expect(await gone()).toEqual(['nod_1'])
  }
  await pass(SECOND)
  await pass(SECOND)
  expect(await gone()).toEqual(['nod_1', 'nod_2'])
  await watch.stop()
})
