import { afterAll, beforeAll, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../tests/support/database.ts'
import { MINUTE, SECOND } from '../../base/index.ts'
import { openDatabase, type Database } from '../../db/index.ts'
import { OVERDUE_MS, schedules } from './schedules.ts'

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

const look = async (): Promise<object[]> => [
  ...(await schedules.look({ client: database.pool, tenant: 'default', now: NOW })),
]
async function put(name: string, over: Record<string, unknown>): Promise<void> {
  const row = {
    tenant: 'default',
    name,
    kind: 'poll',
    declaration: '',
    due_at: new Date(NOW + MINUTE),
    ...over,
  }
  await database.pool.query(
    `insert into schedules (${Object.keys(row).join(', ')}) values (${Object.keys(row)
      .map((_, i) => `$${i + 1}`)
      .join(', ')})`,
    Object.values(row),
  )
}

it('tells of polls that do not come through and of what nobody starts, and of nothing else', async () => {
  await put('fine', {})
  await put('once', { failures: 2, error: 'it was away', failed_at: new Date(NOW) })
  await put('late', { kind: 'cron', due_at: new Date(NOW - OVERDUE_MS + SECOND) })
  await put('retired', { state: 'retired', due_at: null, failures: 9 })
  expect(await look()).toEqual([])

  await put('failing', { failures: 3, error: 'it was away', failed_at: new Date(NOW - MINUTE) })
  await put('stuck', {
    failures: 1,
    error: 'at /next: text',
    stuck_delivery: 'dlv_1',
    failed_at: new Date(NOW),
  })
  await put('overdue', { kind: 'cron', due_at: new Date(NOW - OVERDUE_MS) })
  expect(await look()).toMatchObject([
    {
      kind: 'schedule',
      subject: 'failing',
      flow: 'failing',
      since: NOW - MINUTE,
      what: expect.stringContaining('3 times in a row: it was away'),
    },
    { subject: 'overdue', title: 'overdue does not start by itself', since: NOW - OVERDUE_MS },
    { subject: 'stuck', todo: expect.stringContaining('trestle schedules move stuck --to TIME') },
  ])

  await database.pool.query(
    `update schedules set failures = 0, stuck_delivery = null, due_at = $1 where state = 'active'`,
    [new Date(NOW + MINUTE)],
  )
  expect(await look()).toEqual([])
})
