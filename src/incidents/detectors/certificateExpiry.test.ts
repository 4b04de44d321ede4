import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../tests/support/database.ts'
import { DAY, HOUR } from '../../base/index.ts'
import { openDatabase, type Database } from '../../db/index.ts'
import { ASKED_LATELY_MS, certificateExpiry } from './certificateExpiry.ts'

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
beforeEach(async () => {
  await database.pool.query('delete from connection_checks')
  await database.pool.query('delete from connections')
})

const look = (now = NOW) => certificateExpiry.look({ client: database.pool, tenant: 'default', now })
const titles = async (now?: number) => (await look(now)).map(({ title }) => title)

interface Server {
  readonly isOwn?: boolean
  readonly lifeDays?: number
  readonly endsInDays: number
  readonly used?: number | null
  readonly checked?: number | null
  readonly outcome?: string
}
async function server(name: string, given: Server): Promise<void> {
  const {
    isOwn = true,
    lifeDays = 90,
    endsInDays,
    used = null,
    checked = -HOUR,
    outcome = 'succeeded',
  } = given
  const at = (ms: number | null): Date | null => (ms === null ? null : new Date(NOW + ms))
  await database.pool.query(
    `insert into connections (tenant, id, name, connector, base_url, allow_private) values ('default', $1::text, $1, 'shop', 'https://' || $1, $2)`,
    [name, isOwn],
  )
  await database.pool.query(
    `insert into connection_checks (tenant, connection_id, due_at, used_at, checked_at, outcome, certificate_from, certificate_ends_at)
     values ('default', $1, now(), $2, $3, $4, $5, $6)`,
    [name, at(used), at(checked), outcome, at((endsInDays - lifeDays) * DAY), at(endsInDays * DAY)],
  )
}

it('tells of a certificate in a private network 14 days before, and what to do', async () => {
  await server('erp', { endsInDays: 5 })
  await server('crm', { endsInDays: 15 })
  expect(await look()).toMatchObject([
    {
      subject: 'erp',
      title: 'The certificate of the server of erp ends',
      what: expect.stringContaining('https://erp (erp) ends at 2026-11-28') as string,
      holdsUp: expect.stringContaining('from then on no call') as string,
      todo: expect.stringMatching(/^Renew it on that server\..*trestle connections test erp/) as string,
      connectionId: 'erp',
    },
  ])
  // The check fails then, and is made all the same.
  await database.pool.query('update connection_checks set checked_at = $1', [new Date(NOW + 6 * DAY)])
  const [over] = await look(NOW + 6 * DAY)
  expect(over).toMatchObject({
    what: expect.stringContaining('ended at') as string,
    holdsUp: expect.stringContaining('nothing is sent') as string,
  })
})

it('tells of any other server 3 days before, as those who run it renew it', async () => {
  await server('stripe', { isOwn: false, endsInDays: 4 })
  await server('hubspot', { isOwn: false, endsInDays: 2 })
  expect(await titles()).toEqual(['The certificate of the server of hubspot ends'])
})

it('of a short-lived one only when its last sixth is reached', async () => {
  await server('short', { lifeDays: 6, endsInDays: 2 })
  await server('shorter', { lifeDays: 6, endsInDays: 0.9 })
  expect(await titles()).toEqual(['The certificate of the server of shorter ends'])
})

it('tells nothing of a server that nobody asked for long: it may have another one', async () => {
  const long = -ASKED_LATELY_MS - HOUR
  await server('away', { endsInDays: 2, used: long, checked: long })
  await server('unasked', { endsInDays: 2, outcome: 'not_made' })
  await server('never', { endsInDays: 2, checked: null })
  await server('called', { endsInDays: 2, used: -HOUR, checked: long })
  expect(await titles()).toEqual(['The certificate of the server of called ends'])
})

it('nor of one whose connection is gone', async () => {
  await server('gone', { endsInDays: 2 })
  await database.pool.query(`update connections set state = 'revoked'`)
  expect(await look()).toEqual([])
})
