import type pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import {
  cursorOfNow,
  openDatabase,
  pageAfter,
  settleRestoredRows,
  type Database,
  type Page,
} from './index.ts'

let file: TestDatabase
let database: Database
let pool: pg.Pool

beforeAll(async () => {
  file = await createTestDatabase()
  database = openDatabase({ url: file.url, max: 20 })
  pool = database.pool
})
afterAll(async () => {
  await database.close()
  await file.drop()
})
beforeEach(async () => {
  await pool.query('truncate events')
})

const INSERT = `insert into events (tenant, id, connection_id, delivery_id, type, state, data_at)
  select 'default', id, 'con_1', 'dlv_1', 't', 'dispatched', '' from unnest($1::text[]) as given (id)`

async function insert(...ids: string[]): Promise<void> {
  await pool.query(INSERT, [ids])
}

/** Until no transaction that began before is open, in any database of the server: other tests may have some. */
async function settled(): Promise<void> {
  const { rows } = await pool.query<{ xid: string }>('select pg_current_xact_id()::text as xid')
  await expect
    .poll(
      async () => {
        const { rows: now } = await pool.query<{ passed: boolean }>(
          'select pg_snapshot_xmin(pg_current_snapshot()) > $1::xid8 as passed',
          [rows[0]!.xid],
        )
        return now[0]!.passed
      },
      { timeout: 170_000 },
    )
    .toBe(true)
}

async function list(
  order: 'oldest_first' | 'newest_first',
  limit: number,
  cursor?: string,
): Promise<Page<{ id: string }>> {
  const page = pageAfter({ cursor, order, limit, parameter: 2 })
  const { rows } = await pool.query<{ id: string; page_xid: string }>(
    `select id, ${page.column} from events where tenant = $1 and ${page.where} ${page.tail}`,
    ['default', ...page.values],
  )
  return page.read(rows)
}

async function listAll(order: 'oldest_first' | 'newest_first', limit: number): Promise<string[]> {
  const ids: string[] = []
  let cursor: string | undefined
  for (;;) {
    const page = await list(order, limit, cursor)
    ids.push(...page.rows.map((row) => row.id))
    if (!page.more) return ids
    cursor = page.next
  }
}

describe('a listing', () => {
  it.each([1, 2, 3, 5, 100])('has every row once in both orders, %i at a time', async (limit) => {
    await insert('c', 'a')
    await insert('b')
    await insert('e', 'd')
    await settled()
    expect(await listAll('oldest_first', limit)).toEqual(['a', 'c', 'b', 'd', 'e'])
    expect(await listAll('newest_first', limit)).toEqual(['e', 'd', 'b', 'c', 'a'])
  })

  it('says where it ends', async () => {
    expect(await list('oldest_first', 2)).toEqual({ rows: [], next: undefined, more: false })
    await insert('a', 'b')
    expect(await list('newest_first', 2)).toEqual({
      rows: [{ id: 'b' }, { id: 'a' }],
      next: undefined,
      more: false,
    })
    await settled()
    const end = await list('oldest_first', 2)
    expect(end).toMatchObject({ more: false, next: expect.any(String) })
    expect(await list('oldest_first', 2, end.next)).toEqual({ rows: [], next: end.next, more: false })
    await insert('0')
    await settled()
    expect((await list('oldest_first', 2, end.next)).rows).toEqual([{ id: '0' }])
  })

  it('that is followed shows nothing past an open transaction, so that its rows are not missed', async () => {
    const late = await pool.connect()
    try {
      await late.query('begin')
      await late.query(INSERT, [['late']])
      await insert('prompt')
      // Control: a cursor by id alone would show 'prompt' and, once there, never 'late'.
      expect((await pool.query('select id from events')).rows).toEqual([{ id: 'prompt' }])
      expect((await list('oldest_first', 10)).rows).toEqual([])
      expect((await list('newest_first', 10)).rows).toEqual([{ id: 'prompt' }])
      await late.query('commit')
    } finally {
      late.release()
    }
    await settled()
    expect((await list('oldest_first', 10)).rows).toEqual([{ id: 'late' }, { id: 'prompt' }])
  })

  it('is followed without a gap while many write', async () => {
    const seen: string[] = []
    let cursor: string | undefined
    const written = new AbortController()
    const follow = async (): Promise<void> => {
      const page = await list('oldest_first', 7, cursor)
      seen.push(...page.rows.map((row) => row.id))
      cursor = page.next
    }
    const follower = (async () => {
      while (!written.signal.aborted) await follow()
    })()
    await Promise.all(
      Array.from({ length: 8 }, async (_, writer) => {
        for (let i = 0; i < 25; i++) {
          const client = await pool.connect()
          try {
            await client.query('begin')
            await client.query(INSERT, [[`${writer}.${i}`]])
            // Some commit at once, some let others overtake them.
            for (let wait = 0; wait < (writer * i) % 5; wait++) await client.query('select 1')
            await client.query(i % 6 === 5 ? 'rollback' : 'commit')
          } finally {
            client.release()
          }
        }
      }),
    )
    written.abort()
    await follower
    await settled()
    for (let before = -1; before !== seen.length;) {
      before = seen.length
      await follow()
    }
    const { rows } = await pool.query<{ id: string }>('select id from events')
    expect(rows).toHaveLength(8 * 21)
    expect(seen.toSorted()).toEqual(rows.map((row) => row.id).sort())
  })

  it('that is looked at has every row that was committed when it began', async () => {
    await insert('a', 'b', 'c', 'd')
    const late = await pool.connect()
    try {
      await late.query('begin')
      await late.query(INSERT, [['late']])
      await insert('e', 'f')
      const first = await list('newest_first', 2)
      await late.query('commit')
      const second = await list('newest_first', 10, first.next)
      expect([...first.rows, ...second.rows].map((row) => row.id)).toEqual([
        'f',
        'e',
        'late',
        'd',
        'c',
        'b',
        'a',
      ])
    } finally {
      late.release()
    }
  })

  it('that is followed from now on has what commits later, though it began before', async () => {
    await insert('before')
    await settled()
    const late = await pool.connect()
    let cursor: string
    try {
      await late.query('begin')
      await late.query(INSERT, [['late']])
      cursor = await cursorOfNow(pool)
      await late.query('commit')
    } finally {
      late.release()
    }
    await insert('after')
    await settled()
    expect((await list('oldest_first', 10, cursor)).rows).toEqual([{ id: 'late' }, { id: 'after' }])
  })

  it('that is followed shows rows from another cluster once they are settled', async () => {
    await insert('here')
    await insert('there')
    await pool.query(`update events set visible_xid = '9000000000000' where id = 'there'`)
    await settled()
    expect(await listAll('oldest_first', 10)).toEqual(['here'])
    expect(await settleRestoredRows(pool, 'events')).toBe(1)
    expect(await listAll('oldest_first', 10)).toEqual(['there', 'here'])
    expect(await settleRestoredRows(pool, 'events')).toBe(0)
  })

  it('reads by its index', async () => {
    const page = pageAfter({ order: 'oldest_first', limit: 10, parameter: 2, cursor: cursorOf('5.a') })
    const client = await pool.connect()
    try {
      // Whatever the statistics say of the table, and whenever they were gathered.
      for (const way of ['seqscan', 'bitmapscan', 'sort', 'incremental_sort'])
        await client.query(`set enable_${way} = off`)
      const { rows } = await client.query<{ 'QUERY PLAN': string }>(
        `explain select id, ${page.column} from events where tenant = $1 and ${page.where} ${page.tail}`,
        ['default', ...page.values],
      )
      const plan = rows.map((row) => row['QUERY PLAN']).join('\n')
      expect(plan).toContain('events_in_order')
      expect(plan).not.toContain('Sort')
    } finally {
      client.release(true)
    }
  })
})

function cursorOf(text: string): string {
  return Buffer.from(text).toString('base64url')
}

describe('a cursor', () => {
  it.each([
    '',
    'x',
    '!!!',
    cursorOf('a.b'),
    cursorOf('1.'),
    cursorOf(`1.${'x'.repeat(300)}`),
    cursorOf('1.\0'),
    `${cursorOf('1.a')}==`,
  ])('that is not ours is refused: %s', (cursor) => {
    expect(() => pageAfter({ cursor, order: 'oldest_first', limit: 1, parameter: 1 })).toThrow(
      expect.objectContaining({ code: 'cursor_invalid' }),
    )
  })

  it.each([0, -1, 1.5, 1001, Number.NaN])('takes no limit of %d', (limit) => {
    expect(() => pageAfter({ order: 'oldest_first', limit, parameter: 1 })).toThrow(
      expect.objectContaining({ code: 'limit_invalid' }),
    )
  })
})
