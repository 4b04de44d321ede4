import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../tests/support/database.ts'
import { systemClock, systemRandom } from '../../base/index.ts'
import { openDatabase, type Database } from '../../db/index.ts'
import { ensurePartitions } from '../../ledger/index.ts'
import type { AlertPayload } from '../incident.ts'
import { insertAlerts } from '../store.ts'
import { sendDue } from '../watch.ts'
import type { Channel } from './channel.ts'

let testDatabase: TestDatabase
let database: Database
beforeAll(async () => {
  testDatabase = await createTestDatabase()
  database = openDatabase({ url: testDatabase.url, max: 3 })
  await ensurePartitions(database.pool, systemClock.now())
})
afterAll(async () => {
  await database.close()
  await testDatabase.drop()
})

function payload(change: AlertPayload['change']): AlertPayload {
  return {
    incident: 'inc_1',
    kind: 'dead_letters',
    change,
    title: 'Runs of a flow gave up',
    what: 'One gave up.',
    since: '2026-11-22T00:00:00.000Z',
    holdsUp: 'It.',
    todo: 'Look.',
    connection: null,
    flow: 'a-flow',
    at: '2026-11-22T00:00:00.000Z',
    resolution: change === 'resolved' ? 'It is over.' : null,
  }
}

describe('alerts of one incident', () => {
  it('tell of its beginning before its end, also where the end was decided by a node whose clock is behind', async () => {
    const told: string[] = []
    const channel: Channel = {
      name: 'email',
      tell: ({ payload: { change } }) => Promise.resolve(told.push(change)).then(() => ({ as: 'told' })),
    }
    const now = systemClock.now()
    // Ids begin with the time of the node that made them.
    await insertAlerts(database.pool, 'default', payload('resolved'), ['email'], now - 60_000)
    await insertAlerts(database.pool, 'default', payload('reminded'), ['email'], now - 30_000)
    await insertAlerts(database.pool, 'default', payload('opened'), ['email'], now)
    await sendDue({
      database,
      clock: systemClock,
      random: systemRandom,
      tenant: 'default',
      channels: [channel],
    })
    expect(told).toEqual(['opened', 'reminded', 'resolved'])
  })
})
