import type { Queryable } from '../db/index.ts'
import type { BatchRow, EntryRow, LedgerSource } from './verify.ts'
import { blockOfRow } from './sealer.ts'

/** Rows fetched at a time. */
const PAGE = 2_000

/**
 * The ledger of a database, for {@link verifyLedger}. The client must be in a transaction begun with
 * `isolation level repeatable read read only`, so that all four reads see the same moment.
 */
export function databaseSource(client: Queryable): LedgerSource {
  return {
    entries: () => readEntries(client),
    batches: () => readRows(client, BATCHES_BY_DAY, batchOfRow),
    sealedBatches: () => readRows(client, BATCHES_BY_BLOCK, batchOfRow),
    blocks: () => readRows(client, BLOCKS, blockOfRow),
  }
}

const BATCHES_BY_DAY = {
  cursor: 'ledger_batches_by_day',
  text: `select id, at, entries, root, block from ledger_batches order by (at at time zone 'UTC')::date, id collate "C"`,
}

const BATCHES_BY_BLOCK = {
  cursor: 'ledger_batches_by_block',
  text: `select id, at, entries, root, block from ledger_batches where block is not null order by block, id collate "C"`,
}

const BLOCKS = {
  cursor: 'ledger_blocks_by_number',
  text: 'select number, at, batches, entries, root, previous, key_id, signature from ledger_blocks order by number',
}

/** Day by day, so that PostgreSQL never sorts more than one. */
async function* readEntries(client: Queryable): AsyncGenerator<EntryRow> {
  await client.query(`set local work_mem = '64MB'`) // Sorting a day on disk is what would take longest.
  const { rows } = await client.query<{ day: string }>(
    `select to_char(to_date(substr(relname, 8), 'YYYYMMDD'), 'YYYY-MM-DD') as day
     from pg_inherits join pg_class on pg_class.oid = inhrelid
     where inhparent = 'ledger'::regclass and relname ~ '^ledger_[0-9]{8}$'
     union select to_char(day, 'YYYY-MM-DD') from ledger_default order by day`,
  )
  for (const { day } of rows) {
    const query = { cursor: 'ledger_entries_of_day', text: entriesOf(day) }
    yield* readRows(client, query, (row: EntryColumns): EntryRow => Object.assign(row, { day }))
  }
}

function entriesOf(day: string): string {
  return `
select tenant, id, batch_id as "batchId", position, (extract(epoch from at) * 1000)::float8 as at, actor, action, target, outcome,
       run_id as "runId", connection_id as "connectionId", entry
from ledger where day = '${day}' order by batch_id collate "C", position`
}

type EntryColumns = Omit<EntryRow, 'day'> & Record<string, unknown>
type BatchColumns = Omit<BatchRow, 'at' | 'block'> & {
  readonly at: Date
  readonly block: string | null
} & Record<string, unknown>

function batchOfRow(row: BatchColumns): BatchRow {
  return { ...row, at: row.at.getTime(), block: row.block === null ? null : Number(row.block) }
}

/** Streams a query through a cursor; the next page is on its way while one is read. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the caller names the columns that its query gives
async function* readRows<Row extends Record<string, unknown>, Item>(
  client: Queryable,
  query: { readonly cursor: string; readonly text: string },
  toItem: (row: Row) => Item,
): AsyncGenerator<Item> {
  await client.query(`declare ${query.cursor} no scroll cursor for ${query.text}`)
  const fetchPage = (): Promise<{ rows: Row[] }> => client.query<Row>(`fetch ${PAGE} from ${query.cursor}`)
  let ahead = fetchPage()
  for (;;) {
    const { rows } = await ahead
    if (rows.length === 0) break
    ahead = fetchPage()
    ahead.catch(() => {}) // Reported when its turn comes.
    for (const row of rows) yield toItem(row)
  }
  await client.query(`close ${query.cursor}`)
}
