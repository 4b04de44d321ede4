import { newId, UsageError } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import type { LostTime } from '../flows/index.ts'
import type { Actor, LedgerEntry } from '../ledger/index.ts'

/**
 * Why the platform stands still.
 *
 * - `restored`: the database was put back from a copy.
 * - `rolled_back`: a node found at its start that the database is older than checkpoints that had left it.
 * - `operator`: a person wants it.
 */
export const HOLD_KINDS = ['restored', 'rolled_back', 'operator'] as const
export type HoldKind = (typeof HOLD_KINDS)[number]

/** A time in which what comes in is kept, and nothing is claimed and nothing leaves. */
export interface Hold {
  readonly id: `hld_${string}`
  readonly kind: HoldKind
  /** A sentence. */
  readonly reason: string
  readonly beganAt: Date
  readonly beganBy: string
  /** What the database does not know: from right before its copy ended until nothing of the former platform was at work. */
  readonly lostFrom: Date | undefined
  readonly lostTo: Date | undefined
  /** The evidence, as JSON: the backup, and the newest block of the ledger that was seen outside the database. */
  readonly detail: string
  readonly releasedAt: Date | undefined
  readonly releasedBy: string | undefined
}

interface HoldRow {
  readonly id: Hold['id']
  readonly kind: HoldKind
  readonly reason: string
  readonly began_at: Date
  readonly began_by: string
  readonly lost_from: Date | null
  readonly lost_to: Date | null
  readonly detail: string
  readonly released_at: Date | null
  readonly released_by: string | null
}

const COLUMNS = 'id, kind, reason, began_at, began_by, lost_from, lost_to, detail, released_at, released_by'

/** What every node goes by: the hold that is open, and every time that was ever lost. */
export interface HoldsRead {
  /** The oldest that is open. */
  readonly open: Hold | undefined
  readonly lostTimes: readonly LostTime[]
}

export async function readHolds(client: Queryable): Promise<HoldsRead> {
  const { rows } = await client.query<HoldRow>({
    name: 'read_holds',
    text: `select ${COLUMNS} from holds where released_at is null or lost_to is not null order by began_at, id`,
  })
  const holds = rows.map(holdOf)
  return {
    open: holds.find((hold) => hold.releasedAt === undefined),
    lostTimes: holds.flatMap(({ id, lostFrom, lostTo }) =>
      lostFrom && lostTo ? [{ id, from: lostFrom.getTime(), to: lostTo.getTime() }] : [],
    ),
  }
}

function holdOf(row: HoldRow): Hold {
  return {
    id: row.id,
    kind: row.kind,
    reason: row.reason,
    beganAt: row.began_at,
    beganBy: row.began_by,
    lostFrom: row.lost_from ?? undefined,
    lostTo: row.lost_to ?? undefined,
    detail: row.detail,
    releasedAt: row.released_at ?? undefined,
    releasedBy: row.released_by ?? undefined,
  }
}

export interface NewHold {
  readonly kind: HoldKind
  readonly reason: string
  readonly actor: Actor
  readonly now: number
  /** In milliseconds since 1970. `from`: the earliest that anything unknown can have been begun. */
  readonly lost?: { readonly from: number; readonly to: number }
  readonly detail?: object
}

/**
 * Begins a hold within the transaction. With a lost time every run that is in flight is in doubt from now on, but for
 * those that slept beyond it: they cannot have gone on.
 */
export async function beginHold(
  client: Queryable,
  hold: NewHold,
  writeEntries: (client: Queryable, entries: readonly LedgerEntry[]) => Promise<void>,
): Promise<Hold['id']> {
  const { kind, reason, actor, now, lost } = hold
  if (lost && lost.from > lost.to)
    throw new UsageError(
      'lost_time_invalid',
      `The former platform stopped at ${new Date(lost.to).toISOString()}, before the copy was made at ${new Date(lost.from).toISOString()}. Check both times.`,
    )
  const id: Hold['id'] = newId('hld')
  const detail = JSON.stringify(hold.detail ?? {})
  await client.query(
    `insert into holds (id, kind, reason, began_at, began_by, lost_from, lost_to, detail) values ($1, $2, $3, $4, $5, $6, $7, $8)`,
    [
      id,
      kind,
      reason,
      new Date(now),
      actor,
      lost ? new Date(lost.from) : null,
      lost ? new Date(lost.to) : null,
      detail,
    ],
  )
  const untouched = lost ? await keepUntouched(client, id, lost.to) : 0
  const entry = (action: LedgerEntry['action'], target: string): LedgerEntry => ({
    tenant: 'default',
    at: now,
    actor,
    action,
    target,
    outcome: kind,
    detail: {
      reason,
      ...(lost && {
        lostFrom: new Date(lost.from).toISOString(),
        lostTo: new Date(lost.to).toISOString(),
        untouchedRuns: untouched,
      }),
      ...hold.detail,
    },
  })
  await writeEntries(client, [
    ...(kind === 'restored' ? [entry('database.restored', 'database')] : []),
    entry('hold.begun', id),
  ])
  return id
}

/** Runs of which all that is open is one sleep beyond the lost time: nothing of them can have been done in it. */
async function keepUntouched(client: Queryable, hold: string, lostTo: number): Promise<number> {
  const { rowCount } = await client.query(
    `insert into hold_untouched_runs (tenant, run_id, hold_id)
     select tenant, id, $1 from runs
     where state = 'waiting' and node_id is null and due_at > $2 and waits like '[{"kind":"sleep"%'
       and case when waits like '[{"kind":"sleep"%' then json_array_length(waits::json) = 1 else false end`,
    [hold, new Date(lostTo)],
  )
  return rowCount ?? 0
}
