import type { Queryable } from '../db/index.ts'
import type { BatchRow, EntryRow, LedgerSource } from './verify.ts'
import { blockOfRow, type BlockRow } from './sealer.ts'

/** Rows fetched at a time. */
const PAGE = 2_000

/**
 * The ledger of a database, for {@link verifyLedger}. The client must be in a transaction begun with
 * `isolation level repeatable read read only`, so that all four reads see the same moment.
 */
export function databaseSource(client: Queryable): LedgerSource {
  return {
    entries: () => readEntries(client),
    batches: () =>
      readRows(
        client,
        'ledger_batches_by_day',
        `${BATCHES} order by (at at time zone 'UTC')::date, id collate "C"`,
        batchOfRow,
      ),
    sealedBatches: () =>
      readRows(
        client,
        'ledger_batches_by_block',
        `${BATCHES} where block is not null order by block, id collate "C"`,
        batchOfRow,
      ),
    blocks: () =>
      readRows(
        client,
        'ledger_blocks_by_number',
        'select number, at, batches, entries, root, previous, key_id, signature from ledger_blocks order by number',
        (row: BlockRow) => blockOfRow(row),
      ),
  }
}

const BATCHES = 'select id, at, entries, root, block from ledger_batches'

/** Day by day, so that PostgreSQL never sorts more than one. */
async function* readEntries(client: Queryable): AsyncGenerator<EntryRow> {
  const { rows } = await client.query<{ day: string }>(
    `select to_char(to_date(substr(relname, 8), 'YYYYMMDD'), 'YYYY-MM-DD') as day
     from pg_inherits join pg_class on pg_class.oid = inhrelid
     where inhparent = 'ledger'::regclass and relname ~ '^ledger_[0-9]{8}$'
     union select to_char(day, 'YYYY-MM-DD') from ledger_default order by day`,
  )
  for (const { day } of rows) {
    yield* readRows(
      client,
      'ledger_entries_of_day',
      `select tenant, to_char(day, 'YYYY-MM-DD') as day, id, batch_id as "batchId", position, at, actor, action, target,
              outcome, run_id as "runId", connection_id as "connectionId", entry
       from ledger where day = '${day}' order by batch_id collate "C", position`,
      (row: EntryColumns) => ({ ...row, at: row.at.getTime() }),
    )
  }
}

type EntryColumns = Omit<EntryRow, 'at'> & { readonly at: Date }
type BatchColumns = Omit<BatchRow, 'at' | 'block'> & { readonly at: Date; readonly block: string | null }

function batchOfRow(row: BatchColumns): BatchRow {
  return { ...row, at: row.at.getTime(), block: row.block === null ? null : Number(row.block) }
}

/** Streams a query through a cursor; the next page is on its way while one is read. */
async function* readRows<Row extends object, Item>(
  client: Queryable,
  cursor: string,
  query: string,
  toItem: (row: Row) => Item,
): AsyncGenerator<Item> {
  await client.query(`declare ${cursor} no scroll cursor for ${query}`)
  const fetchPage = () => client.query<Row & Record<string, unknown>>(`fetch ${PAGE} from ${cursor}`)
  let ahead = fetchPage()
  for (;;) {
    const { rows } = await ahead
    if (rows.length === 0) break
    ahead = fetchPage()
    ahead.catch(() => {}) // Reported when its turn comes.
    for (const row of rows) yield toItem(row)
  }
  await client.query(`close ${cursor}`)
}
