import { afterAll, beforeAll, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { systemClock } from '../base/index.ts'
import { openDatabase, type Database } from '../db/index.ts'
import { beginReading, ensurePartitions } from '../ledger/index.ts'
import { FACTS_LIMIT } from './detectors/detector.ts'
import { heldRuns } from './detectors/heldRuns.ts'
import { LEFT_OUT_OVER } from './leftOut.ts'
import { lookOnce, READER } from './look.ts'

let testDatabase: TestDatabase
let database: Database
beforeAll(async () => {
  testDatabase = await createTestDatabase()
  database = openDatabase({ url: testDatabase.url, max: 3 })
  await ensurePartitions(database.pool, systemClock.now())
  await beginReading(database.pool, { tenant: 'default', name: READER }, systemClock.now())
})
afterAll(async () => {
  await database.close()
  await testDatabase.drop()
})

const look = () =>
  lookOnce({ database, clock: systemClock, tenant: 'default', detectors: [heldRuns], channels: ['email'] }, 0)

async function incidents(): Promise<Readonly<Record<string, number>>> {
  const { rows } = await database.pool.query<{ kind: string; state: string; count: string }>(
    'select kind, state, count(*)::text as count from incidents group by kind, state order by kind, state',
  )
  return Object.fromEntries(rows.map(({ kind, state, count }) => [`${kind} ${state}`, Number(count)]))
}

it('more flows with held runs than incidents are opened for are told of, until there are fewer', async () => {
  await database.pool.query(
    `insert into runs (tenant, id, flow, flow_version, event_id, root_run_id, state, reason)
     select 'default', 'run_' || lpad(n::text, 8, '0'), 'flow-' || lpad(n::text, 4, '0'), 1, 'evt_1', 'root', 'held', 'why' from generate_series(1, $1::int) n`,
    [FACTS_LIMIT + 50],
  )
  await look()
  expect(await incidents()).toEqual({ 'held_runs open': FACTS_LIMIT, 'left_out open': 1 })
  const { rows } = await database.pool.query<{ what: string }>(
    `select what from incidents where kind = 'left_out'`,
  )
  expect(rows[0]!.what).toMatch(/^There is more of held_runs than is looked at/)
  const alerts = await database.pool.query(
    `select 1 from alerts a join incidents i on i.id = a.incident_id where i.kind = 'left_out' and a.change = 'opened'`,
  )
  expect(alerts.rowCount).toBe(1)

  // The same again says nothing again.
  await look()
  expect(await incidents()).toEqual({ 'held_runs open': FACTS_LIMIT, 'left_out open': 1 })

  await database.pool.query(
    `update runs set state = 'cancelled' where flow > 'flow-0098' or flow = 'flow-0001'`,
  )
  await look()
  expect(await incidents()).toEqual({
    'held_runs open': 97,
    'held_runs resolved': 3,
    'left_out resolved': 1,
  })
  const ended = await database.pool.query<{ resolution: string }>(
    `select resolution from incidents where kind = 'left_out'`,
  )
  expect(ended.rows).toEqual([{ resolution: LEFT_OUT_OVER }])
})
