import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../tests/support/database.ts'
import { DAY, HOUR, SECOND, seededRandom, turn } from '../../base/index.ts'
import { openDatabase, transaction, type Database, type Queryable } from '../../db/index.ts'
import type { LimitDefinition, Priority } from '../../define/index.ts'
import { useOf } from '../../resilience/index.ts'
import { createFakeClock, type FakeClock } from '../../testing/index.ts'
import { callOf, connectionTo, connectorOf, createThing } from '../calls.fixture.ts'
import type { CallConnection } from '../request.ts'
import { Budgets, type BudgetLeave } from './budgets.ts'
import { recordSpending } from './record.ts'
import { reportBudgets } from './report.ts'
import { budgetOf, createTableAuthority } from './table.ts'

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

const START = 1_795_338_000_000
let clock: FakeClock
const nodes: Budgets[] = []
beforeEach(async () => {
  clock = createFakeClock(START)
  await database.pool.query('truncate budgets, budget_spending, budget_peaks')
})
afterEach(async () => {
  // A node that was overtaken waits a moment before it asks again, and the test's time must go on for that.
  const end = { reached: false }
  const stopping = Promise.all(nodes.splice(0).map((node) => node.stop())).finally(() => {
    end.reached = true
  })
  while (!end.reached) await clock.advance(20)
  await stopping
})

const limit = (over: Partial<LimitDefinition> = {}): LimitDefinition => ({
  name: 'hour',
  allowed: 100,
  windowMs: HOUR,
  source: 'test',
  ...over,
})

/** Statements under way: the test's time stands still meanwhile. */
const statements = { underWay: 0 }

function underWay<Answer>(work: Promise<Answer>): Promise<Answer> {
  statements.underWay++
  return work.finally(() => {
    statements.underWay--
  })
}

/** The database, with its clock set to the test's. */
const onTestTime = (client: Queryable): Queryable => ({
  query(statement, values) {
    if (typeof statement === 'string') return underWay(client.query(statement, values))
    const text = statement.text.replace(
      'extract(epoch from clock_timestamp())::float8 * 1000',
      `${clock.now()}::float8`,
    )
    return underWay(client.query({ text, values: statement.values ?? [] }))
  },
})

const connect = (limits: readonly LimitDefinition[], id = 'con_1', tenant = 'default'): CallConnection => ({
  ...connectionTo('http://127.0.0.1:1', connectorOf(createThing('natural'), { limits }), id),
  tenant,
})

/** A node with state of its own, and the shared table. */
function startNode(name: string, over: { client?: Queryable; patienceMs?: number } = {}): Budgets {
  const node = new Budgets({
    clock,
    authority: createTableAuthority({
      client: onTestTime(over.client ?? database.pool),
      node: name,
      clock,
      random: seededRandom(name),
      within: (work) => underWay(transaction(database.pool, (inside) => work(onTestTime(inside)))),
    }),
    patienceMs: over.patienceMs ?? 50,
    record: (spent, peaks) => recordSpending(database.pool, spent, peaks),
  })
  node.start()
  nodes.push(node)
  return node
}

interface Asked {
  readonly flow?: string
  readonly priority?: Priority
  readonly promisedAt?: number
}

/** Asks for leave and lets the answer come: statements take real time, waits take the test's. */
async function leaveOf(node: Budgets, connection: CallConnection, asked: Asked = {}): Promise<BudgetLeave> {
  const come: { leave?: BudgetLeave } = {}
  const call = callOf(connection, createThing('natural'), { flow: 'f', priority: 'normal', ...asked })
  const leave = Promise.resolve(node.admit(call)).then((leave) => (come.leave = leave))
  while (come.leave === undefined) {
    await Promise.race([leave, turn()])
    if (come.leave === undefined && statements.underWay === 0) await clock.advance(10)
  }
  return come.leave
}

/** Time passes, and stands still while statements are under way: whoever asks is answered, and asks again. */
async function passes(ms: number): Promise<void> {
  for (let past = 0; past <= ms; past += 10) {
    while (statements.underWay > 0) await turn()
    await clock.advance(10)
  }
  while (statements.underWay > 0) await turn()
}

async function count(
  node: Budgets,
  connection: CallConnection,
  times: number,
  asked?: Asked,
): Promise<number> {
  let admitted = 0
  for (let i = 0; i < times; i++) if ((await leaveOf(node, connection, asked)).as === 'admitted') admitted++
  return admitted
}

describe('budgets that nodes share', () => {
  it('are one for all nodes, and one for each connection and tenant', async () => {
    const connection = connect([limit({ allowed: 30 })])
    const [a, b] = [startNode('a'), startNode('b')]
    expect(await count(a, connection, 20)).toBe(20)
    expect(await count(b, connection, 20)).toBeLessThanOrEqual(10)
    expect(await count(b, connect([limit({ allowed: 30 })], 'con_2'), 20)).toBe(20)
    expect(await count(b, connect([limit({ allowed: 30 })], 'con_1', 'other'), 20)).toBe(20)
  })

  it('and this check notices nodes that count for themselves', async () => {
    const connection = connect([limit({ allowed: 30 })])
    const alone = (): Budgets => {
      const node = startNode('alone', { client: database.pool })
      return node
    }
    const a = alone()
    expect(await count(a, connection, 20)).toBe(20)
    await database.pool.query('truncate budgets')
    expect(await count(alone(), connection, 20)).toBe(20)
  })

  it('cost a call no statement while a node holds some of them', async () => {
    let asked = 0
    const counting: Queryable = {
      query: (statement, values) => {
        asked++
        return database.pool.query(statement, values)
      },
    }
    const connection = connect([
      limit({ allowed: 100_000 }),
      limit({ name: 'second', windowMs: SECOND, allowed: 10_000 }),
    ])
    const node = startNode('a', { client: counting })
    for (let i = 0; i < 5; i++) await leaveOf(node, connection)
    const before = asked
    const leaves = []
    for (let i = 0; i < 40; i++) leaves.push(node.admit(callOf(connection, createThing('natural'), {})))
    expect(
      leaves.filter((leave) => !(leave instanceof Promise) && leave.as === 'admitted').length,
    ).toBeGreaterThan(0)
    expect(asked - before).toBeLessThanOrEqual(2)
  })

  it('come back from a node that stops, and do not from one that is dead before their window is over', async () => {
    const definition = limit({ allowed: 60 })
    const connection = connect([definition])
    const used = async (): Promise<number> => {
      const { rows } = await database.pool.query<{ state: string }>('select state from budgets')
      return useOf(budgetOf(rows[0]!.state), definition, clock.now()).used
    }
    const a = startNode('a')
    expect(await count(a, connection, 10)).toBe(10)
    expect(await used()).toBeGreaterThanOrEqual(10)
    await a.stop()
    expect(await used()).toBe(10)

    startNode('dead') // Its lease is taken, and nobody hears of it again.
    const dead = nodes.pop()!
    expect(await count(dead, connection, 10)).toBe(10)
    const held = await used()
    expect(held).toBeGreaterThanOrEqual(20)
    const b = startNode('b')
    expect(await count(b, connection, 60)).toBe(60 - held)
    await clock.advance(1.02 * HOUR)
    expect(await count(b, connection, 60)).toBeGreaterThan(40)
    await dead.stop()
  })

  it('are not used by a node that stood still while their time passed', async () => {
    const connection = connect([limit({ name: 'second', allowed: 50, windowMs: SECOND })])
    const zombie = startNode('zombie')
    expect((await leaveOf(zombie, connection)).as).toBe('admitted')
    // Nothing of what it held is usable now, and it must ask before it sends.
    await clock.advance(0)
    clock.set(START + 30 * SECOND)
    const b = startNode('b')
    expect(await count(b, connection, 20, { priority: 'interactive' })).toBe(20)
  })

  it('last a node for its lease while the database is away, and then its calls are deferred', async () => {
    let away = false
    const client: Queryable = {
      query: (statement, values) =>
        away ? Promise.reject(new Error('away')) : database.pool.query(statement, values),
    }
    const connection = connect([limit({ allowed: 1_000_000 })])
    const node = startNode('a', { client })
    for (let i = 0; i < 20; i++) await leaveOf(node, connection)
    away = true
    const leaves: BudgetLeave[] = []
    for (let i = 0; i < 60; i++) leaves.push(await leaveOf(node, connection))
    expect(leaves[0]!.as).toBe('admitted')
    const last = leaves.at(-1)!
    expect(last.as).toBe('deferred')
    expect(last.as === 'deferred' && last.until).toBeGreaterThan(clock.now())
    away = false
    await clock.advance(2 * SECOND)
    expect((await leaveOf(node, connection)).as).toBe('admitted')
  })

  it('give those who wait different times, at the pace that is allowed', async () => {
    const connection = connect([limit({ allowed: 10 })])
    const node = startNode('a')
    await count(node, connection, 20)
    const times: number[] = []
    for (let i = 0; i < 10; i++) {
      const leave = await leaveOf(node, connection, { priority: 'bulk' })
      times.push(leave.as === 'deferred' ? leave.until : 0)
    }
    const gaps = times.slice(1).map((time, i) => time - times[i]!)
    expect(Math.min(...gaps)).toBeGreaterThan((HOUR / 10) * 0.9)
  })

  it('tell all nodes of a wait that the provider named to one', async () => {
    const connection = connect([limit({ allowed: 1000 })])
    const [a, b] = [startNode('a'), startNode('b')]
    const leave = await leaveOf(a, connection)
    expect((await leaveOf(b, connection)).as).toBe('admitted')
    const answer = { status: 429, headers: {}, json: undefined, text: '' }
    if (leave.as === 'admitted') leave.ticket.learn(answer, clock.now() + 60 * SECOND)
    await passes(3 * SECOND)
    const later = await leaveOf(b, connection)
    expect(later).toMatchObject({ as: 'deferred', code: 'rate_limited' })
    expect(later.as === 'deferred' && later.until - START).toBeGreaterThanOrEqual(60 * SECOND)
  })

  it('are corrected by what the provider says, with one ledger entry for each change', async () => {
    const connection = connect([limit({ name: 'day', allowed: 1000, windowMs: DAY })])
    const node = startNode('a')
    const hear = async (allowed: number): Promise<void> => {
      const leave = await leaveOf(node, connection)
      const headers = {
        ratelimit: `"day";r=${allowed - 10}`,
        'ratelimit-policy': `"day";q=${allowed};w=86400`,
      }
      expect(leave.as).toBe('admitted')
      if (leave.as === 'admitted')
        leave.ticket.learn({ status: 200, headers, json: undefined, text: '' }, undefined)
      for (let i = 0; i < 30 || statements.underWay > 0; i++) {
        await turn()
        if (statements.underWay === 0) await clock.advance(20)
      }
    }
    for (const allowed of [40, 40, 40, 1000]) await hear(allowed)
    await node.stop()
    const { rows } = await database.pool.query<{ outcome: string }>(
      `select outcome from ledger where action = 'limit.changed' order by id`,
    )
    expect(rows.map(({ outcome }) => outcome)).toEqual(['stated', 'as_declared'])
  })

  it('are reported with who spends them', async () => {
    const definition = limit({ name: 'day', allowed: 1000, windowMs: DAY })
    const connection = connect([definition])
    const node = startNode('a')
    expect(await count(node, connection, 6, { flow: 'invoices' })).toBe(6)
    expect(await count(node, connection, 2, { flow: 'notes', priority: 'interactive' })).toBe(2)
    await node.stop()
    const connections = [{ id: 'con_1', name: 'acme', connector: connection.connector }]
    const [report] = await reportBudgets(database.pool, 'default', connections, clock.now())
    expect(report).toMatchObject({
      used: 8,
      allowed: 1000,
      foreign: 0,
      spentBy: [
        { flow: 'invoices', calls: 6, points: 6, refused: 0 },
        { flow: 'notes', calls: 2, points: 2, refused: 0 },
      ],
    })
    expect(await reportBudgets(database.pool, 'other', connections, clock.now())).toMatchObject([
      { used: 0, spentBy: [] },
    ])
  })
})
