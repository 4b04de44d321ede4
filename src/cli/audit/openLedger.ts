import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { MINUTE, UsageError } from '../../base/index.ts'
import { openDatabase, type Queryable } from '../../db/index.ts'
import { databaseSource, type LedgerSource } from '../../ledger/index.ts'
import { findDatabase } from '../../runtime/index.ts'
import { closingAfter } from '../closingAfter.ts'
import type { CommandContext } from '../command.ts'
import { environmentOf } from '../environment.ts'

/** Reads the ledger at one moment. Needs no master key and no configuration. */
export async function withLedger<Result>(
  { folder }: CommandContext,
  work: (source: LedgerSource, total: number) => Promise<Result>,
): Promise<Result> {
  const environment = environmentOf(folder)
  if (!environment['DATABASE_URL'] && !existsSync(resolve(folder, '.trestle', 'postgres')))
    throw new UsageError(
      'database_missing',
      `There is no database in ${resolve(folder, '.trestle')}, and DATABASE_URL is not set. Name the project's folder with --folder.`,
    )
  const found = await findDatabase(folder, environment)
  // A day of a large ledger takes its time to be sorted.
  const database = openDatabase({
    url: found.url,
    max: 1,
    name: 'trestle audit',
    statementTimeoutMs: 30 * MINUTE,
  })
  const client = await database.pool.connect().catch(async (error: unknown) => {
    await found.release()
    throw error
  })
  const close = async (): Promise<void> => {
    client.release(true) // Whatever is under way ends with its connection.
    await database.close()
    await found.release()
  }
  return closingAfter(close, async () => {
    await client.query('begin isolation level repeatable read read only')
    return work(databaseSource(client), await countEntries(client))
  })
}

async function countEntries(client: Queryable): Promise<number> {
  const { rows } = await client.query<{ entries: string }>(
    'select coalesce(sum(entries), 0)::text as entries from ledger_batches',
  )
  return Number(rows[0]?.entries ?? 0)
}
