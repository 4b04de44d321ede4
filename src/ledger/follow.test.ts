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
    let writing = true
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
      while (writing || seen.length < written.length) seen.push(...((await read('all', 7))?.targets ?? []))
    })
    await Promise.all(writers)
    writing = false
    await Promise.all(readers)
    expect(seen.toSorted()).toEqual(written.toSorted())
  })

  it('reads about as many as it is to, in whole transactions, and says that there are more', async () => {
    await beginReading(database.pool, { tenant, name: 'some' }, now)
    for (let n = 0; n < 5; n++)
      await transaction(database.pool, (client) => writeEntries(client, [entry(`s${n}.a`), entry(`s${n}.b`)]))
    const turns: (readonly string[])[] = []
    while (turns.flat().length < 10) {
      const turn = await read('some', 3)
      if (turn!.targets.length === 0) continue
      turns.push(turn!.targets)
      if (turns.flat().length < 10) expect(turn!.more).toBe(true)
    }
    expect(turns.flat()).toHaveLength(10)
    for (const turn of turns) expect(turn.length % 2).toBe(0)
    expect(Math.max(...turns.map((turn) => turn.length))).toBeLessThanOrEqual(4)
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
