import { afterAll, beforeAll, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../tests/support/database.ts'
import { DAY, systemClock } from '../../base/index.ts'
import { readWaiting } from '../../calls/index.ts'
import { openDatabase, type Database } from '../../db/index.ts'
import { NEW_BUDGET } from '../../resilience/index.ts'
import { budgets } from './budgets.ts'
import { outages } from './outages.ts'

let testDatabase: TestDatabase
let database: Database
const tenant = 'default'
const now = systemClock.now()
const looking = () => ({ client: database.pool, tenant, now })

beforeAll(async () => {
  testDatabase = await createTestDatabase()
  database = openDatabase({ url: testDatabase.url, max: 2 })
  await database.pool.query(
    `insert into connections (tenant, id, name, connector, base_url) values ('default', 'con_1', 'hubspot', 'hubspot', '')`,
  )
})
afterAll(async () => {
  await database.close()
  await testDatabase.drop()
})

const outage = (id: string, over: Record<string, unknown> = {}) =>
  database.pool.query(
    `insert into outages (tenant, id, connection_id, op_group, connector, cause, code, reason, opened_by, began_at, returned_at, ended_at, absorbed_by)
     values ('default', $1, 'con_1', $2, 'hubspot', $3, 'http_503', 'HTTP 503 Service Unavailable.', $4, '2026-11-22T14:03:05Z', $5, $6, $7)`,
    [
      id,
      over['group'] ?? '',
      over['cause'] ?? 'failing',
      over['by'] ?? 'system',
      over['returnedAt'] ?? null,
      over['endedAt'] ?? null,
      over['absorbedBy'] ?? null,
    ],
  )

it('an outage says what waits for it, and that it drains; one that is over or a part of another is none', async () => {
  await outage('out_1', { group: 'contacts' })
  await outage('out_2', { endedAt: '2026-11-22T15:00:00Z' })
  await outage('out_3', { group: 'deals', absorbedBy: 'out_1' })
  await database.pool.query(
    `insert into runs (tenant, id, flow, flow_version, event_id, root_run_id, state, parked_for)
     select 'default', 'run_' || n, case when n < 3 then 'refund' else 'invoice' end, 1, 'evt_1', 'run_1', 'parked', 'con_1/contacts' from generate_series(1, 7) n`,
  )
  expect(await outages.look(looking())).toEqual([
    expect.objectContaining({
      kind: 'outage',
      subject: 'out_1',
      title: 'hubspot, contacts has an outage',
      what: 'hubspot, contacts does not work since 2026-11-22 14:03:05 UTC, and is not called. HTTP 503 Service Unavailable.',
      holdsUp: '7 runs are parked until it works again: 5 of invoice, 2 of refund.',
    }),
  ])
  await database.pool.query(`update outages set returned_at = '2026-11-22T16:00:00Z' where id = 'out_1'`)
  expect(await outages.look(looking())).toMatchObject([
    { what: expect.stringContaining('works again since 2026-11-22 16:00:00 UTC') as string },
  ])
  await database.pool.query(`update outages set ended_at = '2026-11-22T16:10:00Z' where id = 'out_1'`)
  expect(await outages.look(looking())).toEqual([])
})

it('of a whole connection says also what waits for groups that became a part of it, and not for those apart', async () => {
  await database.pool.query('delete from runs')
  await outage('out_5')
  await outage('out_6', { group: 'deals', cause: 'isolated', by: 'operator:ada' })
  await database.pool.query(
    `insert into runs (tenant, id, flow, flow_version, event_id, root_run_id, state, parked_for)
     select 'default', 'run_' || n, 'invoice', 1, 'evt_1', 'run_1', case when n = 1 then 'undoing' else 'parked' end,
       (array['con_1/', 'con_1/contacts', 'con_1/deals', 'con_2/'])[1 + n % 4] from generate_series(1, 12) n`,
  )
  expect(await outages.look(looking())).toMatchObject([
    { subject: 'out_5', holdsUp: '6 runs are parked until it works again: 6 of invoice.' },
    { subject: 'out_6', holdsUp: '3 runs are parked until it works again: 3 of invoice.' },
  ])
  // Elsewhere text is ordered by another collation, in which "/" counts for little.
  await database.pool.query('alter table runs alter column parked_for type text collate "en-x-icu"')
  expect(await readWaiting(database.pool, tenant, { connectionId: 'con_1', group: '' })).toMatchObject([
    { flow: 'invoice', count: 6 },
  ])
  expect(await readWaiting(database.pool, tenant, { connectionId: 'con_1', group: 'deals' })).toMatchObject([
    { flow: 'invoice', count: 3 },
  ])
  expect(await outages.look(looking())).toHaveLength(2)
  await database.pool.query('delete from outages')
})

it('a connection that a person set apart says who did, and how it is released', async () => {
  await outage('out_4', { cause: 'isolated', by: 'operator:ada' })
  expect(await outages.look(looking())).toMatchObject([
    {
      title: 'hubspot is set apart',
      what: expect.stringContaining('was set apart by operator:ada') as string,
      todo: expect.stringContaining('trestle connections release hubspot') as string,
    },
  ])
})

it('a daily budget is read as all nodes share it, and who spends it', async () => {
  const limit = { name: 'day', allowed: 1_000, windowMs: DAY, source: 'test' }
  const state = { ...NEW_BUDGET, blockedUntil: now + DAY }
  await database.pool.query(
    `insert into budgets (tenant, connection_id, limit_name, state) values ('default', 'con_1', 'day', $1)`,
    [JSON.stringify(state)],
  )
  await database.pool.query(
    `insert into budget_spending (tenant, connection_id, limit_name, hour, flow, calls, points)
     values ('default', 'con_1', 'day', now(), 'sync', 10, 10), ('default', 'con_1', 'day', now(), 'notes', 2, 2)`,
  )
  expect(await budgets((name) => (name === 'hubspot' ? [limit] : [])).look(looking())).toMatchObject([
    {
      kind: 'budget',
      what: expect.stringMatching(
        /^hubspot wants no calls until .*: its limit "day" is used up\.$/,
      ) as string,
      todo: expect.stringContaining('Most is spent by sync.') as string,
    },
  ])
  expect(await budgets(() => []).look(looking())).toEqual([])
})
