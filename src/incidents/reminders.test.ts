import { afterAll, beforeAll, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { DAY } from '../base/index.ts'
import { openDatabase, type Database } from '../db/index.ts'
import { beginReading, ensurePartitions } from '../ledger/index.ts'
import { createFakeClock } from '../testing/fakeClock.ts'
import type { AlertPayload } from './incident.ts'
import { credentialExpiry } from './detectors/credentialExpiry.ts'
import { lookOnce, READER } from './look.ts'

let testDatabase: TestDatabase
let database: Database
const clock = createFakeClock()
beforeAll(async () => {
  testDatabase = await createTestDatabase()
  database = openDatabase({ url: testDatabase.url, max: 3 })
  await ensurePartitions(database.pool, clock.now())
  await beginReading(database.pool, { tenant: 'default', name: READER }, clock.now())
})
afterAll(async () => {
  await database.close()
  await testDatabase.drop()
})

/** What was told since it was asked last, in the order in which it was. */
async function told(): Promise<readonly string[]> {
  await lookOnce(
    { database, clock, tenant: 'default', detectors: [credentialExpiry], channels: ['email'] },
    0,
  )
  const { rows } = await database.pool.query<{ payload: Buffer }>(
    'with taken as (delete from alerts returning *) select payload from taken order by created_at',
  )
  return rows.map(({ payload }) => {
    const { change, holdsUp } = JSON.parse(payload.toString()) as AlertPayload
    return `${change}: ${/less than [\w ]+?(?= (?:is|are) left)|Every call/.exec(holdsUp)![0]}`
  })
}

it('a credential that ends is told of 30 days before, and again at 7, 3 and 1 and at its end, also acknowledged', async () => {
  const end = clock.now() + 40 * DAY
  await database.pool.query(
    `insert into connections (tenant, id, name, connector, base_url, settings) values ('default', 'con_1', 'shop', 'shop', 'https://x', '{}')`,
  )
  await database.pool.query(
    `insert into secrets (tenant, connection_id, field, sealed, fingerprint, ends_at) values ('default', 'con_1', 'apiKey', '', '', $1)`,
    [new Date(end)],
  )
  const days: Record<number, readonly string[]> = {}
  for (let left = 40; left >= -2; left--) {
    const said = await told()
    if (said.length > 0) days[left] = said
    await database.pool.query(`update incidents set state = 'acknowledged' where state = 'open'`)
    // The same look again, as each node and each second makes it, tells nothing.
    expect(await told()).toEqual([])
    await clock.advance(DAY)
  }
  expect(days).toEqual({
    30: ['opened: less than 30 days'],
    7: ['reminded: less than 7 days'],
    3: ['reminded: less than 3 days'],
    1: ['reminded: less than a day'],
    0: ['reminded: Every call'],
  })
  await database.pool.query('delete from secrets')
  expect(await told()).toEqual(['resolved: Every call'])
})
