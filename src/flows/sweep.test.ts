import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { openDatabase, transaction, type Database, type Queryable } from '../db/index.ts'
import type { RunRef } from '../dispatch/index.ts'
import { createFakeClock, type FakeClock } from '../testing/index.ts'
import { createLaneHandOver, type LaneHandOver } from './lanes.ts'
import { Sweep, sweepDue, sweepPage } from './sweep.ts'

let testDatabase: TestDatabase
let database: Database
let clock: FakeClock
let woken: string[]
let lanes: LaneHandOver
const wake = (_: Queryable, runs: readonly RunRef[]): Promise<void> => {
  woken.push(...runs.map((run) => run.id))
  return Promise.resolve()
}

beforeEach(async () => {
  testDatabase = await createTestDatabase()
  database = openDatabase({ url: testDatabase.url, max: 4 })
  clock = createFakeClock()
  woken = []
  lanes = createLaneHandOver({ database, wake })
})
afterEach(async () => {
  await database.close()
  await testDatabase.drop()
})

/** Lanes `l0`, `l1` … with so many runs each, `run_<lane>_<place>`; the first is in the given state, the rest are queued and due. */
async function fill(howMany: number, each: number, first: string): Promise<void> {
  await database.pool.query(
    `insert into runs (tenant, id, flow, flow_version, event_id, root_run_id, lane_key, lane_seq, lane_open, state, due_at)
     select 'default', 'run_' || l || '_' || n, 'bill', 1, 'evt', 'run', 'l' || l, n, true,
       case when n = 0 then $3 else 'queued' end, case when n > 0 or $3 = 'queued' then $4::timestamptz end
     from generate_series(0, $1::int - 1) l, generate_series(0, $2::int - 1) n`,
    [howMany, each, first, new Date(clock.now() - 1000)],
  )
  await database.pool.query('analyze runs')
}

/** The first of the lane ends, and its node says nothing to anybody. */
const end = (lane: number) =>
  database.pool.query(`update runs set state = 'succeeded', lane_open = false where id = $1`, [
    `run_${lane}_0`,
  ])

const asleep = async (): Promise<number> =>
  (await database.pool.query(`select 1 from runs where state = 'queued' and due_at is null`)).rowCount!

/** Rows of runs that the work reads. */
async function rowsRead(work: (client: Queryable) => Promise<unknown>): Promise<number> {
  return transaction(database.pool, async (client) => {
    const readSoFar = async (): Promise<number> => {
      const { rows } = await client.query<{ read: string }>(
        `select seq_tup_read + coalesce(idx_tup_fetch, 0) as read from pg_stat_xact_user_tables where relname = 'runs'`,
      )
      return Number(rows[0]!.read)
    }
    const before = await readSoFar()
    await work(client)
    return (await readSoFar()) - before
  })
}

describe('the sweep', () => {
  it('wakes the first of each lane that is due, and no other', async () => {
    await fill(3, 4, 'queued')
    expect(await sweepDue({ database, clock, wake })).toBe(3)
    expect(woken.toSorted()).toEqual(['run_0_0', 'run_1_0', 'run_2_0'])
  })

  it('looks at who waits behind another once, and then at nobody', async () => {
    await fill(50, 60, 'parked')
    const before = await rowsRead((client) => sweepPage(client, clock.now()))
    await sweepDue({ database, clock, wake })
    expect(await asleep()).toBe(50 * 59)
    await database.pool.query('vacuum analyze runs')
    const after = await rowsRead((client) => sweepPage(client, clock.now() + 60_000))
    expect(before).toBeGreaterThan(900)
    expect(after).toBeLessThanOrEqual(1)
    expect(woken).toEqual([])
  })

  it('control: with a time again, they are read again', async () => {
    await fill(50, 60, 'parked')
    await sweepDue({ database, clock, wake })
    await database.pool.query(`update runs set due_at = $1 where due_at is null and state = 'queued'`, [
      new Date(clock.now()),
    ])
    expect(await rowsRead((client) => sweepPage(client, clock.now()))).toBeGreaterThan(900)
  })

  it('goes on page by page where more are due than one holds', async () => {
    await fill(1, 2500, 'parked')
    await sweepDue({ database, clock, wake })
    expect(await asleep()).toBe(2499)
  })
})

describe('a run that sleeps behind another', () => {
  it('is woken by who frees the lane, and has a time again', async () => {
    await fill(2, 3, 'parked')
    await sweepDue({ database, clock, wake })
    await end(1)
    await lanes.freed({ tenant: 'default', flow: 'bill', laneKey: 'l1' })
    expect(woken).toEqual(['run_1_1'])
    expect(await asleep()).toBe(3)
  })

  it('is woken though its lane was freed while it was put to sleep', async () => {
    await fill(1, 3, 'parked')
    // The lane is freed, and handed over, after the page was read and before that is committed.
    const between: Database = {
      ...database,
      pool: new Proxy(database.pool, {
        get: (pool, name) => (name === 'connect' ? connectAndFree : (Reflect.get(pool, name) as unknown)),
      }),
    }
    let freed = false
    async function connectAndFree() {
      const client = await database.pool.connect()
      const query = client.query.bind(client) as (...given: unknown[]) => Promise<unknown>
      client.query = (async (...given: unknown[]) => {
        if (given[0] === 'commit' && !freed) {
          freed = true
          await end(0)
          await lanes.freed({ tenant: 'default', flow: 'bill', laneKey: 'l0' })
          // The wake-up is taken in vain: the run is locked by the sweep.
          woken = []
        }
        return query(...given)
      }) as typeof client.query
      return client
    }
    await sweepDue({ database: between, clock, wake })
    expect(freed).toBe(true)
    expect(woken).toEqual(['run_0_1'])
  })

  it('is found after a hand-over was lost, and not before', async () => {
    await fill(3, 3, 'parked')
    const sweep = new Sweep({ database, clock, wake })
    await sweep.pass()
    await end(2)
    for (let i = 0; i < 20; i++) {
      await clock.advance(1000)
      await sweep.pass()
    }
    expect(woken).toEqual([])
    sweep.handOverLost()
    await sweep.pass()
    expect(woken).toEqual(['run_2_1'])
  })

  it('is found although the look that follows its being put to sleep failed', async () => {
    await fill(1, 3, 'parked')
    let fails = true
    const sweep = new Sweep({
      database,
      clock,
      wake: (client, runs) => {
        if (runs.length === 0 || !fails) return wake(client, runs)
        fails = false
        return Promise.reject(new Error('The database went away.'))
      },
    })
    await sweep.pass()
    expect(await asleep()).toBe(2)
    // One more is put to sleep, and the lane is free when it is looked at again.
    await database.pool.query(`update runs set due_at = $1 where id = 'run_0_2'`, [new Date(clock.now())])
    await end(0)
    await expect(sweep.pass()).rejects.toThrow('went away')
    expect(woken).toEqual([])
    await sweep.pass()
    expect(woken).toEqual(['run_0_1'])
  })

  it('is found by a node that starts, and by any node in time', async () => {
    await fill(2, 3, 'parked')
    const sweep = new Sweep({ database, clock, wake })
    await sweep.pass()
    await end(0)
    await new Sweep({ database, clock, wake }).pass()
    expect(woken).toEqual(['run_0_1'])
    await end(1)
    await clock.advance(10 * 60_000)
    await sweep.pass()
    expect(woken).toContain('run_1_1')
  })

  it('is found in whichever of many lanes it is', async () => {
    await fill(2300, 2, 'parked')
    const sweep = new Sweep({ database, clock, wake })
    await sweep.pass()
    expect(await asleep()).toBe(2300)
    for (const lane of [0, 999, 1000, 1001, 2299]) await end(lane)
    sweep.handOverLost()
    await sweep.pass()
    expect(woken.toSorted()).toEqual(['run_0_1', 'run_1000_1', 'run_1001_1', 'run_2299_1', 'run_999_1'])
  })
})
