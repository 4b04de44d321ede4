import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { openDatabase, type Database } from '../db/index.ts'
import { createFakeClock } from '../testing/index.ts'
import type { Endpoint, Rejection } from './endpoint.ts'
import { createRejectionCounter, type RejectionCounter } from './rejections.ts'

const MINUTE_0 = Date.parse('2026-11-22T09:00:00Z')

describe('the count of refused deliveries in PostgreSQL', () => {
  let testDatabase: TestDatabase
  let database: Database
  beforeAll(async () => {
    testDatabase = await createTestDatabase()
    database = openDatabase({ url: testDatabase.url })
  })
  afterAll(async () => {
    await database.close()
    await testDatabase.drop()
  })

  const node = (): RejectionCounter =>
    createRejectionCounter({
      clock: createFakeClock(MINUTE_0),
      query: (statement, values) => database.pool.query(statement, values),
      onFault: (fault) => {
        throw fault
      },
    })
  const rejection = (change: Partial<Rejection> = {}): Rejection => ({
    endpoint: { tenant: 'default', id: 'ep_1' } as Endpoint,
    status: 401,
    code: 'signature_invalid',
    reason: 'no signature matches',
    headers: [['Stripe-Signature', 't=1\u0000\ud800']],
    body: Buffer.from([0, 255, 0]),
    receivedAt: MINUTE_0 + 59_999,
    ...change,
  })

  it('adds up over nodes and flushes, and the newest sample takes its place', async () => {
    const [one, other] = [node(), node()]
    for (let i = 0; i < 3; i++) one.count(rejection())
    await one.flush()
    one.count(rejection({ receivedAt: MINUTE_0 + 60_000 }))
    for (let i = 0; i < 4; i++) other.count(rejection({ body: Buffer.from('newer') }))
    await Promise.all([one.stop(), other.stop()])

    const counts = await database.pool.query(
      `select tenant, endpoint_id, minute, reason, count::int from rejected_counts order by minute`,
    )
    const row = { tenant: 'default', endpoint_id: 'ep_1', reason: 'signature_invalid' }
    expect(counts.rows).toEqual([
      { ...row, minute: new Date(MINUTE_0), count: 7 },
      { ...row, minute: new Date(MINUTE_0 + 60_000), count: 1 },
    ])
    const samples = await database.pool.query<{ slot: number; body: Buffer; headers: Buffer }>(
      `select slot, body, headers from rejected_samples where tenant = 'default' order by slot`,
    )
    expect(samples.rows.map(({ slot }) => slot)).toEqual([20, 21, 22, 23])
    expect(samples.rows[0]!.body.toString()).toBe('newer')
    expect(JSON.parse(samples.rows[0]!.headers.toString())).toEqual([['Stripe-Signature', 't=1\u0000\ud800']])
  })

  it('writes many endpoints at once, from two nodes that meet in the same rows', async () => {
    const nodes = [node(), node()]
    for (const [turn, each] of nodes.entries())
      for (let i = 0; i < 1200; i++) {
        const endpoint = { tenant: 'many', id: `ep_${turn === 0 ? i : 1199 - i}` } as Endpoint
        each.count(rejection({ endpoint }))
      }
    await Promise.all(nodes.map((each) => each.stop()))
    const { rows } = await database.pool.query(
      `select count(*)::int as endpoints, sum(count)::int as refused from rejected_counts where tenant = 'many'`,
    )
    expect(rows).toEqual([{ endpoints: 1200, refused: 2400 }])
  })
})
