import { afterAll, beforeAll, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../tests/support/database.ts'
import { DAY, HOUR, MINUTE } from '../../base/index.ts'
import { openDatabase, type Database } from '../../db/index.ts'
import { credentialExpiry } from './credentialExpiry.ts'
import { credentialRefused } from './credentialRefused.ts'
import { deadLetters } from './deadLetters.ts'
import type { Detector } from './detector.ts'
import { reauthorization } from './reauthorization.ts'

const NOW = Date.UTC(2026, 10, 23, 9)
let test: TestDatabase
let database: Database
beforeAll(async () => {
  test = await createTestDatabase()
  database = openDatabase({ url: test.url })
})
afterAll(async () => {
  await database.close()
  await test.drop()
})

const look = (detector: Detector, now = NOW) =>
  detector.look({ client: database.pool, tenant: 'default', now })

async function connection(id: string, state = 'active'): Promise<void> {
  await database.pool.query(
    `insert into connections (tenant, id, name, connector, base_url, state) values ('default', $1::text, $1, 'calcom', 'https://x', $2)`,
    [id, state],
  )
}

const secret = (id: string, field: string, times: { ends?: number; moved?: number; expires?: number }) => {
  const at = (ms: number | undefined): Date | null => (ms === undefined ? null : new Date(NOW + ms))
  return database.pool.query(
    `insert into secrets (tenant, connection_id, field, sealed, fingerprint, ends_at, end_moved_at, expires_at) values ('default', $1, $2, '', '', $3, $4, $5)`,
    [id, field, at(times.ends), at(times.moved), at(times.expires)],
  )
}

it('tells of a key that ends, once, in words that change as the end comes nearer', async () => {
  await connection('con_key')
  await secret('con_key', 'apiKey', { ends: 13 * DAY })
  await secret('con_key', 'former.0.apiKey', { ends: DAY, expires: HOUR })
  await secret('con_key', 'webhookSecret.0', { ends: 31 * DAY })
  const [far, ...others] = await look(credentialExpiry)
  expect(others).toEqual([])
  expect(far).toMatchObject({
    subject: 'con_key apiKey',
    title: 'The apiKey of con_key ends',
    holdsUp: expect.stringContaining('less than 30 days') as string,
    todo: expect.stringContaining('trestle connections rotate con_key --secret apiKey=prompt') as string,
  })
  const at = async (now: number): Promise<string> => (await look(credentialExpiry, now))[0]!.holdsUp
  expect(await at(NOW + 7 * DAY)).toContain('less than 7 days')
  expect(await at(NOW + 11 * DAY)).toContain('less than 3 days')
  expect(await at(NOW + 12.5 * DAY)).toContain('less than a day')
  expect(await at(NOW + 14 * DAY)).toContain('Every call')
  await database.pool.query('delete from secrets')
  expect(await look(credentialExpiry)).toEqual([])
})

it('tells of a grant that no refresh puts off, and of none that each refresh does', async () => {
  await connection('con_grant')
  // Lives for a week, and was put off an hour ago: the next refresh does so again.
  await secret('con_grant', 'grant', { ends: 7 * DAY - HOUR, moved: -HOUR })
  expect(await look(credentialExpiry)).toEqual([])
  await database.pool.query(`update secrets set ends_at = $1, end_moved_at = $2`, [
    new Date(NOW + 10 * DAY),
    new Date(NOW - 90 * DAY),
  ])
  expect(await look(credentialExpiry)).toMatchObject([
    {
      title: 'The authorization of con_grant ends',
      todo: 'Authorize it again: trestle connections add con_grant',
    },
  ])
  await database.pool.query('delete from secrets')
})

it('tells of a new key that is refused, as long as the former one is used, and of rights that are missing', async () => {
  await connection('con_refused')
  const refused = (over: { at: number; former?: number; checked?: number }) =>
    database.pool.query(
      `insert into connection_checks (tenant, connection_id, due_at, refused_since, refused_at, refused_reason, former_used_at, checked_at)
       values ('default', 'con_refused', $1, $2, $2, 'It answered 401.', $3, $4)
       on conflict (tenant, connection_id) do update set refused_since = $2, refused_at = $2, former_used_at = $3, checked_at = $4`,
      [
        new Date(NOW),
        new Date(NOW + over.at),
        over.former === undefined ? null : new Date(NOW + over.former),
        over.checked === undefined ? null : new Date(NOW + over.checked),
      ],
    )
  await secret('con_refused', 'former.0.apiKey', { expires: HOUR })
  await refused({ at: -MINUTE, former: -MINUTE })
  expect(await look(credentialRefused)).toMatchObject([
    { holdsUp: expect.stringContaining('calls carry the former one') as string },
  ])
  // Nobody has looked yet whether it is refused for all.
  await refused({ at: -MINUTE })
  expect(await look(credentialRefused)).toEqual([])
  await refused({ at: -MINUTE, checked: 0 })
  expect(await look(credentialRefused)).toMatchObject([
    { what: expect.stringContaining('refuses some calls') as string },
  ])
  expect(await look(credentialRefused, NOW + HOUR)).toEqual([])
  await database.pool.query(`update connection_checks set code = 'no_check'`)
  expect(await look(credentialRefused)).toMatchObject([
    { what: expect.stringContaining('names no cheap read') as string },
  ])
})

const park = (id: string, flow: string, state: string, parkedFor: string | null) =>
  database.pool.query(
    `insert into runs (tenant, id, flow, flow_version, event_id, root_run_id, state, parked_for, finished_at) values ('default', $1, $2, 1, 'evt', $1, $3, $4, $5)`,
    [id, flow, state, parkedFor, state === 'dead_lettered' ? new Date(NOW) : null],
  )

it('counts the runs that wait for a new authorization, and no others', async () => {
  await connection('con_lost', 'needs_reauthorization')
  await park('run_1', 'bill', 'parked', 'missing/con_lost')
  await park('run_2', 'bill', 'parked', 'refused/con_lost')
  await park('run_3', 'bill', 'parked', 'missing/con_other')
  await park('run_4', 'bill', 'parked', 'con_lost/')
  expect(await look(reauthorization)).toMatchObject([
    {
      holdsUp: '2 runs are parked for it.',
      todo: expect.stringContaining('trestle connections add con_lost') as string,
    },
  ])
})

it('says that there is more than it read, so that nothing is called over for it', async () => {
  for (let i = 0; i < 101; i++)
    await park(`run_d${i}`, `flow-${String(i).padStart(3, '0')}`, 'dead_lettered', null)
  const at = { client: database.pool, tenant: 'default', now: NOW }
  expect((await deadLetters.lookWhole(at)).whole).toBe(false)
  await database.pool.query(`delete from runs where flow > 'flow-050'`)
  expect((await deadLetters.lookWhole(at)).whole).toBe(true)
})
