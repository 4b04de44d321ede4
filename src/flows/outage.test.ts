import { afterEach, describe, expect, it } from 'vitest'
import {
  setOutageStage,
  verdictOf,
  type OutageStage,
  type OutageStageOptions,
  type Sale,
} from '../../bench/parts/outageStage.ts'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { HOUR, MINUTE, SECOND } from '../base/index.ts'
import { createFakeClock, type FakeClock } from '../testing/index.ts'

let database: TestDatabase
let stage: OutageStage
let clock: FakeClock

afterEach(async () => {
  await stage.stop()
  if (stage.faults.length > 0) throw new Error([...new Set(stage.faults)].join('; '))
  await database.drop()
})

async function set(over: Partial<OutageStageOptions> = {}): Promise<void> {
  clock = createFakeClock()
  database = await createTestDatabase()
  stage = await setOutageStage({ databaseUrl: database.url, clock, ...over })
}

const perSecond = (allowed: number) => [{ name: 'second', allowed, windowMs: SECOND, source: 'test' }]

/** So many sales to each of so many customers, numbered in order. */
function salesOf(customers: number, each: number): Sale[] {
  return Array.from({ length: customers * each }, (_, i) => ({
    customer: `c${i % customers}`,
    n: Math.floor(i / customers),
  }))
}

/** Moves the clock until it is so; answers by how many milliseconds. */
async function until(isSo: () => Promise<boolean> | boolean, stepMs = 200): Promise<number> {
  for (let steps = 0; steps < 3000; steps++) {
    if (await isSo()) return steps * stepMs
    await stage.step(clock, stepMs)
  }
  throw new Error(`It did not come to that: ${JSON.stringify(await stage.counts())}`)
}

async function rowsOf<Row extends Record<string, unknown>>(statement: string): Promise<Row[]> {
  return (await stage.database.pool.query<Row>(statement)).rows
}

const parked = async (): Promise<number> => (await stage.counts())['parked'] ?? 0
const done = async (): Promise<number> => (await stage.counts())['succeeded'] ?? 0
const isDown = async (): Promise<boolean> => (await rowsOf('select 1 from breakers')).length > 0

describe('an outage', () => {
  it('parks what comes without attempts, asks by probes alone, and then loses, doubles and disorders nothing', async () => {
    await set({ limits: perSecond(20) })
    await stage.startNode()
    const sales = salesOf(60, 5)
    stage.provider.down = () => true
    await stage.sow('sold', sales.slice(0, 200))
    await until(async () => (await isDown()) && (await parked()) >= 50)
    const before = stage.provider.seen.length
    await stage.sow('sold', sales.slice(200))
    for (let at = 0; at < 2 * HOUR; at += MINUTE) await stage.step(clock, MINUTE)

    expect(await stage.counts()).toEqual({ parked: 60, queued: 240 })
    const during = stage.provider.seen.slice(before)
    expect(during.every(({ path }) => path === '/status')).toBe(true)
    const [outage] = await rowsOf<{ probes: string; ended_at: Date | null; op_group: string }>(
      'select * from outages',
    )
    expect(outage).toMatchObject({ op_group: '', cause: 'failing', ended_at: null })
    expect(during.length).toBeLessThanOrEqual(Number(outage!.probes))
    // No more attempts than those that found it out, and no sweep has touched those who wait.
    const [attempts] = await rowsOf<{ count: string }>('select count(*) from attempts')
    expect(Number(attempts!.count)).toBe(stage.provider.seen.filter(({ path }) => path !== '/status').length)
    const [swept] = await rowsOf<{ most: string }>(
      `select max(fence) as most from runs where state = 'parked'`,
    )
    expect(Number(swept!.most)).toBeLessThanOrEqual(3)

    stage.provider.down = () => false
    await until(async () => (await done()) === sales.length)
    expect(verdictOf(sales, stage.provider.seen)).toEqual({ lost: 0, twice: 0, disordered: 0 })
    await until(async () => !(await isDown()))
    expect(await rowsOf(`select 1 from outages where ended_at is null`)).toEqual([])
    expect(
      (
        await rowsOf<{ action: string }>(
          `select action from ledger where action like 'breaker.%' order by id`,
        )
      ).map(({ action }) => action),
    ).toEqual(expect.arrayContaining(['breaker.opened', 'breaker.half_opened', 'breaker.closed']))
  }, 120_000)
})
