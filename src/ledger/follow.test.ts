import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { openDatabase, transaction, type Database } from '../db/index.ts'
import { systemClock } from '../base/index.ts'
import type { LedgerEntry } from './entry.ts'
import { beginReading, endTurn, entriesIn, takeTurn } from './follow.ts'
import { ensurePartitions } from './partitions.ts'
import { writeEntries } from './write.ts'

let testDatabase: TestDatabase
let database: Database
const tenant = 'default'
const now = systemClock.now()

beforeAll(async () => {
  testDatabase = await createTestDatabase()
  database = openDatabase({ url: testDatabase.url, max: 8 })
  await ensurePartitions(database.pool, now)
})
afterAll(async () => {
  await database.close()
  await testDatabase.drop()
})

const entry = (target: string): LedgerEntry => ({
  tenant,
  at: now,
  actor: 'system',
  action: 'run.queued',
  target,
  outcome: 'queued',
})

/** Everything written so far is settled: other tests of the run share the server, and their transactions count. */
async function settled(): Promise<void> {
  const { rows } = await database.pool.query<{ now: string }>('select pg_current_xact_id()::text as now')
  for (;;) {
    const found = await database.pool.query(
      'select 1 where pg_snapshot_xmin(pg_current_snapshot()) > $1::xid8',
      [rows[0]!.now],
    )
    if (found.rowCount === 1) return
  }
}

/** One turn of a reader: what it read, or `undefined` where another has it. */
function read(name: string, atMost: number): Promise<{ targets: string[]; more: boolean } | undefined> {
  return transaction(database.pool, async (client) => {
    const reader = { tenant, name }
    const turn = await takeTurn(client, reader, { now, everyMs: 0, atMost })
    if (!turn) return undefined
    const entries = await entriesIn(client, turn, ['run.queued'])
    await endTurn(client, reader, turn, now)
    return { targets: entries.map((one) => one.target), more: turn.more }
  })
}

describe('reading the ledger as it grows', () => {
  it('reads each entry once, whoever reads and in whatever order transactions commit', async () => {
    await beginReading(database.pool, { tenant, name: 'all' }, now)
    const written: string[] = []
    const seen: string[] = []
    const state = { writing: true }
    const writers = Array.from({ length: 4 }, async (_, writer) => {
      for (let n = 0; n < 25; n++)
        await transaction(database.pool, async (client) => {
          const targets = [`${writer}.${n}.a`, `${writer}.${n}.b`]
          await writeEntries(client, targets.map(entry))
          // A transaction that began earlier may commit later.
          if (n % 3 === writer % 3) await client.query('select pg_sleep(0.003)')
          written.push(...targets)
        })
    })
    const readers = Array.from({ length: 2 }, async () => {
      while (state.writing || seen.length < written.length)
        seen.push(...((await read('all', 7))?.targets ?? []))
    })
    await Promise.all(writers)
    state.writing = false
    await Promise.all(readers)
    expect(seen.toSorted()).toEqual(written.toSorted())
  })

  it('reads about as many as it is to, in whole transactions, and says that there are more', async () => {
    await beginReading(database.pool, { tenant, name: 'some' }, now)
    for (let n = 0; n < 5; n++)
      await transaction(database.pool, (client) => writeEntries(client, [entry(`s${n}.a`), entry(`s${n}.b`)]))
    await settled()
    const turns: { readonly targets: readonly string[]; readonly more: boolean }[] = []
    while (turns.flatMap((turn) => turn.targets).length < 10) {
      const turn = await read('some', 3)
      if (turn!.targets.length > 0) turns.push(turn!)
    }
    expect(turns.slice(0, -1).every((turn) => turn.more)).toBe(true)
    expect(turns.every((turn) => turn.targets.length % 2 === 0 && turn.targets.length <= 4)).toBe(true)
    expect(turns.length).toBeGreaterThan(2)
  })

  it('waits for a transaction that is open, whose entries come behind those that are there', async () => {
    await beginReading(database.pool, { tenant, name: 'open' }, now)
    await transaction(database.pool, async (client) => {
      await writeEntries(client, [entry('early')])
      await transaction(database.pool, (other) => writeEntries(other, [entry('late')]))
      expect(await read('open', 100)).toMatchObject({ targets: [] })
    })
    const seen: string[] = []
    while (seen.length < 2) seen.push(...(await read('open', 100))!.targets)
    expect(seen).toEqual(['early', 'late'])
  })

  it('goes on from now where its place is not of this cluster', async () => {
    await beginReading(database.pool, { tenant, name: 'restored' }, now)
    await database.pool.query(`update ledger_readers set read_to = '9000000000' where name = 'restored'`)
    expect(await read('restored', 100)).toEqual({ targets: [], more: false })
    await transaction(database.pool, (client) => writeEntries(client, [entry('after')]))
    const seen: string[] = []
    while (seen.length === 0) seen.push(...(await read('restored', 100))!.targets)
    expect(seen).toEqual(['after'])
  })
})
