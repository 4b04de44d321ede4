import { UsageError } from '../base/index.ts'
import type { Queryable } from './connect.ts'

/** Most rows on one page. */
export const PAGE_LIMIT = 1_000

export interface PageOptions {
  /** {@link Page.next} of the page before. Left out: from the start. */
  readonly cursor?: string | undefined
  readonly order: 'oldest_first' | 'newest_first'
  /** Most rows, 1 to 1,000. */
  readonly limit: number
  /** Number of the statement's first free parameter: 2 where `$1` is taken. */
  readonly parameter: number
}

/** Parts of the statement that reads one page, and what makes a page of its rows. */
export interface PageQuery {
  /** To be selected beside the columns that are wanted; `id` must be one of them. */
  readonly column: string
  /** A condition of the where clause. */
  readonly where: string
  /** Order and limit: the end of the statement. */
  readonly tail: string
  /** Values of the parameters, from the first free one on. */
  readonly values: readonly string[]
  read<Row extends PageRow>(rows: readonly Row[]): Page<Omit<Row, 'page_xid'>>
}

interface PageRow {
  readonly id: string
  readonly page_xid: string
}

/** One page of a listing. */
export interface Page<Row> {
  readonly rows: readonly Row[]
  /**
   * Where the next page begins. `oldest_first` has one even at the end, as soon as there was a row: ask again with
   * it later. `newest_first` has none at the end.
   */
  readonly next: string | undefined
  /** Whether there are more rows now. */
  readonly more: boolean
}

/**
 * Reads a table page by page. For any table with the columns `tenant`, `id` and
 * `visible_xid xid8 default pg_current_xact_id()` and an index over the three in the order `(tenant, visible_xid, id)`.
 *
 *     const page = pageAfter({ cursor, order: 'newest_first', limit: 50, parameter: 2 })
 *     const { rows } = await client.query(
 *       `select id, type, ${page.column} from events where tenant = $1 and ${page.where} ${page.tail}`,
 *       [tenant, ...page.values],
 *     )
 *     return page.read(rows)
 *
 * - `newest_first`, for looking: shows what is committed, at once, and from its first page to its last has every row
 *   that was committed when it began. What commits meanwhile may be missing; it is there when listed anew.
 * - `oldest_first`, for following: never misses a row, however late its transaction commits. Ids and times cannot do
 *   this, since both are taken before the commit, and a row may appear behind a cursor that has passed its place. Here
 *   rows are ordered by the transaction that wrote them, and a page ends before the oldest transaction still open
 *   (`pg_snapshot_xmin`): every smaller number is settled, so nothing appears behind a cursor. The price: a row is
 *   shown only once all transactions that began before its own have ended, those in other databases of the cluster
 *   too. Normally that is a matter of milliseconds; one left open holds up whoever follows.
 *
 * Transaction numbers mean nothing in another cluster: after restoring a dump into one call {@link settleRestoredRows},
 * and take cursors from before for void.
 *
 * Throws a {@link UsageError} `cursor_invalid` or `limit_invalid`.
 */
export function pageAfter(options: PageOptions): PageQuery {
  const { cursor, order, limit, parameter } = options
  if (!Number.isInteger(limit) || limit < 1 || limit > PAGE_LIMIT)
    throw new UsageError('limit_invalid', `A page has 1 to ${PAGE_LIMIT} rows, not ${limit}.`)
  const after = cursor === undefined ? undefined : decodeCursor(cursor)
  const follows = order === 'oldest_first'
  const [sign, direction] = follows ? ['>', 'asc'] : ['<', 'desc']
  const conditions = [
    ...(follows ? ['visible_xid < pg_snapshot_xmin(pg_current_snapshot())'] : []),
    ...(after ? [`(visible_xid, id) ${sign} ($${parameter}::xid8, $${parameter + 1}::text)`] : []),
  ]
  return {
    column: 'visible_xid::text as page_xid',
    where: conditions.join(' and ') || 'true',
    // One more than asked for tells whether there are more.
    tail: `order by visible_xid ${direction}, id ${direction} limit ${limit + 1}`,
    values: after ?? [],
    read(rows) {
      const more = rows.length > limit
      const kept = rows.slice(0, limit)
      const last = kept.at(-1)
      const end = last ? encodeCursor(last.page_xid, last.id) : cursor
      return { rows: kept.map(withoutXid), next: more || follows ? end : undefined, more }
    },
  }
}

function withoutXid<Row extends PageRow>(row: Row): Omit<Row, 'page_xid'> {
  const { page_xid: _xid, ...rest } = row
  return rest
}

/** The cursor for `oldest_first` that has passed everything settled by now; what comes later is after it. */
export async function cursorOfNow(client: Queryable): Promise<string> {
  const { rows } = await client.query<{ xid: string }>(
    'select pg_snapshot_xmin(pg_current_snapshot())::text as xid',
  )
  // Ids begin with a letter, so every row of that transaction is after it.
  return encodeCursor(rows[0]!.xid, '0')
}

function encodeCursor(xid: string, id: string): string {
  return Buffer.from(`${xid}.${id}`).toString('base64url')
}

function decodeCursor(cursor: string): [xid: string, id: string] {
  const text = Buffer.from(cursor, 'base64url').toString('utf8')
  const [, xid, id] = /^(\d{1,19})\.([^\0]{1,256})$/.exec(text) ?? []
  // Whoever writes it otherwise did not get it from us.
  if (xid === undefined || id === undefined || Buffer.from(text).toString('base64url') !== cursor)
    throw new UsageError(
      'cursor_invalid',
      'The cursor is not one that was given out. Take "next" of the page before as it is, or begin without one.',
    )
  return [xid, id]
}

/**
 * Makes rows listable again that were written in another cluster and came here by a dump: their transaction numbers
 * lie in this cluster's future. They come to stand before all others. Returns how many there were. Safe at any time:
 * a row that can be seen and whose number no transaction here has had yet can only be such a one.
 */
export async function settleRestoredRows(
  client: Queryable,
  table: 'events' | 'runs' | 'ledger',
): Promise<number> {
  const { rowCount } = await client.query(
    `update ${table} set visible_xid = '0'::xid8 where visible_xid >= pg_snapshot_xmax(pg_current_snapshot())`,
  )
  return rowCount ?? 0
}
