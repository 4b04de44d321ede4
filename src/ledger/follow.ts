import { DAY, timeOfId } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import { decodeEntry, utcDay, type WrittenEntry } from './entry.ts'
import type { LedgerAction } from './actions.ts'

/** A stretch of a tenant's ledger: the entries of the transactions from `from` to before `to`, all of them settled. */
export interface Stretch {
  readonly tenant: string
  /** Transaction numbers, as texts. */
  readonly from: string
  readonly to: string
  /** The UTC day before which no entry of it can lie. */
  readonly firstDay: string
}

/** One reading of what is new, by one node. */
export interface Turn extends Stretch {
  /** No entry of a transaction before this number was ever read. */
  readonly begunAt: string
  /** There is more to read at once. */
  readonly more: boolean
}

/** Who reads the ledger as it grows. */
export interface Reader {
  readonly tenant: string
  readonly name: string
}

/** From now on its entries are read, from the start of the transactions that are open. Safe to call again. */
export async function beginReading(client: Queryable, { tenant, name }: Reader, now: number): Promise<void> {
  await client.query(
    `insert into ledger_readers (tenant, name, begun_at, read_to, read_at, turn_at)
     values ($1, $2, pg_snapshot_xmin(pg_current_snapshot()), pg_snapshot_xmin(pg_current_snapshot()), $3, 'epoch') on conflict do nothing`,
    [tenant, name, new Date(now)],
  )
}

/**
 * Takes the next turn for the rest of the transaction: a stretch of about `atMost` entries, in whole transactions none
 * of which can get an entry any more. `undefined` where another node has the turn, or had one within `everyMs`. A node
 * that dies in its turn leaves nothing behind: the lock ends with its transaction. A reader whose place lies in this
 * database's future (which was restored from a dump) goes on from now.
 */
export async function takeTurn(
  client: Queryable,
  reader: Reader,
  options: { readonly now: number; readonly everyMs: number; readonly atMost: number },
): Promise<Turn | undefined> {
  const { now, everyMs, atMost } = options
  const { rows } = await client.query<{ begun_at: string; read_to: string; read_at: Date }>(
    `select begun_at::text, read_to::text, read_at from ledger_readers
     where tenant = $1 and name = $2 and (turn_at <= $3 or turn_at > $4) for update skip locked`,
    [reader.tenant, reader.name, new Date(now - everyMs), new Date(now + everyMs)],
  )
  const row = rows[0]
  if (!row) return undefined
  const firstDay = utcDay(row.read_at.getTime() - DAY)
  const found = await client.query<{ settled: string; full: string | null }>(
    `select pg_snapshot_xmin(pg_current_snapshot())::text as settled,
       (select visible_xid::text from ledger where tenant = $1 and visible_xid >= $2::xid8 and visible_xid < pg_snapshot_xmin(pg_current_snapshot())
          and day >= $3::date order by visible_xid, id offset $4 limit 1) as full`,
    [reader.tenant, row.read_to, firstDay, atMost],
  )
  const { settled, full } = found.rows[0]!
  const from = BigInt(row.read_to) > BigInt(settled) ? settled : row.read_to
  // A transaction that alone is longer than a stretch is read whole.
  const to = full === null ? settled : full === from ? String(BigInt(full) + 1n) : full
  return { tenant: reader.tenant, from, to, firstDay, begunAt: row.begun_at, more: full !== null }
}

/** Writes that the turn was read. In its transaction, so that what was made of the entries and how far they are read agree. */
export async function endTurn(
  client: Queryable,
  { tenant, name }: Reader,
  turn: Turn,
  now: number,
): Promise<void> {
  await client.query(
    // What is still to be read may be of an earlier day, and is read at once.
    `update ledger_readers set read_to = $3::xid8, read_at = case when $5 then read_at else $4 end, turn_at = case when $5 then 'epoch' else $4 end where tenant = $1 and name = $2`,
    [tenant, name, turn.to, new Date(now), turn.more],
  )
}

/** The condition that keeps a statement to a stretch; its parameters are `$1` to `$4`, in the order of {@link stretchValues}. */
export const IN_STRETCH = `tenant = $1 and visible_xid >= $2::xid8 and visible_xid < $3::xid8 and day >= $4::date`

export function stretchValues({ tenant, from, to, firstDay }: Stretch): unknown[] {
  return [tenant, from, to, firstDay]
}

/** The entries of a stretch with one of these actions, in the order of their ids. */
export async function entriesIn(
  client: Queryable,
  stretch: Stretch,
  actions: readonly LedgerAction[],
): Promise<readonly WrittenEntry[]> {
  const { rows } = await client.query<{ entry: Buffer }>(
    `select entry from ledger where ${IN_STRETCH} and action = any($5) order by visible_xid, id`,
    [...stretchValues(stretch), actions],
  )
  return readable(rows)
}

const PAGE = 1_000
const PAGES_LIMIT = 500

/**
 * Hands over the entries whose ids lie in a range of time, page by page in the order of their ids, until `each` says
 * that it has seen enough; at most 500,000 of them.
 */
export async function entriesOfTime(
  client: Queryable,
  range: {
    readonly tenant: string
    readonly from: string
    readonly to: string
    readonly actions: readonly LedgerAction[]
  },
  each: (entries: readonly WrittenEntry[]) => Promise<boolean>,
): Promise<void> {
  const { tenant, to, actions } = range
  let from = range.from
  const days = [utcDay(timeOfId(from) - DAY), utcDay(timeOfId(to) + DAY)]
  for (let page = 0; page < PAGES_LIMIT; page++) {
    const { rows } = await client.query<{ id: string; entry: Buffer }>(
      `select id, entry from ledger where tenant = $1 and day >= $2::date and day <= $3::date and id >= $4 and id < $5 and action = any($6)
       order by id limit ${PAGE + 1}`,
      [tenant, ...days, from, to, actions],
    )
    const more = await each(readable(rows.slice(0, PAGE)))
    if (!more || rows.length <= PAGE) return
    from = rows[PAGE]!.id
  }
}

/** Entries by their ids, of the days from `firstDay` on. */
export async function entriesById(
  client: Queryable,
  tenant: string,
  firstDay: string,
  ids: readonly string[],
): Promise<readonly WrittenEntry[]> {
  if (ids.length === 0) return []
  const { rows } = await client.query<{ entry: Buffer }>(
    'select entry from ledger where tenant = $1 and day >= $2::date and id = any($3)',
    [tenant, firstDay, ids],
  )
  return readable(rows)
}

/** One that was tampered with is left out here: `trestle audit verify` finds it, and no reader must stand still for it. */
function readable(rows: readonly { readonly entry: Buffer }[]): readonly WrittenEntry[] {
  return rows.flatMap(({ entry }) => {
    try {
      return [decodeEntry(entry)]
    } catch {
      return []
    }
  })
}
