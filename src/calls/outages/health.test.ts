import { afterEach, beforeEach, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../tests/support/database.ts'
import { pause, SECOND, systemClock } from '../../base/index.ts'
import { openDatabase, type Database } from '../../db/index.ts'
import { ensurePartitions, writeEntries } from '../../ledger/index.ts'
import { BREAKER_POLICY } from '../../resilience/index.ts'
import { createFakeClock, type FakeClock } from '../../testing/index.ts'
import { Breakers, type SeenCall } from '../breakers.ts'
import { callOf, connectionTo, connectorOf, createThing } from '../calls.fixture.ts'
import { OutageBoard } from './board.ts'

let testDatabase: TestDatabase
let database: Database
let clock: FakeClock
let boards: OutageBoard[]
const faults: string[] = []

beforeEach(async () => {
  testDatabase = await createTestDatabase()
  database = openDatabase({ url: testDatabase.url, max: 6 })
  clock = createFakeClock()
  boards = []
  await ensurePartitions(database.pool, clock.now())
})
afterEach(async () => {
  for (const board of boards) await board.stop()
  await database.close()
  await testDatabase.drop()
  if (faults.length > 0) throw new Error(faults.splice(0).join('; '))
})

/** A build in which nodes tell each other nothing of what they see. */
class SilentBoard extends OutageBoard {
  override shareHealth(): void {}
}

const call = callOf(connectionTo('http://127.0.0.1:1', connectorOf(createThing('key'))), createThing('key'))
const failed = {
  health: 'failure',
  code: 'provider_unavailable',
  words: 'The provider answered 503.',
} as const

async function startNode(Board: typeof OutageBoard) {
  const policy = BREAKER_POLICY
  const onFault = (what: string, error: unknown): void => void faults.push(`${what}: ${String(error)}`)
  const board = new Board({ database, clock, policy, writeEntries, onFault })
  boards.push(board)
  const breakers = new Breakers(clock, policy, 10, board)
  await board.start()
  return (times: number, seen: Partial<SeenCall> = failed): void => {
    for (let i = 0; i < times; i++) {
      const leave = breakers.ask(call)
      if (leave.as === 'permitted')
        leave.pass({
          health: 'success',
          ms: 50,
          boundMs: SECOND,
          timedOut: false,
          code: '',
          words: '',
          ...seen,
        })
    }
  }
}

/** Moves the clock, and lets the statements that come of it end. */
async function passes(seconds: number): Promise<void> {
  for (let i = 0; i < seconds * 5; i++) {
    await clock.advance(SECOND / 5)
    for (let still = 0; still < 4; still++) {
      await pause(systemClock, 1)
      if (database.pool.totalCount > database.pool.idleCount || database.pool.waitingCount > 0) still = 0
    }
  }
}

const rowsOf = async (statement: string) => (await database.pool.query(statement)).rows as unknown[]

it('a provider that fails on four nodes, a little on each, is away for all of them within two seconds', async () => {
  const nodes = await Promise.all([1, 2, 3, 4].map(() => startNode(OutageBoard)))
  for (const see of nodes) see(2)
  await passes(4)
  expect(await rowsOf('select state from breakers')).toEqual([])
  nodes[3]!(2)
  await passes(2)
  expect(await rowsOf('select state, connector from breakers')).toEqual([
    { state: 'open', connector: 'acme' },
  ])
  expect(await rowsOf('select cause, reason from outages')).toEqual([
    { cause: 'failing', reason: 'The provider answered 503.' },
  ])
  await passes(2)
  expect(boards.every((board) => board.all().length === 1)).toBe(true)
  expect(await rowsOf('select node from provider_health')).toEqual([])
})

it('control: where nodes tell each other nothing, it goes on being called', async () => {
  const nodes = await Promise.all([1, 2, 3, 4].map(() => startNode(SilentBoard)))
  for (const see of nodes) see(9)
  await passes(4)
  expect(await rowsOf('select state from breakers')).toEqual([])
})

it('is not away because one of four nodes cannot reach it', async () => {
  const nodes = await Promise.all([1, 2, 3, 4].map(() => startNode(OutageBoard)))
  for (const see of nodes.slice(1)) see(10, {})
  nodes[0]!(1)
  await passes(3)
  nodes[0]!(8)
  await passes(3)
  // 9 of 39.
  expect(await rowsOf('select state from breakers')).toEqual([])
})

it('costs no row while nothing is wrong, and what was wrong is forgotten', async () => {
  const [see] = await Promise.all([startNode(OutageBoard), startNode(OutageBoard)])
  see(30, {})
  await passes(3)
  expect(await rowsOf('select node from provider_health')).toEqual([])
  see(1)
  await passes(2)
  expect(await rowsOf('select node from provider_health')).toHaveLength(1)
  await passes(160)
  expect(await rowsOf('select node from provider_health')).toEqual([])
})
