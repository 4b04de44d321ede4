import { DAY, RetryableError } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import { utcDay } from './entry.ts'
import { writeEntries } from './write.ts'

/** Days of entries that are kept unless the operator says otherwise. */
export const KEEP_DAYS = 30
const DAYS_AHEAD = 3
/** Batch rows that one call deletes at most, so that no statement takes long; the next call goes on. */
const PRUNE_AT_MOST = 200_000
/** Taken by whoever changes the ledger's partitions. The number only has to be unlike other locks of Trestle. */
const PARTITION_LOCK = 7_234_001

/**
 * Makes the partitions of yesterday, today and the next three days, beside the default partition that catches an
 * entry of any other day: a missing partition never refuses an entry. Call it before intake opens and a few times a
 * day. Returns the days that have no partition, because it was held up for over 200 ms or because the default
 * partition has entries of that day already; those entries stay there and are kept and dropped like any other.
 *
 * Idempotent, and safe on several nodes at once. Runs beside writers: a partition is attached, which takes no lock
 * against inserts into the others.
 */
export async function ensurePartitions(client: Queryable, now: number): Promise<readonly string[]> {
  const days = Array.from({ length: DAYS_AHEAD + 2 }, (_, i) => utcDay(now + (i - 1) * DAY))
  for (const day of days) await client.query(ensureDay(day))
  const { rows } = await client.query<{ day: string }>(
    `select day from unnest($1::text[], $2::text[]) as wanted (day, name) where to_regclass(name) is null`,
    [days, days.map(partitionOf)],
  )
  return rows.map((row) => row.day)
}

/** One statement, so that its advisory lock ends with it, whether or not a transaction is open. */
function ensureDay(day: string): string {
  const partition = partitionOf(day)
  const nextDay = utcDay(Date.parse(day) + DAY)
  return `
do $$ begin
  if to_regclass('${partition}') is not null then return; end if;
  perform pg_advisory_xact_lock(${PARTITION_LOCK});
  perform set_config('lock_timeout', '200ms', true);
  if to_regclass('${partition}') is null and not exists (select from ledger_default where day = '${day}') then
    create table ${partition} (like ledger including defaults);
    alter table ledger attach partition ${partition} for values from ('${day}') to ('${nextDay}');
  end if;
  perform set_config('lock_timeout', '0', true);
exception when lock_not_available then
  return;
end $$`
}

function partitionOf(day: string): string {
  return `ledger_${day.replaceAll('-', '')}`
}

/** What one call of {@link dropExpired} did. */
export interface Expired {
  /** Days whose entries were dropped, `YYYY-MM-DD`. */
  readonly days: readonly string[]
  /** Batches of all blocks up to this number are gone. 0: none. */
  readonly prunedThrough: number
  /** Whether more was due than one call takes. */
  readonly more: boolean
}

/**
 * Drops what is older than `keepDays` days: whole partitions, then the batches of blocks that lie wholly before
 * them. Blocks are kept for ever (about 400 bytes each), so the chain stays whole. Nothing goes whose batches are
 * not all sealed in blocks.
 *
 * What was dropped is itself written to the ledger (`ledger.expired`, with the first day kept and the last block
 * pruned), in the same transaction: the verifier takes a gap for retention only on such a statement, and only if
 * the block that holds it was signed `keepDays` after the gap.
 *
 * Call it in a transaction. Dropping a partition needs a short exclusive lock on the ledger; it waits 200 ms for it
 * and then throws a {@link RetryableError} `ledger_busy`, rather than hold up writers behind a long reader.
 */
export async function dropExpired(client: Queryable, now: number, keepDays = KEEP_DAYS): Promise<Expired> {
  const nothing: Expired = { days: [], prunedThrough: 0, more: false }
  if (!(await lockPartitions(client))) return nothing
  const keptSince = await firstDayToKeep(client, now, keepDays)
  const days = await expiredDays(client, keptSince)
  const pruned = await pruneBatches(client, keptSince)
  if (days.length === 0 && pruned.batches === 0) return nothing
  await writeEntries(client, [
    {
      tenant: 'default',
      at: now,
      actor: 'system',
      action: 'ledger.expired',
      target: 'ledger',
      outcome: 'dropped',
      detail: { keptSince, prunedThrough: pruned.through, keepDays, days },
    },
  ])
  await dropDays(client, keptSince, days)
  return { days, prunedThrough: pruned.through, more: pruned.more }
}

/** False if another node is at it. */
async function lockPartitions(client: Queryable): Promise<boolean> {
  const { rows } = await client.query<{ locked: boolean }>(
    `select pg_try_advisory_xact_lock(${PARTITION_LOCK}) as locked`,
  )
  return rows[0]!.locked
}

/** The day `keepDays` before today, or that of the oldest batch that is in no block yet. */
async function firstDayToKeep(client: Queryable, now: number, keepDays: number): Promise<string> {
  const { rows } = await client.query<{ at: Date | null }>(
    'select min(at) as at from ledger_batches where block is null',
  )
  const byAge = utcDay(now - keepDays * DAY)
  const unsealed = rows[0]!.at === null ? byAge : utcDay(rows[0]!.at.getTime())
  return unsealed < byAge ? unsealed : byAge
}

/** Days before `keptSince` that have a partition of their own. */
async function expiredDays(client: Queryable, keptSince: string): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `select relname as name from pg_inherits join pg_class on pg_class.oid = inhrelid
     where inhparent = 'ledger'::regclass and relname ~ '^ledger_[0-9]{8}$' and relname < $1 order by relname`,
    [partitionOf(keptSince)],
  )
  return rows.map(({ name }) => `${name.slice(7, 11)}-${name.slice(11, 13)}-${name.slice(13, 15)}`)
}

/** Deletes the batches of the oldest blocks: those sealed before `keptSince` whose batches are all from before it. */
async function pruneBatches(
  client: Queryable,
  keptSince: string,
): Promise<{ batches: number; through: number; more: boolean }> {
  const { rows } = await client.query<{ due: string; through: string }>(
    `with oldest as (select coalesce(min(block), 1) as number from ledger_batches where block is not null),
       due as (
         select coalesce(
           least(
             (select min(block) from ledger_batches where at >= $1::date at time zone 'UTC'),
             (select min(number) from ledger_blocks where at >= $1::date at time zone 'UTC')) - 1,
           (select max(number) from ledger_blocks), 0) as number),
       sized as (
         select number, sum(batches) over (order by number) as total from ledger_blocks
         where number >= (select number from oldest) and number <= (select number from due))
     select due.number as due, coalesce(
       (select max(number) from sized where total <= ${PRUNE_AT_MOST} or number = (select number from oldest)),
       due.number) as through
     from due`,
    [keptSince],
  )
  const through = Number(rows[0]!.through)
  const deleted = await client.query('delete from ledger_batches where block is not null and block <= $1', [
    through,
  ])
  return { batches: deleted.rowCount ?? 0, through, more: through < Number(rows[0]!.due) }
}

async function dropDays(client: Queryable, keptSince: string, days: readonly string[]): Promise<void> {
  await client.query('delete from ledger_default where day < $1::date', [keptSince])
  if (days.length === 0) return
  try {
    await client.query(`set local lock_timeout = '200ms'`)
    await client.query(`drop table ${days.map(partitionOf).join(', ')}`)
    await client.query(`set local lock_timeout = default`)
  } catch (cause) {
    if ((cause as { code?: unknown }).code !== '55P03') throw cause
    throw new RetryableError(
      'ledger_busy',
      'Old entries could not be dropped, because the ledger was in use for over 200 ms. Nothing was changed; try again later.',
      { cause },
    )
  }
}
