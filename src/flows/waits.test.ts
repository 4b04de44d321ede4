import { afterAll, beforeAll, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { DAY } from '../base/index.ts'
import { openDatabase, type Database } from '../db/index.ts'
import { FIND_MISSED, wakeMissed } from './waits.ts'

let testDatabase: TestDatabase
let database: Database
beforeAll(async () => {
  testDatabase = await createTestDatabase()
  database = openDatabase({ url: testDatabase.url, max: 2 })
  // 20,000 runs that have waited for a day, and as many events that came meanwhile and that nobody waits for.
  await database.pool.query(
    `insert into connections (tenant, id, name, connector, base_url) values ('default', 'con_1', 'acme', 'acme', '');
     insert into runs (tenant, id, flow, flow_version, event_id, root_run_id, state, due_at, created_at)
       select 'default', 'run_' || n, 'f', 1, 'evt_' || n, 'r', 'waiting', now() + interval '30 days', now() - interval '2 days' from generate_series(1, 20000) n;
     insert into waits (tenant, run_id, name, ordinal, connector, type, field, value, since, created_at)
       select 'default', 'run_' || n, 'wait:x', 1, 'acme', 'x', 'data.customer', 'c' || n, now(), now() - interval '1 day' from generate_series(1, 20000) n;
     insert into event_fields (tenant, connector, type, field, value, event_id, connection_id, received_at)
       select 'default', 'acme', 'x', 'data.customer', 'd' || n, 'evt_x' || n, 'con_1', now() - interval '1 day' from generate_series(1, 20000) n;
     analyze`,
  )
})
afterAll(async () => {
  await database.close()
  await testDatabase.drop()
})

const missed = async (lookBackMs: number): Promise<string[]> => {
  const found: string[] = []
  await wakeMissed(
    { database, wake: (_, runs) => Promise.resolve(void found.push(...runs.map(({ id }) => id))) },
    lookBackMs,
  )
  return found
}
const arrive = (value: string, age: string) =>
  database.pool.query(
    `insert into event_fields (tenant, connector, type, field, value, event_id, connection_id, received_at)
     values ('default', 'acme', 'x', 'data.customer', $1, 'evt_' || $1, 'con_1', now() - $2::interval)`,
    [value, age],
  )

it('the look for missed events reads what is new, not all that waits and not all that came', async () => {
  const { rows } = await database.pool.query(`explain (format json) ${FIND_MISSED}`, [41_000, 500])
  const plan = JSON.stringify(rows)
  expect(plan).toContain('waits_lately')
  expect(plan).toContain('event_fields_lately')
  expect(plan.match(/"Seq Scan"[^}]*"Relation Name":"(waits|event_fields|runs)"/)).toBeNull()
})

it('finds a wait that began lately, an event that came lately, and from afar everything that was missed', async () => {
  await arrive('c1', '2 hours')
  await database.pool.query(`update waits set created_at = now() where run_id = 'run_1'`)
  await arrive('c2', '1 second')
  await arrive('c3', '2 hours')
  expect((await missed(41_000)).sort()).toEqual(['run_1', 'run_2'])
  expect(await missed(41_000)).toEqual([])
  expect(await missed(DAY)).toEqual(['run_3'])
})
