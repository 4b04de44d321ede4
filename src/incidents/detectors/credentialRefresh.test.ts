import { afterAll, beforeAll, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../tests/support/database.ts'
import { HOUR } from '../../base/index.ts'
import { openDatabase, type Database } from '../../db/index.ts'
import { credentialRefresh, IN_DOUBT_MS, REFRESH_FAILURES } from './credentialRefresh.ts'

const NOW = Date.UTC(2026, 10, 22, 9)
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

const look = () => credentialRefresh.look({ client: database.pool, tenant: 'default', now: NOW })

/** A connection whose grant, version 7, is being refreshed. */
async function put(
  id: string,
  refresh: {
    state?: string
    failures?: number
    replaces?: number
    connection?: string
    ends?: number
    doubtfulForMs?: number
  },
): Promise<void> {
  await database.pool.query(
    `insert into connections (tenant, id, name, connector, state, base_url) values ('default', $1::text, $1::text, 'hubspot', $2, 'https://api.hubapi.com')`,
    [id, refresh.connection ?? 'active'],
  )
  await database.pool.query(
    `insert into secrets (tenant, connection_id, field, version, sealed, fingerprint, expires_at) values ('default', $1, 'grant', 7, 'x', 'x', $2)`,
    [id, new Date(NOW + (refresh.ends ?? HOUR))],
  )
  await database.pool.query(
    `insert into grant_refreshes (tenant, connection_id, id, replaces, state, lease_until, failures, reason, begun_at, doubtful)
     values ('default', $1, 'rfr_1', $2, $3, now(), $4, 'The token endpoint answered 503.', $5, $6)`,
    [
      id,
      refresh.replaces ?? 7,
      refresh.state ?? 'failed',
      refresh.failures ?? REFRESH_FAILURES,
      new Date(NOW - (refresh.doubtfulForMs ?? 0)),
      refresh.doubtfulForMs !== undefined,
    ],
  )
}

it('tells of a grant that could not be refreshed three times in a row, and of nothing else', async () => {
  await put('con_fewer', { failures: REFRESH_FAILURES - 1 })
  await put('con_renewed_since', { replaces: 6 })
  await put('con_asked_a_person', { connection: 'needs_reauthorization' })
  await put('con_answered', { state: 'answered' })
  expect(await look()).toEqual([])

  await put('con_failing', { failures: 4 })
  expect(await look()).toEqual([
    {
      kind: 'credential_refresh',
      subject: 'con_failing',
      title: 'The credential of con_failing cannot be renewed',
      what: 'The token endpoint of con_failing (hubspot) has failed 4 times in a row. The token endpoint answered 503.',
      since: NOW,
      holdsUp: 'Nothing yet; from 2026-11-22 10:00:00 UTC on every call over this connection waits.',
      todo: expect.stringContaining('asked again by itself') as string,
      connectionId: 'con_failing',
    },
  ])
})

it('says that calls wait where the token has ended, also while it is being asked again', async () => {
  await put('con_over', { state: 'asking', ends: -HOUR })
  expect((await look()).find(({ subject }) => subject === 'con_over')?.holdsUp).toBe(
    'Every call over this connection: its token ended at 2026-11-22 08:00:00 UTC. The runs wait and lose no attempt.',
  )
})

it('tells of an answer that may be lost where the next question has no answer either', async () => {
  const asking = { state: 'asking', failures: 1 }
  await put('con_asked_just_now', { ...asking, doubtfulForMs: IN_DOUBT_MS - 1 })
  await put('con_in_doubt', { ...asking, doubtfulForMs: IN_DOUBT_MS })
  const subjects = (await look()).map(({ subject }) => subject)
  expect(subjects).not.toContain('con_asked_just_now')
  expect((await look()).find(({ subject }) => subject === 'con_in_doubt')?.what).toContain(
    'may have been lost with the node that asked for it',
  )
})
