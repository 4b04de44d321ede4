import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../tests/support/database.ts'
import { SECOND, systemClock, systemRandom } from '../../base/index.ts'
import { openDatabase, type Database } from '../../db/index.ts'
import { ensurePartitions } from '../../ledger/index.ts'
import type { AlertPayload } from '../incident.ts'
import { insertAlerts } from '../store.ts'
import { sendDue } from '../watch.ts'
import { createFakeClock } from '../../testing/index.ts'
import type { Channel } from './channel.ts'
import { claimAlerts, holdOn } from './outbox.ts'

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

describe('an alert under way', () => {
  const NOW = Date.UTC(2026, 10, 23)
  const clock = createFakeClock(NOW)
  const claim = () => claimAlerts(database.pool, 'acme', clock.now())
  let one: Database
  beforeAll(() => {
    one = openDatabase({ url: testDatabase.url, max: 1 })
  })
  afterAll(() => one.close())
  /** Fake time goes on when the database has answered whoever holds on: on one connection, one after the other. */
  const pass = async (seconds: number): Promise<void> => {
    for (let second = 0; second < seconds; second++) {
      await clock.advance(SECOND)
      await one.pool.query('select 1')
    }
  }

  it('stays with a node that lives, however long its attempt takes, and is others’ soon after it died', async () => {
    await insertAlerts(database.pool, 'acme', payload('opened'), ['email'], NOW - SECOND)
    const [alert] = await claim()
    const letGo = holdOn({ database: one, clock }, alert!)
    for (let i = 0; i < 4; i++) {
      await pass(20)
      expect(await claim()).toEqual([])
    }
    await letGo()
    // From here on it is as if the node had died.
    await pass(15)
    expect(await claim()).toMatchObject([{ id: alert!.id, attempt: 2 }])
  })

  it('is not held on to by a node that lost it', async () => {
    await pass(60)
    const [lost] = await claim()
    const letGo = holdOn({ database: one, clock }, { ...lost!, attempt: lost!.attempt - 1 })
    await pass(16)
    await letGo()
    expect(await claim()).toMatchObject([{ id: lost!.id }])
  })
})
