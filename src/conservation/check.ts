import { DAY, firstIdAt, HOUR, MINUTE, SECOND, timeOfId, type Clock } from '../base/index.ts'
import { transaction, type Database, type Queryable } from '../db/index.ts'
import { beginReading, endTurn, entriesIn, takeTurn, type Stretch } from '../ledger/index.ts'
import {
  balances,
  compare,
  countHour,
  dayOf,
  type Between,
  type DeclaredRow,
  type HourCount,
} from './balance.ts'
import { BIRTHS, bornIn, type Born, type Unlisted } from './born.ts'
import { findMissing } from './missing.ts'
import { addDeclared, checkedAt, newestHours, readDeclared, stalestHour, writeCounts } from './store.ts'

export interface ConservationOptions {
  readonly database: Pick<Database, 'pool'>
  readonly clock: Clock
  readonly tenant: string
}

/** The name under which it reads the ledger. */
const READER = 'conservation'
/** Turns follow each other at least this long apart, over all nodes. */
export const TURN_EVERY_MS = 5 * SECOND
/** Entries of the ledger that one turn reads, about. */
const ENTRIES_PER_TURN = 20_000
/** The running hour is counted anew this often; the others in turn, the one counted longest ago first. */
const RUNNING_HOUR_EVERY_MS = MINUTE
/** Hours that lie further back are left. */
export const COUNTED_BACK_MS = 30 * DAY
/** A delivery is read, and its events get their ids, within this time. */
const READ_WITHIN_MS = 10 * SECOND

/** From now on what comes to be is counted. Call it before anything comes in. */
export function beginConservation({ database, clock, tenant }: ConservationOptions): Promise<void> {
  return beginReading(database.pool, { tenant, name: READER }, clock.now())
}

/**
 * - `counted`: this node had the turn; `more`: there are more entries to read at once; `ms`: how long it took.
 * - `elsewhere`: another node has it, or has just had it.
 */
export type Counted =
  | { readonly as: 'counted'; readonly more: boolean; readonly ms: number; readonly broken: number }
  | { readonly as: 'elsewhere' }

/**
 * One turn: adds up what the new entries of the ledger say came to be, then counts the rows of one hour against it. The
 * counting is outside the transaction, which would hold up everybody who follows a listing for as long.
 */
export async function countOnce(options: ConservationOptions, everyMs = TURN_EVERY_MS / 2): Promise<Counted> {
  const { database, clock, tenant } = options
  const began = clock.monotonic()
  const read = await readOnce(options, everyMs)
  if (!read) return { as: 'elsewhere' }
  const { more, due } = read
  const broken = due ? await checkHour(database.pool, tenant, due, clock.now()) : 0
  return { as: 'counted', more, ms: clock.monotonic() - began, broken }
}

/** An hour that is due, what was declared of it, and by which transactions: its rows are counted of the same. */
interface DueHour {
  readonly hour: number
  readonly declared: readonly DeclaredRow[]
  readonly between: Between
}

function readOnce(
  { database, clock, tenant }: ConservationOptions,
  everyMs: number,
): Promise<{ readonly more: boolean; readonly due: DueHour | undefined } | undefined> {
  const reader = { tenant, name: READER }
  return transaction(database.pool, async (client) => {
    const now = clock.now()
    const turn = await takeTurn(client, reader, { now, everyMs, atMost: ENTRIES_PER_TURN })
    if (!turn) return undefined
    await addDeclared(client, tenant, await bornInStretch(client, turn))
    const hour = turn.more ? undefined : await nextHour(client, tenant, now)
    await endTurn(client, reader, turn, now)
    if (hour === undefined) return { more: turn.more, due: undefined }
    const declared = await readDeclared(client, tenant, hour)
    const between = { from: turn.begunAt, to: turn.to }
    return { more: turn.more, due: { hour, declared, between } }
  })
}

async function bornInStretch(client: Queryable, stretch: Stretch): Promise<readonly Born[]> {
  const { born, unlisted } = bornIn(await entriesIn(client, stretch, BIRTHS))
  const found = []
  for (const one of unlisted) found.push(...(await lookUp(client, stretch.tenant, one)))
  return [...born, ...found]
}

/**
 * Of a delivery whose entry was too long to be kept whole (some 500 events and more), what there is now: from here on
 * nothing of it can vanish unnoticed.
 */
async function lookUp(
  client: Queryable,
  tenant: string,
  { deliveryId, connectionId }: Unlisted,
): Promise<readonly Born[]> {
  const at = timeOfId(deliveryId)
  const events = await client.query<{ id: string }>(
    'select id from events where tenant = $1 and id >= $2 and id < $3 and delivery_id = $4',
    [tenant, firstIdAt('evt', at), firstIdAt('evt', at + READ_WITHIN_MS), deliveryId],
  )
  const ids = events.rows.map((row) => row.id)
  const runs = await client.query<{ id: string; flow: string }>(
    'select id, flow from runs where tenant = $1 and event_id = any($2)',
    [tenant, ids],
  )
  return [
    ...ids.map((id) => ({ id, connectionId, flow: '' })),
    ...runs.rows.map(({ id, flow }) => ({ id, connectionId, flow })),
  ]
}

async function nextHour(client: Queryable, tenant: string, now: number): Promise<number | undefined> {
  const running = Math.floor(now / HOUR) * HOUR
  const last = await checkedAt(client, tenant, running)
  if (last !== undefined && now - last >= RUNNING_HOUR_EVERY_MS) return running
  return stalestHour(client, tenant, now - COUNTED_BACK_MS)
}

/** Counts an hour and keeps what was found; gives how many counts do not balance. */
async function checkHour(client: Queryable, tenant: string, due: DueHour, now: number): Promise<number> {
  const counts = await countsOf(client, tenant, due)
  const kept = []
  for (const count of counts) {
    const search = count.expected > count.counted
    kept.push({
      ...count,
      missing: search ? await findMissing(client, tenant, { hour: due.hour, ...count }) : [],
    })
  }
  await writeCounts(client, tenant, due.hour, kept, now)
  return counts.filter((count) => !balances(count)).length
}

async function countsOf(
  client: Queryable,
  tenant: string,
  { hour, declared, between }: DueHour,
): Promise<readonly HourCount[]> {
  const ids = {
    event: [firstIdAt('evt', hour), firstIdAt('evt', hour + HOUR)] as const,
    run: [firstIdAt('run', hour), firstIdAt('run', hour + HOUR)] as const,
  }
  return compare(declared, await countHour(client, tenant, ids, between))
}

/** A count that does not balance, found by looking now. */
export interface Imbalance extends HourCount {
  readonly day: string
}

/** How a look by hand came out. */
export interface LookedBack {
  readonly hours: number
  readonly broken: readonly Imbalance[]
  /** When a node last read the ledger; `undefined`: none ever did. */
  readonly readAt: number | undefined
}

/** Counts the newest hours now, of what the nodes have read of the ledger, and writes nothing. */
export async function lookBack(client: Queryable, tenant: string, hours: number): Promise<LookedBack> {
  const { rows } = await client.query<{ begun_at: string; read_to: string; read_at: Date }>(
    'select begun_at::text, read_to::text, read_at from ledger_readers where tenant = $1 and name = $2',
    [tenant, READER],
  )
  const reader = rows[0]
  if (!reader) return { hours: 0, broken: [], readAt: undefined }
  const looked = await newestHours(client, tenant, hours)
  const broken: Imbalance[] = []
  for (const hour of looked) {
    const between = { from: reader.begun_at, to: reader.read_to }
    const declared = await readDeclared(client, tenant, hour)
    const counts = await countsOf(client, tenant, { hour, declared, between })
    broken.push(
      ...counts.filter((count) => !balances(count)).map((count) => ({ ...count, day: dayOf(hour) })),
    )
  }
  return { hours: looked.length, broken, readAt: reader.read_at.getTime() }
}
