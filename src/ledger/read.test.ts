import type pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { openDatabase, transaction, type Database } from '../db/index.ts'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import type { LedgerEntry } from './entry.ts'
import { ensurePartitions } from './partitions.ts'
import { listEntries } from './read.ts'
import { writeEntries } from './write.ts'

const NOON = Date.parse('2026-11-20T12:00:00Z')

let file: TestDatabase
let database: Database
let pool: pg.Pool

beforeAll(async () => {
  file = await createTestDatabase()
  database = openDatabase({ url: file.url })
  pool = database.pool
  await ensurePartitions(pool, NOON)
})
afterAll(async () => {
  await database.close()
  await file.drop()
})
beforeEach(async () => {
  await pool.query('truncate ledger, ledger_batches')
})

function entry(target: string, more: Partial<LedgerEntry> = {}): LedgerEntry {
  return {
    tenant: 'default',
    at: NOON,
    actor: 'app:shop',
    action: 'event.emitted',
    target,
    outcome: 'accepted',
    ...more,
  }
}

const write = (...entries: LedgerEntry[]) => transaction(pool, (client) => writeEntries(client, entries))

describe('listing the ledger', () => {
  it('gives the entries as they were written, by run, target, connection, action and tenant', async () => {
    const one = entry('evt_1', {
      runId: 'run_1',
      connectionId: 'con_1',
      detail: { amount: '12345678901234567890' },
    })
    const two = entry('evt_2', { runId: 'run_1', action: 'run.queued' })
    const other = entry('evt_1', { tenant: 'other' })
    await write(one, two, other)
    const list = async (filter: object) => (await listEntries(pool, { tenant: 'default', ...filter })).rows
    const written = (from: LedgerEntry) => ({ ...from, id: expect.stringMatching(/^led_/) })
    expect(await list({})).toEqual([written(two), written(one)])
    expect(await list({ runId: 'run_1' })).toEqual([written(two), written(one)])
    expect(await list({ target: 'evt_2' })).toEqual([written(two)])
    expect(await list({ connectionId: 'con_1', runId: 'run_1' })).toEqual([written(one)])
    expect(await list({ action: 'run.queued' })).toEqual([written(two)])
    expect(await list({ tenant: 'other', target: 'evt_1' })).toEqual([written(other)])
    expect(await list({ runId: 'run_2' })).toEqual([])
  })

  it('goes on where the page before ended, over days', async () => {
    for (let i = 0; i < 7; i++) await write(entry(`evt_${i}`, { at: NOON + (i % 3) * 86_400_000 }))
    const first = await listEntries(pool, { tenant: 'default', limit: 4 })
    const second = await listEntries(pool, { tenant: 'default', limit: 4, cursor: first.next })
    expect([...first.rows, ...second.rows].map((row) => row.target)).toEqual(
      [6, 5, 4, 3, 2, 1, 0].map((i) => `evt_${i}`),
    )
    expect(second).toMatchObject({ more: false, next: undefined })
  })

  it('refuses to show what was changed beyond recognition', async () => {
    await write(entry('evt_1'))
    await pool.query(`update ledger set entry = 'x'`)
    await expect(listEntries(pool, { tenant: 'default' })).rejects.toThrow(
      expect.objectContaining({ code: 'ledger_entry_unreadable' }),
    )
  })
})
