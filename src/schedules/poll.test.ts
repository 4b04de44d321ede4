import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { HOUR, MINUTE, SECOND } from '../base/index.ts'
import type { CallOutcome } from '../calls/index.ts'
import { answered, books, exchange, polling, ThingList } from './list.fixture.ts'
import { PAGES_AT_ONCE } from './poll.ts'
import { POLLS_AT_ONCE } from './scheduler.ts'
import {
  clockAt,
  declareDead,
  ledgerOf,
  NINE,
  rowOf,
  runsOf,
  startNode,
  type TestNode,
  type TestNodeOptions,
} from './schedules.fixture.ts'

let test: TestDatabase
let list: ThingList
const nodes: TestNode[] = []
beforeEach(async () => {
  test = await createTestDatabase()
  list = new ThingList()
})
afterEach(async () => {
  for (const node of nodes.splice(0)) await node.stop()
  await test.drop()
})

async function start(options: Partial<TestNodeOptions> = {}): Promise<TestNode> {
  const node = await startNode({
    url: test.url,
    flows: [polling({ from: 'beginning' })],
    connector: books,
    call: list.call,
    ...options,
  })
  nodes.push(node)
  return node
}

const seen = async (node: TestNode): Promise<string[]> =>
  (await runsOf(node.database)).map((run) => {
    const { id, n } = run.data as { id: string; n: number }
    return `${id}.${n}`
  })
const positionOf = async (node: TestNode): Promise<{ cursor: string | null; scan: unknown }> =>
  JSON.parse((await rowOf(node.database, 'things'))['position'] as string) as never
const iso = (ms: number): string => new Date(ms).toISOString()

describe('a poll', () => {
  it('reads page by page, each item once, and comes again for what is new', async () => {
    const clock = clockAt()
    for (const id of ['a', 'b', 'c', 'd', 'e']) list.put(id)
    const node = await start({ clock })
    await node.look()
    expect(await seen(node)).toEqual(['a.1', 'b.1', 'c.1', 'd.1', 'e.1'])
    expect(await positionOf(node)).toEqual({ cursor: list.items[4]!.changedAt, token: null, scan: null })
    await node.look()
    const before = list.asked.length

    list.put('f', 1, NINE + MINUTE)
    list.put('b', 2, NINE + 2 * MINUTE)
    await clock.advance(5 * MINUTE)
    await node.look()
    expect(await seen(node)).toEqual(['a.1', 'b.1', 'c.1', 'd.1', 'e.1', 'f.1', 'b.2'])
    expect(list.asked[before]).toEqual({ since: iso(Date.parse(list.items[3]!.changedAt) - MINUTE) })
    expect(node.faults).toEqual([])
  })

  it('keeps the page as the delivery that its events point into', async () => {
    list.put('a')
    list.put('b')
    const node = await start()
    await node.look()
    const { rows } = await node.database.pool.query<{ body: Buffer }>(
      `select e.type, e.state, e.data_at, e.occurred_at, d.event_count, d.body from events e
       join deliveries d on d.tenant = e.tenant and d.id = e.delivery_id order by e.data_at`,
    )
    expect(rows).toMatchObject([
      { type: 'poll.things', state: 'dispatched', data_at: '/items/0', event_count: 2 },
      { data_at: '/items/1', occurred_at: new Date(list.items[1]!.changedAt) },
    ])
    expect(JSON.parse(rows[0]!.body.toString())).toEqual({ items: list.items })
  })

  it('keeps nothing of a page without anything new, and says so in the ledger', async () => {
    const clock = clockAt()
    list.put('a')
    const node = await start({ clock })
    await node.look()
    await clock.advance(5 * MINUTE)
    await node.look()
    const deliveries = await node.database.pool.query('select 1 from deliveries')
    expect(deliveries.rowCount).toBe(1)
    const { rows } = await node.database.pool.query<{ entry: Buffer }>(
      `select entry from ledger where action = 'schedule.polled' order by id`,
    )
    const details = rows.map(({ entry }) => (JSON.parse(entry.toString()) as { detail: object }).detail)
    expect(details).toMatchObject([
      { items: 1, known: 0, events: 1, more: false, exchange: { status: 200 } },
      { items: 1, known: 1, events: 0 },
    ])
  })

  it('begins with now, unless it is told otherwise', async () => {
    list.put('old')
    list.put('late', 1, NINE - 30 * SECOND)
    const clock = clockAt()
    const node = await start({ flows: [polling()], clock })
    await node.look()
    // What changed within the overlap before may have appeared only now.
    expect(await seen(node)).toEqual(['late.1'])
  })

  it('finds what appears late, within the overlap', async () => {
    const clock = clockAt()
    list.put('a', 1, NINE - MINUTE)
    const node = await start({ clock })
    await node.look()
    list.put('late', 1, NINE - MINUTE - 50 * SECOND)
    list.put('too-late', 1, NINE - MINUTE - 70 * SECOND)
    await clock.advance(5 * MINUTE)
    await node.look()
    expect((await seen(node)).toSorted()).toEqual(['a.1', 'late.1'])
  })

  it('makes one event of an item for ever where changes are not asked for', async () => {
    const clock = clockAt()
    list.put('a')
    const node = await start({ clock, flows: [polling({ from: 'beginning', changes: false })] })
    await node.look()
    list.put('a', 2, NINE + MINUTE)
    await clock.advance(5 * MINUTE)
    await node.look()
    expect(await seen(node)).toEqual(['a.1'])
  })

  it('gives each of two flows every item', async () => {
    list.put('a')
    const node = await start({
      flows: [polling({ from: 'beginning' }), polling({ from: 'beginning' }, {}, 'others')],
    })
    await node.look()
    expect((await runsOf(node.database)).map((run) => run.flow).toSorted()).toEqual(['others', 'things'])
  })

  it('reads a list that only grows by its token', async () => {
    const { changedAt: _, ...rest } = { changedAt: undefined }
    for (const id of ['a', 'b', 'c']) list.put(id)
    const clock = clockAt()
    const node = await start({
      clock,
      flows: [polling({ from: 'beginning' }, { ...rest, changedAt: undefined, order: 'any' } as never)],
    })
    await node.look()
    list.put('d')
    list.put('e')
    await clock.advance(5 * MINUTE)
    await node.look()
    expect((await seen(node)).toSorted()).toEqual(['a.1', 'b.1', 'c.1', 'd.1', 'e.1'])
    expect(list.asked.at(-1)).toEqual({ after: 4 })
  })
})

describe('what is read at once', () => {
  it('is bounded by pages: a long list goes on at the next look, and others have their turn', async () => {
    list.pageSize = 1
    for (let i = 0; i < PAGES_AT_ONCE + 5; i++) list.put(`i${i}`, 1, NINE - HOUR + i * SECOND)
    // Each page is the place of the next, so half of them bring nothing new.
    const node = await start()
    await node.look()
    expect(list.asked).toHaveLength(PAGES_AT_ONCE)
    expect(await rowOf(node.database, 'things')).toMatchObject({ node_id: null, due_at: new Date(NINE) })
    for (let i = 0; i < 3; i++) await node.look()
    expect(await seen(node)).toHaveLength(PAGES_AT_ONCE + 5)
  })

  it('is bounded by polls: further ones wait for the next look', async () => {
    let under = 0
    let most = 0
    const names = Array.from({ length: POLLS_AT_ONCE + 3 }, (_, i) => `poll-${i}`)
    const node = await start({
      flows: names.map((name) => polling({ from: 'beginning' }, {}, name)),
      call: async (request) => {
        most = Math.max(most, ++under)
        await new Promise((resolve) => setImmediate(resolve))
        under--
        return list.call(request)
      },
    })
    await node.look()
    expect([list.asked.length, most <= POLLS_AT_ONCE]).toEqual([POLLS_AT_ONCE, true])
    await node.look()
    expect(list.asked).toHaveLength(names.length)
  })
})

describe('an item that does not fit', () => {
  it('is quarantined with its path, once, and the others go on', async () => {
    const clock = clockAt()
    list.put('a')
    list.put('b')
    const node = await start({
      clock,
      call: (request) => {
        const outcome = list.call(request) as Extract<CallOutcome, { as: 'succeeded' }>
        const page = outcome.output as { items: object[] }
        return answered({
          ...page,
          items: page.items.map((one, i) => (i === 0 ? { ...one, n: 'one' } : one)),
        })
      },
    })
    for (let i = 0; i < 3; i++) {
      await node.look()
      await clock.advance(5 * MINUTE)
    }
    expect(await seen(node)).toEqual(['b.1'])
    const { rows } = await node.database.pool.query('select path, state from quarantine')
    expect(rows).toEqual([{ path: '/items/0/n', state: 'quarantined' }])
  })
})

describe('a page that cannot be read', () => {
  it('is quarantined once, stops the cursor, and is passed when it can be read', async () => {
    const clock = clockAt()
    for (const id of ['a', 'b', 'c']) list.put(id)
    let broken = true
    const node = await start({
      clock,
      call: (request) =>
        broken && list.asked.length > 0
          ? {
              as: 'quarantined',
              path: '/next',
              reason: 'expected number; got text',
              payload: Buffer.from('{"items":[],"next":"x"}'),
              exchange,
            }
          : list.call(request),
    })
    await node.look()
    const { cursor } = await positionOf(node)
    expect(cursor).toBe(list.items[1]!.changedAt)
    await clock.advance(5 * MINUTE)
    await node.look()
    expect(await positionOf(node)).toMatchObject({ cursor })
    expect(await rowOf(node.database, 'things')).toMatchObject({
      error_code: 'contract_broken',
      failures: 2,
      error: expect.stringContaining('/next'),
    })
    const kept = () =>
      node.database.pool.query(
        `select q.path, q.state, q.settled_by, d.body from quarantine q join events e on e.id = q.event_id join deliveries d on d.id = e.delivery_id`,
      )
    expect((await kept()).rows).toMatchObject([{ path: '/next', state: 'quarantined' }])
    expect(await seen(node)).toEqual(['a.1', 'b.1'])

    broken = false
    await clock.advance(5 * MINUTE)
    await node.look()
    expect(await seen(node)).toEqual(['a.1', 'b.1', 'c.1'])
    expect((await kept()).rows).toMatchObject([{ state: 'discarded', settled_by: 'system' }])
    expect(await rowOf(node.database, 'things')).toMatchObject({ error_code: null, failures: 0 })
    expect(await ledgerOf(node.database)).toEqual([
      'schedule.added active',
      'schedule.polled succeeded',
      'schedule.polled quarantined',
      'schedule.polled quarantined',
      'schedule.polled succeeded',
    ])
  })

  it.each<[string, { items?: number[]; next?: number; things?: [] }, string | undefined]>([
    ['in another order than the source says', { items: [3, 1] }, 'order_broken'],
    ['that names itself as the next', { items: [1], next: 0 }, 'page_repeated'],
    [
      'with more items than one delivery takes',
      { items: Array.from({ length: 1001 }, () => 1) },
      'page_too_large',
    ],
    ['without a list where it should be', { things: [] }, undefined],
  ])('is one %s', async (_, { items = [], ...rest }, code) => {
    const node = await start({
      call: (request) =>
        answered({
          items: items.map((n, i) => ({
            id: `i${i}`,
            n: 1,
            changedAt: iso(NINE - 10 * MINUTE + n * SECOND),
          })),
          ...rest,
          ...(rest.next === undefined ? {} : { next: (request.input as { after?: number }).after ?? 7 }),
        }),
    })
    await node.look()
    expect((await rowOf(node.database, 'things'))['error_code'] ?? undefined).toBe(code)
  })
})

describe('a provider that does not answer', () => {
  const failure = (over: object): CallOutcome =>
    ({
      as: 'failed',
      retryable: true,
      newKey: false,
      code: 'unavailable',
      reason: 'it was away',
      exchange,
      ...over,
    }) as never

  it('is asked again by back-off, and what it has is read when it is back', async () => {
    const clock = clockAt()
    list.put('a')
    let away = true
    const node = await start({ clock, call: (request) => (away ? failure({}) : list.call(request)) })
    for (let i = 0; i < 5; i++) {
      await node.look()
      const { due_at: due } = await rowOf(node.database, 'things')
      const wait = (due as Date).getTime() - clock.now()
      expect(wait).toBeLessThanOrEqual(SECOND * 2 ** i)
      await clock.advance(wait)
    }
    expect(await rowOf(node.database, 'things')).toMatchObject({ failures: 5, error_code: 'unavailable' })
    away = false
    await node.look()
    expect(await seen(node)).toEqual(['a.1'])
    expect(await ledgerOf(node.database)).toEqual([
      'schedule.added active',
      ...Array.from({ length: 5 }, () => 'schedule.polled unavailable'),
      'schedule.polled succeeded',
    ])
  })

  it('that names a time is asked then, however far it is', async () => {
    const clock = clockAt()
    const node = await start({ clock, call: () => failure({ retryAt: NINE + 30 * HOUR }) })
    await node.look()
    expect((await rowOf(node.database, 'things'))['due_at']).toEqual(new Date(NINE + 30 * HOUR))
  })

  it('is left alone while a breaker or a budget says wait, which counts as no failure', async () => {
    const clock = clockAt()
    const node = await start({
      clock,
      call: () => ({ as: 'deferred', until: NINE + 2 * MINUTE, code: 'rate_limited', reason: 'used up' }),
    })
    await node.look()
    expect(await rowOf(node.database, 'things')).toMatchObject({
      due_at: new Date(NINE + 2 * MINUTE),
      failures: 0,
      error_code: 'rate_limited',
    })
    expect(await ledgerOf(node.database)).toEqual(['schedule.added active'])
  })

  it('is asked after an outage as one who waited for its end, for one page: the rest is as whatever comes now', async () => {
    const clock = clockAt()
    for (const id of ['a', 'b', 'c']) list.put(id)
    let away = true
    const waited: (boolean | undefined)[] = []
    const node = await start({
      clock,
      call: (request) => {
        waited.push(request.waited)
        // The drain lets go who waited for the outage, and holds back who comes now.
        return away || request.waited !== true
          ? { as: 'parked', code: 'circuit_open', reason: 'Connection "books" is away' }
          : list.call(request)
      },
    })
    await node.look()
    away = false
    await clock.advance(5 * MINUTE)
    await node.look()
    expect(await seen(node)).toEqual(['a.1', 'b.1'])
    expect(waited).toEqual([undefined, true, undefined])
    await clock.advance(5 * MINUTE)
    await node.look()
    expect(await seen(node)).toEqual(['a.1', 'b.1', 'c.1'])
  })

  it('is not asked every second where something of ours fails, and the row says what', async () => {
    const clock = clockAt()
    let asked = 0
    const node = await start({
      clock,
      call: () => {
        asked++
        throw new Error('the vault has no key')
      },
    })
    await node.look()
    await node.look()
    expect(asked).toBe(1)
    expect(await rowOf(node.database, 'things')).toMatchObject({
      failures: 1,
      error_code: 'poll_faulted',
      error: 'the vault has no key',
      node_id: null,
    })
    expect(node.faults).toHaveLength(1)
  })

  it('that answers no JSON has its answer kept, and is asked again later', async () => {
    const body = Buffer.from('<html>')
    const node = await start({
      call: () => ({ as: 'succeeded', output: {}, summary: undefined, exchange, body }),
    })
    await node.look()
    expect(await rowOf(node.database, 'things')).toMatchObject({ error_code: 'body_no_json', failures: 1 })
    expect((await node.database.pool.query('select body from deliveries')).rows).toEqual([{ body }])
  })

  it('a source that throws stops the cursor, and says where', async () => {
    list.put('a')
    const node = await start({
      flows: [
        polling(
          { from: 'beginning' },
          {
            id: () => {
              throw new Error('no such field')
            },
          },
        ),
      ],
    })
    await node.look()
    expect(await rowOf(node.database, 'things')).toMatchObject({
      error_code: 'source_threw',
      error: expect.stringContaining('no such field'),
    })
    expect(await positionOf(node)).toMatchObject({ cursor: null, scan: null })
  })
})

describe('several nodes', () => {
  it('poll once between them, however often they look', async () => {
    const clock = clockAt()
    for (let i = 0; i < 9; i++) list.put(`i${i}`)
    const four = [
      await start({ clock }),
      await start({ clock }),
      await start({ clock }),
      await start({ clock }),
    ]
    await Promise.all(four.map((node) => node.look()))
    expect((await seen(four[0]!)).length).toBe(9)
    // Nine items, two a page: the last of each page is asked for again, being the place of the next.
    expect(list.asked.length).toBe(8)
    expect(new Set(list.asked.map((ask) => JSON.stringify(ask))).size).toBe(8)
  })

  it('a node that stood still writes nothing after another took its poll', async () => {
    const clock = clockAt()
    list.put('a')
    list.put('b')
    let answer: (outcome: CallOutcome) => void = () => {}
    const asked: unknown[] = []
    const still = await start({
      clock,
      call: (request) =>
        new Promise<CallOutcome>((resolve) => {
          asked.push(request)
          answer = resolve
        }),
    })
    const look = still.look()
    while (asked.length === 0) await new Promise((resolve) => setImmediate(resolve))

    const other = await start({ clock })
    await other.look()
    expect(await seen(other)).toEqual([])
    // Control: while it is taken for living, nobody takes its poll; once it is dead, it is read elsewhere.
    await declareDead(other.database, still.node)
    await other.look()
    expect(await seen(other)).toEqual(['a.1', 'b.1'])
    const before = await rowOf(other.database, 'things')

    answer(answered({ items: [{ id: 'zombie', n: 1, changedAt: iso(NINE - MINUTE) }] }))
    await look
    expect(await seen(other)).toEqual(['a.1', 'b.1'])
    expect(await rowOf(other.database, 'things')).toEqual(before)
  })
})
