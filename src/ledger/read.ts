import { PermanentError } from '../base/index.ts'
import { pageAfter, type Page, type Queryable } from '../db/index.ts'
import { decodeEntry, type WrittenEntry } from './entry.ts'

export interface EntryFilter {
  readonly tenant: string
  readonly runId?: string
  readonly target?: string
  readonly connectionId?: string
  readonly action?: string
  readonly cursor?: string
  /** Default `newest_first`. */
  readonly order?: 'oldest_first' | 'newest_first'
  /** Default 50. */
  readonly limit?: number
}

const COLUMNS = {
  runId: 'run_id',
  target: 'target',
  connectionId: 'connection_id',
  action: 'action',
} as const

/**
 * One page of a tenant's entries; see {@link pageAfter} for what a cursor promises. What is returned is what was
 * hashed, not the columns beside it. Throws a {@link PermanentError} `ledger_entry_unreadable` where that is no entry.
 */
export async function listEntries(client: Queryable, filter: EntryFilter): Promise<Page<WrittenEntry>> {
  const values: unknown[] = [filter.tenant]
  const conditions = ['tenant = $1']
  for (const [name, column] of Object.entries(COLUMNS)) {
    const value = filter[name as keyof typeof COLUMNS]
    if (value !== undefined) conditions.push(`${column} = $${values.push(value)}`)
  }
  const page = pageAfter({
    cursor: filter.cursor,
    order: filter.order ?? 'newest_first',
    limit: filter.limit ?? 50,
    parameter: values.length + 1,
  })
  const { rows } = await client.query<{ id: string; page_xid: string; entry: Buffer }>(
    `select id, entry, ${page.column} from ledger where ${conditions.join(' and ')} and ${page.where} ${page.tail}`,
    [...values, ...page.values],
  )
  const read = page.read(rows)
  return { ...read, rows: read.rows.map((row) => readEntry(row)) }
}

function readEntry(row: { readonly id: string; readonly entry: Buffer }): WrittenEntry {
  try {
    return decodeEntry(row.entry)
  } catch (cause) {
    throw new PermanentError(
      'ledger_entry_unreadable',
      `The ledger entry ${row.id} was changed after it was written. Run: trestle audit verify`,
      { cause },
    )
  }
}
