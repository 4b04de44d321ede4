import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { HOUR, MINUTE } from '../base/index.ts'
import { openDatabase } from '../db/index.ts'
import { cron, defineFlow, type AnyFlow } from '../define/index.ts'
import { books, polling, ThingList } from './list.fixture.ts'
import {
  clockAt,
  declareDead,
  Killer,
  NINE,
  runsOf,
  startNode,
  type TestNodeOptions,
} from './schedules.fixture.ts'

/** A node is killed at each statement that it makes, before and after the server did it; then another goes on. */

let test: TestDatabase
beforeAll(async () => {
  test = await createTestDatabase()
})
afterAll(() => test.drop())

type When = 'before' | 'after'
/** Some forty deaths, each with two nodes. */
const LONG = 300_000
/** More than a firing or a poll has. */
const MOST_STATEMENTS = 200

interface Death {
  /** Whether it came to that statement. */
  readonly died: boolean
  /** What the flow has run on since, in order. */
  readonly runs: readonly unknown[]
}

/** One death, and one node that goes on. Each has a flow of its own, so that all share a database. */
async function dieAt(
  n: number,
  when: When,
  given: {
    readonly flow: (name: string) => AnyFlow
    readonly options?: Partial<TestNodeOptions>
    readonly advance: number
  },
): Promise<Death> {
  const flow = given.flow(`${when}-${n}`)
  const options = { url: test.url, flows: [flow], ...given.options }
  const killer = new Killer(n, when)
  const clock = clockAt(NINE + MINUTE)
  const victim = await startNode({ ...options, clock, killer })
  await clock.advance(given.advance)
  killer.arm()
  await victim.look().catch(() => {}) // The process that would hear of it is gone.
  const died = killer.dead
  await victim.stop()
  await noneConnected()
  const heir = await startNode({ ...options, clock, eventsLater: false })
  try {
    await declareDead(heir.database, victim.node)
    await heir.look()
    await heir.look()
    expect(heir.faults).toEqual([])
    const runs = (await runsOf(heir.database)).filter((run) => run.flow === flow.name).map((run) => run.data)
    // Nothing of it is in the way of the next.
    await heir.database.pool.query('truncate schedules, runs, events, deliveries, event_keys, quarantine')
    return { died, runs }
  } finally {
    await heir.stop()
  }
}

/** Until the server knows that whoever died is gone, and has let go of what it had locked. */
async function noneConnected(): Promise<void> {
  const onlooker = openDatabase({ url: test.url, max: 1 })
  for (;;) {
    const { rowCount } = await onlooker.pool.query(
      `select 1 from pg_stat_activity where datname = current_database() and backend_type = 'client backend'
         and pid <> pg_backend_pid()`,
    )
    if (rowCount === 0) break
  }
  await onlooker.close()
}

/** Kills at each statement until the node comes through, or until `enough` was seen. */
async function everyDeath(
  die: (n: number) => Promise<Death>,
  enough: (death: Death) => boolean = () => false,
): Promise<Death[]> {
  const deaths: Death[] = []
  for (let n = 1; n <= MOST_STATEMENTS; n++) {
    const death = await die(n)
    deaths.push(death)
    if (!death.died || enough(death)) return deaths
  }
  throw new Error('It never came through.')
}

describe.each<When>(['before', 'after'])('a node that is killed %s a statement', (when) => {
  const hourly = (name: string): AnyFlow =>
    defineFlow({ name: `cron-${name}`, on: cron('0 * * * *', { missed: 'all' }), run: () => undefined })

  it('has fired each time once, or another fires it', { timeout: LONG }, async () => {
    const deaths = await everyDeath((n) => dieAt(n, when, { flow: hourly, advance: 2 * HOUR }))
    expect(deaths.length).toBeGreaterThan(8)
    for (const { runs } of deaths)
      expect(runs).toEqual([
        { scheduledFor: new Date(NINE + HOUR).toISOString(), previous: null },
        {
          scheduledFor: new Date(NINE + 2 * HOUR).toISOString(),
          previous: new Date(NINE + HOUR).toISOString(),
        },
      ])
  })

  const ITEMS = ['a', 'b', 'c']
  const poll = (n: number, prefix: string, over: Partial<TestNodeOptions> = {}): Promise<Death> => {
    const list = new ThingList()
    for (const id of ITEMS) list.put(id)
    return dieAt(n, when, {
      flow: (name) => polling({ from: 'beginning' }, {}, `${prefix}-${name}`),
      options: { connector: books, call: list.call, ...over },
      advance: 0,
    })
  }
  const ids = ({ runs }: Death): string[] => runs.map((run) => (run as { id: string }).id)

  it('has read each item once, or another reads it', { timeout: LONG }, async () => {
    const deaths = await everyDeath((n) => poll(n, 'poll'))
    expect(deaths.length).toBeGreaterThan(15)
    for (const death of deaths) expect(ids(death)).toEqual(ITEMS)
  })

  it(
    'control: with events outside the transaction of the cursor, items are lost',
    { timeout: LONG },
    async () => {
      const lost = (death: Death): boolean => ids(death).length < ITEMS.length
      const deaths = await everyDeath((n) => poll(n, 'lost', { eventsLater: true }), lost)
      expect(deaths.some(lost)).toBe(true)
    },
  )
})
