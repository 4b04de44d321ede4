import type pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { DAY, turn } from '../base/index.ts'
import { openDatabase, transaction, type Database } from '../db/index.ts'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import type { LedgerEntry } from './entry.ts'
import { merkleRoot } from './merkle.ts'
import { ensurePartitions } from './partitions.ts'
import { writeEntries } from './write.ts'

const NOON = Date.parse('2026-11-20T12:00:00Z')

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
  const { rows } = await pool.query<{ name: string }>(
    `select relname as name from pg_class where relname ~ '^ledger_[0-9]{8}$'`,
  )
  for (const { name } of rows) await pool.query(`drop table ${name}`)
  await pool.query('truncate ledger, ledger_batches')
})

function entry(target: string, at = NOON): LedgerEntry {
  return {
    tenant: 'default',
    at,
    actor: 'system',
    action: 'run.succeeded',
    target,
    outcome: 'succeeded',
    detail: { note: `about ${target}` },
  }
}

async function partitions(): Promise<string[]> {
  const { rows } = await pool.query<{ name: string }>(
    `select relname as name from pg_inherits join pg_class on pg_class.oid = inhrelid where inhparent = 'ledger'::regclass order by 1`,
  )
  return rows.map((row) => row.name)
}

describe('writeEntries', () => {
  it('writes the entries in their order under one Merkle root', async () => {
    const targets = Array.from({ length: 300 }, (_, i) => `ünï"\\,{}NULL ${i}`)
    await writeEntries(
      pool,
      targets.map((target) => entry(target)),
    )
    const { rows } = await pool.query<{ target: string; entry: Buffer; position: number }>(
      'select target, entry, position from ledger order by position',
    )
    expect(rows.map((row) => row.target)).toEqual(targets)
    expect(rows.map((row) => row.position)).toEqual(targets.map((_, i) => i))
    const batches = await pool.query<{ entries: number; root: Buffer; at: Date }>(
      'select * from ledger_batches',
    )
    expect(batches.rows).toHaveLength(1)
    expect(batches.rows[0]!.entries).toBe(300)
    expect(batches.rows[0]!.at.getTime()).toBe(NOON)
    expect(batches.rows[0]!.root.equals(merkleRoot(rows.map((row) => row.entry)))).toBe(true)
  })

  it('writes nothing for nothing', async () => {
    await writeEntries(pool, [])
    expect((await pool.query('select from ledger_batches')).rowCount).toBe(0)
  })

  it('takes whatever a provider may have sent', async () => {
    const texts = [
      '\0',
      '\ud800',
      'x'.repeat(10_000),
      '😀'.repeat(200),
      '',
      '\\x00',
      '\u2028',
      '{"a":1}',
      'null',
    ]
    await writeEntries(
      pool,
      texts.map((text) => ({
        ...entry(text),
        tenant: text,
        outcome: text,
        runId: text,
        connectionId: text,
        detail: { [text]: [text, Number.NaN, 1n, undefined] },
      })),
    )
    expect((await pool.query('select from ledger')).rowCount).toBe(texts.length)
  })

  it('keeps a batch that passes midnight in one day', async () => {
    await ensurePartitions(pool, NOON)
    await writeEntries(pool, [entry('before', NOON + DAY / 2 - 1), entry('after', NOON + DAY / 2)])
    const { rows } = await pool.query(
      'select distinct day::text, tableoid::regclass::text as name from ledger',
    )
    expect(rows).toEqual([{ day: '2026-11-21', name: 'ledger_20261121' }])
  })
})

describe('partitions', () => {
  const DAYS = ['20261119', '20261120', '20261121', '20261122', '20261123'].map((day) => `ledger_${day}`)

  it('are made from yesterday to three days ahead, once', async () => {
    expect(await ensurePartitions(pool, NOON)).toEqual([])
    expect(await ensurePartitions(pool, NOON)).toEqual([])
    expect(await partitions()).toEqual([...DAYS, 'ledger_default'])
    const { rows } = await pool.query<{ count: string }>(
      `select count(*) from pg_indexes where tablename = 'ledger_20261120'`,
    )
    const ofDefault = await pool.query<{ count: string }>(
      `select count(*) from pg_indexes where tablename = 'ledger_default'`,
    )
    expect(rows[0]!.count).toBe(ofDefault.rows[0]!.count)
  })

  it('are made by several nodes at once, while others write', async () => {
    const made = new AbortController()
    const writers = Array.from({ length: 4 }, async (_, writer) => {
      let count = 0
      for (; !made.signal.aborted; count++)
        await transaction(pool, (client) =>
          writeEntries(client, [entry(`${writer}.${count}`, NOON - 5 * DAY)]),
        )
      return count
    })
    await Promise.all(Array.from({ length: 8 }, () => ensurePartitions(pool, NOON)))
    // A day is left for later where a writer stood still for longer than anybody waits for it.
    while ((await ensurePartitions(pool, NOON)).length > 0) await turn()
    made.abort()
    const counts = await Promise.all(writers)
    expect(await partitions()).toEqual([...DAYS, 'ledger_default'])
    expect((await pool.query('select from ledger')).rowCount).toBe(
      counts.reduce((sum, count) => sum + count, 0),
    )
  })

  it('are missed by no entry: the default one takes any other day', async () => {
    await writeEntries(pool, [entry('early', 0), entry('late', Date.parse('9000-01-01T00:00:00Z'))])
    await writeEntries(pool, [entry('today')])
    expect((await pool.query('select from ledger_default')).rowCount).toBe(3)
    // The day that has entries there stays there; the others get their own.
    expect(await ensurePartitions(pool, NOON)).toEqual(['2026-11-20'])
    expect(await partitions()).toEqual([...DAYS.toSpliced(1, 1), 'ledger_default'])
    await writeEntries(pool, [entry('today again')])
    expect((await pool.query('select from ledger_default')).rowCount).toBe(4)
  })

  it('are left for later where a long reader is in the way, and nobody waits', async () => {
    const reader = await pool.connect()
    try {
      await reader.query('begin')
      await reader.query('select from ledger')
      expect(await ensurePartitions(pool, NOON)).toHaveLength(5)
    } finally {
      await reader.query('rollback')
      reader.release()
    }
    expect(await ensurePartitions(pool, NOON)).toEqual([])
  })
})
