import { afterEach, describe, expect, it } from 'vitest'
import {
  setOutageStage,
  verdictOf,
  type OutageStage,
  type OutageStageOptions,
  type Sale,
  type SeenRequest,
} from '../../bench/parts/outageStage.ts'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { HOUR, MINUTE, pause, SECOND, systemClock } from '../base/index.ts'
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

/** Most requests that the provider saw in one second. */
function mostInASecond(seen: readonly SeenRequest[]): number {
  const times = seen.map(({ at }) => at)
  return Math.max(0, ...times.map((time) => times.filter((at) => at >= time && at < time + SECOND).length))
}

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
    await until(async () => (await parked()) === 60)
    const claimsOfTheParked = `select sum(fence) as claims from runs where state = 'parked'`
    const claimed = await rowsOf(claimsOfTheParked)
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
    expect(await rowsOf(claimsOfTheParked)).toEqual(claimed)

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
  })

  it('is known to every node: the second one calls nobody', async () => {
    await set()
    expect(await callsOfTheSecondNode(true)).toEqual([])
  })

  it('control: a node that does not share its breakers goes on calling', async () => {
    await set()
    expect((await callsOfTheSecondNode(false)).length).toBeGreaterThan(0)
  })

  /** What the provider is asked by a node that has seen no failure itself, while another has. */
  async function callsOfTheSecondNode(shares: boolean): Promise<readonly string[]> {
    stage.provider.down = () => true
    const first = await stage.startNode({ probes: false })
    await stage.sow('sold', salesOf(30, 1))
    await until(async () => (await parked()) > 0 && (await isDown()))
    await until(async () => (await parked()) >= 18)
    await first.stop()
    const before = stage.provider.seen.length
    await stage.startNode({ shares, probes: false })
    const later = salesOf(60, 1).slice(30)
    await stage.sow('sold', later)
    await until(async () => Object.values(await stage.counts()).reduce((sum, one) => sum + one) === 60)
    for (let i = 0; i < 10; i++) await stage.step(clock, SECOND)
    const asked = new Set(later.map(({ customer }) => customer))
    return stage.provider.seen
      .slice(before)
      .flatMap((one) => (asked.has(one.customer ?? '') ? [one.path] : []))
  }

  it('of one group of operations leaves the others alone', async () => {
    await set()
    await stage.startNode()
    stage.provider.down = (path) => path === '/invoices'
    await stage.sow('sold', salesOf(20, 1))
    await until(isDown)
    expect(await rowsOf('select op_group, state from breakers')).toMatchObject([{ op_group: 'invoices' }])
    await stage.sow('returned', salesOf(20, 1))
    await stage.sow('noted', salesOf(20, 1))
    await until(async () => (await done()) === 40)
    expect(stage.provider.seen.filter(({ path, status }) => path !== '/invoices' && status !== 200)).toEqual(
      [],
    )
    expect(await rowsOf(`select flow from runs where state = 'succeeded' and flow = 'bill'`)).toEqual([])

    stage.provider.down = () => false
    await until(async () => (await done()) === 60 && !(await isDown()))
    expect(await rowsOf('select op_group from outages')).toMatchObject([{ op_group: 'invoices' }])
  })

  it('of most groups is one of the whole connection, with one record', async () => {
    await set()
    await stage.startNode({ probes: false })
    stage.provider.down = () => true
    await stage.sow('sold', salesOf(15, 1))
    await stage.sow('returned', salesOf(15, 1))
    await until(async () => (await rowsOf(`select 1 from breakers where op_group = ''`)).length === 1)
    expect(await rowsOf('select op_group, ended_at from outages where absorbed_by is null')).toEqual([
      { op_group: '', ended_at: null },
    ])
    const before = stage.provider.seen.length
    await stage.sow('noted', salesOf(5, 1))
    for (let i = 0; i < 5; i++) await stage.step(clock, SECOND)
    expect(stage.provider.seen.slice(before).filter(({ path }) => path === '/notes')).toEqual([])
  })

  it('is known after a restart', async () => {
    await set()
    const node = await stage.startNode({ probes: false })
    stage.provider.down = () => true
    await stage.sow('sold', salesOf(12, 1))
    await until(isDown)
    await node.stop()
    const before = stage.provider.seen.length
    await stage.startNode({ probes: false })
    await stage.sow('sold', salesOf(20, 1).slice(12))
    await until(async () => (await parked()) >= 8)
    expect(stage.provider.seen.length).toBe(before)
  })

  it('is probed by one node at a time', async () => {
    await set()
    await Promise.all([stage.startNode(), stage.startNode(), stage.startNode()])
    stage.provider.down = () => true
    await stage.sow('sold', salesOf(20, 1))
    await until(isDown)
    for (let i = 0; i < 300; i++) await stage.step(clock, SECOND)
    const [outage] = await rowsOf<{ probes: string }>('select probes from outages')
    const asked = stage.provider.seen.filter(({ path }) => path === '/status')
    expect(asked.length).toBe(Number(outage!.probes))
    // 5, 10, 20, 40, 80, 120 s: not more than these in five minutes.
    expect(asked.length).toBeLessThanOrEqual(7)
  })

  it('ends with a ramp: one call, then more, and never more than the budget allows to both nodes', async () => {
    await set({ limits: perSecond(20) })
    await Promise.all([stage.startNode(), stage.startNode()])
    stage.provider.down = () => true
    await stage.sow('sold', salesOf(12, 1))
    await until(isDown)
    await stage.sow('sold', salesOf(120, 1).slice(12))
    await until(async () => (await parked()) >= 108)
    const before = stage.provider.seen.length
    stage.provider.down = () => false
    await until(async () => (await done()) === 120)
    const calls = stage.provider.seen.slice(before).filter(({ path }) => path === '/invoices')
    const inFirst = calls.filter(({ at }) => at < calls[0]!.at + SECOND).length
    expect(inFirst).toBeLessThanOrEqual(4)
    expect(mostInASecond(calls)).toBeLessThanOrEqual(20)
  })

  it('goes at the pace that the provider allows by now, where that is not what was declared', async () => {
    const took = { declared: 0, corrected: 0 }
    for (const which of ['declared', 'corrected'] as const) {
      if (which === 'corrected') {
        await stage.stop()
        await database.drop()
      }
      await set({ limits: perSecond(20) })
      if (which === 'corrected')
        await stage.database.pool.query(
          `insert into budgets (tenant, connection_id, limit_name, state) values ('default', 'con_books', 'second', '{"stated":5}')`,
        )
      await stage.startNode()
      stage.provider.down = () => true
      await stage.sow('sold', salesOf(12, 1))
      await until(isDown)
      await stage.sow('sold', salesOf(90, 1).slice(12))
      await until(async () => (await parked()) >= 78)
      stage.provider.down = () => false
      await until(async () => (await rowsOf(`select 1 from breakers where state = 'half_open'`)).length === 1)
      took[which] = await until(async () => (await done()) === 90)
    }
    expect(took.declared).toBeLessThan(13 * SECOND)
    expect(took.corrected).toBeGreaterThan(15 * SECOND)
  })

  it('control: without the ramp those who waited come all at once', async () => {
    await set()
    await stage.startNode({ probes: false })
    stage.provider.down = () => true
    await stage.sow('sold', salesOf(12, 1))
    await until(isDown)
    await stage.sow('sold', salesOf(120, 1).slice(12))
    await until(async () => (await parked()) >= 108)
    const before = stage.provider.seen.length
    stage.provider.down = () => false
    await stage.database.pool.query('delete from breakers')
    await stage.step(clock, 2 * SECOND)
    await stage.database.pool.query(
      `update runs set state = 'queued', due_at = '2000-01-01' where state in ('parked', 'waiting')`,
    )
    await until(async () => (await done()) >= 105)
    expect(mostInASecond(stage.provider.seen.slice(before))).toBeGreaterThan(50)
  })

  it('that comes back and fails again is asked rarely, by single calls', async () => {
    await set()
    await stage.startNode()
    stage.provider.down = (path) => path === '/invoices'
    await stage.sow('sold', salesOf(40, 1))
    await until(async () => (await isDown()) && (await parked()) >= 25)
    const before = stage.provider.seen.length
    // The check answers all the time, and the group that is away does not.
    for (let i = 0; i < 120; i++) await stage.step(clock, SECOND)
    const tried = stage.provider.seen.slice(before).filter(({ path }) => path === '/invoices')
    expect(tried.length).toBeGreaterThan(0)
    expect(tried.length).toBeLessThanOrEqual(6)
    // All that were let go are on its record, whenever it was.
    const [one] = await rowsOf<{ released: string }>(
      'select o.released + b.released as released from outages o join breakers b on b.outage_id = o.id',
    )
    expect(Number(one!.released)).toBe(tried.length)
  })

  it('lets those who come meanwhile go behind those who waited', async () => {
    await set({ limits: perSecond(5), lanes: false })
    await stage.startNode()
    stage.provider.down = () => true
    await stage.sow('sold', salesOf(40, 1))
    await until(async () => (await parked()) >= 25 && (await isDown()))
    stage.provider.down = () => false
    await until(async () => (await rowsOf(`select 1 from breakers where state = 'half_open'`)).length === 1)
    const before = stage.provider.seen.length
    const late = Array.from({ length: 10 }, (_, i) => ({ customer: `late${i}`, n: 0 }))
    await stage.sow('sold', late)
    await until(async () => (await done()) === 50)
    const order = stage.provider.seen
      .slice(before)
      .flatMap(({ customer }) => (customer === undefined ? [] : [customer]))
    const firstLate = order.findIndex((customer) => customer.startsWith('late'))
    // Not before half of those who waited, though each may go at once: the budget alone would have let them in.
    expect(firstLate).toBeGreaterThanOrEqual(20)
  })
})

describe('a connection that is isolated by hand', () => {
  it('is held back on every node until it is released, and then comes back in order', async () => {
    await set()
    await Promise.all([stage.startNode(), stage.startNode()])
    const acting = { tenant: 'default', actor: 'operator:ada' } as const
    await stage.operator.isolateConnection('books', { reason: 'the books are closed' }, acting)
    // Within a second every node knows it.
    await stage.step(clock, 2 * SECOND)
    const sales = salesOf(10, 3)
    await stage.sow('sold', sales)
    await until(async () => (await parked()) === 10)
    for (let i = 0; i < 30; i++) await stage.step(clock, MINUTE)
    expect(stage.provider.seen).toEqual([])
    expect(await rowsOf('select cause, reason, opened_by from outages')).toEqual([
      { cause: 'isolated', reason: 'the books are closed', opened_by: 'operator:ada' },
    ])
    await stage.operator.releaseConnection('books', {}, acting)
    await until(async () => (await done()) === 30 && !(await isDown()))
    expect(verdictOf(sales, stage.provider.seen)).toEqual({ lost: 0, twice: 0, disordered: 0 })
    expect(
      await rowsOf(`select actor, action from ledger where action like 'breaker.%' order by id`),
    ).toEqual([
      { actor: 'operator:ada', action: 'breaker.isolated' },
      { actor: 'operator:ada', action: 'breaker.released' },
      { actor: 'system', action: 'breaker.closed' },
    ])
  })

  it('is not probed either, though a group of it was away before', async () => {
    await set()
    await stage.startNode()
    const acting = { tenant: 'default', actor: 'operator:ada' } as const
    stage.provider.down = (path) => path === '/invoices'
    await stage.sow('sold', salesOf(20, 1))
    await until(isDown)
    await stage.operator.isolateConnection('books', {}, acting)
    await stage.step(clock, 2 * SECOND)
    const before = stage.provider.seen.length
    for (let i = 0; i < 10; i++) await stage.step(clock, MINUTE)
    expect(stage.provider.seen.slice(before)).toEqual([])
    stage.provider.down = () => false
    await stage.operator.releaseConnection('books', {}, acting)
    await until(async () => (await done()) === 20 && !(await isDown()))
  })

  it('may be one group of its operations; one that nobody isolated cannot be released', async () => {
    await set()
    await stage.startNode()
    const acting = { tenant: 'default', actor: 'operator:ada' } as const
    await stage.operator.isolateConnection('books', { group: 'invoices' }, acting)
    await stage.step(clock, 2 * SECOND)
    await stage.sow('sold', salesOf(3, 1))
    await stage.sow('returned', salesOf(3, 1))
    await until(async () => (await done()) === 3 && (await parked()) === 3)
    await expect(stage.operator.releaseConnection('books', {}, acting)).rejects.toThrow(/nothing to release/)
    await expect(stage.operator.isolateConnection('books', { group: 'nonsense' }, acting)).rejects.toThrow(
      /Its groups are: invoices, refunds, notes, status/,
    )
    await stage.operator.releaseConnection('books', { group: 'invoices' }, acting)
    await until(async () => (await done()) === 6)
  })
})

describe('a run that began to wait while its breaker closed', () => {
  it.each(['parked', 'undoing'])('does not wait for ever: %s', async (state) => {
    await set()
    await stage.startNode()
    const acting = { tenant: 'default', actor: 'operator:ada' } as const
    await stage.operator.isolateConnection('books', {}, acting)
    await stage.step(clock, 2 * SECOND)
    await stage.sow('sold', salesOf(1, 1))
    await until(async () => (await parked()) === 1)
    // As two nodes may come to it: one still knew the breaker when the other had let go the last that waited.
    const undoTo = state === 'undoing' ? 'cancelled' : null
    await stage.database.pool.query('update runs set state = $1, undo_to = $2, due_at = null', [
      state,
      undoTo,
    ])
    await stage.database.pool.query('delete from breakers')
    await until(async () => (await stage.counts())[undoTo ?? 'succeeded'] === 1)
  })
})

describe('on the machine’s own clock', () => {
  it('a provider that is away for seconds while events keep coming loses, doubles and disorders nothing', async () => {
    database = await createTestDatabase()
    stage = await setOutageStage({
      databaseUrl: database.url,
      clock: systemClock,
      limits: perSecond(200),
      policy: { openMs: 300, openCapMs: 600 },
    })
    await Promise.all([stage.startNode(), stage.startNode()])
    const sales: Sale[] = []
    const sow = async (rounds: number): Promise<void> => {
      for (let round = 0; round < rounds; round++) {
        const now = Array.from({ length: 20 }, (_, i) => ({ customer: `c${i}`, n: sales.length / 20 }))
        sales.push(...now)
        await stage.sow('sold', now)
      }
    }
    await sow(2)
    stage.provider.down = () => true
    await sow(5)
    while (!(await isDown())) await pause(systemClock, 20, { keepAlive: true })
    await sow(5)
    while ((await rowsOf('select 1 from outages where probes >= 2')).length === 0)
      await pause(systemClock, 20, { keepAlive: true })
    stage.provider.down = () => false
    await sow(2)
    while ((await done()) < sales.length) await pause(systemClock, 50, { keepAlive: true })
    expect(verdictOf(sales, stage.provider.seen)).toEqual({ lost: 0, twice: 0, disordered: 0 })
  })
})
