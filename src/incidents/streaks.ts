import { DAY, MINUTE } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import { entriesById, IN_STRETCH, stretchValues, type Stretch } from '../ledger/index.ts'

/** The calls of one operation over one connection, as long as they fail. */
export interface Streak {
  readonly connectionId: string
  /** `connection.operation`, as the ledger names it. */
  readonly target: string
  /** Failing calls since the last one that succeeded. */
  readonly inRow: number
  /** All that failed since `since`. */
  readonly total: number
  /** `inRow` has reached {@link FAILURES_IN_ROW}: it lasts until calls have been succeeding for {@link CALM_MS}. */
  readonly alerted: boolean
  readonly since: number
  readonly failedAt: number
  /** The last call that succeeded after a failure. */
  readonly succeededAt: number | undefined
  readonly code: string
  readonly reason: string
  /** Runs whose calls failed, at most {@link RUNS_REMEMBERED}. */
  readonly runIds: readonly string[]
}

/** What a stretch of the ledger says about one operation over one connection. */
export interface CallsSeen {
  readonly connectionId: string
  readonly target: string
  readonly succeededAt: number | undefined
  /** Of the calls after the last one that succeeded. */
  readonly failures: number
  readonly firstFailedAt: number | undefined
  readonly failedAt: number | undefined
  readonly code: string
  readonly reason: string
  readonly runIds: readonly string[]
}

/** Failing calls in a row that are an incident. */
export const FAILURES_IN_ROW = 3
/** It is over when calls have succeeded and none has failed for this long: half of all calls failing is one incident, not a hundred. */
export const CALM_MS = MINUTE
/** Without any call for this long nobody knows, and it is not kept open. */
export const FORGET_MS = 7 * DAY
export const RUNS_REMEMBERED = 200

/** The streak after a stretch of the ledger; `undefined` where nothing is wrong. */
export function nextStreak(before: Streak | undefined, seen: CallsSeen): Streak | undefined {
  const { connectionId, target, succeededAt, failures } = seen
  const broken = succeededAt !== undefined
  const kept = before && (before.alerted || !broken) ? before : undefined
  const inRow = (broken ? 0 : (before?.inRow ?? 0)) + failures
  if (!kept && failures === 0) return undefined
  const runIds = [...new Set([...(kept?.runIds ?? []), ...seen.runIds])].slice(0, RUNS_REMEMBERED)
  return {
    connectionId,
    target,
    inRow,
    total: (kept?.total ?? 0) + failures,
    alerted: (kept?.alerted ?? false) || inRow >= FAILURES_IN_ROW,
    since: kept?.since ?? seen.firstFailedAt!,
    failedAt: seen.failedAt ?? kept!.failedAt,
    succeededAt: succeededAt ?? kept?.succeededAt,
    code: failures > 0 ? seen.code : kept!.code,
    reason: failures > 0 ? seen.reason : kept!.reason,
    runIds,
  }
}

/** Whether the streak says nothing any more. */
export function isOver(streak: Streak, now: number): boolean {
  if (now - streak.failedAt >= FORGET_MS) return true
  if (!streak.alerted || streak.inRow > 0 || streak.succeededAt === undefined) return false
  return now - streak.failedAt >= CALM_MS
}

const ANSWERED = `('call.succeeded', 'call.looked_up')`

/** Brings the streaks forward over a stretch of the ledger. */
export async function foldCalls(client: Queryable, stretch: Stretch, now: number): Promise<void> {
  const before = await readStreaks(client, stretch.tenant)
  const seen = await callsIn(client, stretch, [...before.values()])
  for (const calls of seen) {
    const key = keyOf(calls)
    const after = nextStreak(before.get(key), calls)
    if (after) before.set(key, after)
    else if (before.delete(key)) await removeStreak(client, stretch.tenant, calls)
  }
  const touched = new Set(seen.map(keyOf))
  for (const [key, streak] of before) {
    if (isOver(streak, now)) await removeStreak(client, stretch.tenant, streak)
    else if (touched.has(key)) await writeStreak(client, stretch.tenant, streak)
  }
}

/**
 * An outage stands for the calls that it covers, and they are counted anew when it is over. Those that have an incident
 * of their own, which is told of already, are counted on until that is over.
 */
export async function forgetCovered(
  client: Queryable,
  tenant: string,
  { connectionId, target }: { readonly connectionId: string; readonly target: string },
): Promise<void> {
  await client.query(
    `delete from call_streaks s where s.tenant = $1 and s.connection_id = $2 and (s.target = $3 or starts_with(s.target, $3 || '.'))
       and not exists (select 1 from incidents i where i.tenant = s.tenant and i.kind = 'failing_calls' and i.subject = s.connection_id || ' ' || s.target and i.state <> 'resolved')`,
    [tenant, connectionId, target],
  )
}

function keyOf({ connectionId, target }: { readonly connectionId: string; readonly target: string }): string {
  return `${connectionId} ${target}`
}

interface StreakRow {
  readonly connection_id: string
  readonly target: string
  readonly in_row: number
  readonly total: number
  readonly alerted: boolean
  readonly since: Date
  readonly failed_at: Date
  readonly succeeded_at: Date | null
  readonly code: string
  readonly reason: string
  readonly run_ids: readonly string[]
}

async function readStreaks(client: Queryable, tenant: string): Promise<Map<string, Streak>> {
  const { rows } = await client.query<StreakRow>('select * from call_streaks where tenant = $1', [tenant])
  return new Map(rows.map((row) => [`${row.connection_id} ${row.target}`, asStreak(row)]))
}

export function asStreak(row: StreakRow): Streak {
  return {
    connectionId: row.connection_id,
    target: row.target,
    inRow: row.in_row,
    total: row.total,
    alerted: row.alerted,
    since: row.since.getTime(),
    failedAt: row.failed_at.getTime(),
    succeededAt: row.succeeded_at?.getTime(),
    code: row.code,
    reason: row.reason,
    runIds: row.run_ids,
  }
}

interface SeenRow {
  readonly connection_id: string
  readonly target: string
  readonly succeeded_at: Date | null
  readonly failures: string
  readonly first_failed_at: Date | null
  readonly failed_at: Date | null
  readonly last_failure: string | null
  readonly run_ids: readonly string[] | null
}

/**
 * Counted by the database, so that of thousands of calls that succeed a row for each operation is read, and only where
 * something failed or had failed before.
 */
async function callsIn(
  client: Queryable,
  stretch: Stretch,
  known: readonly Streak[],
): Promise<readonly CallsSeen[]> {
  const { rows } = await client.query<SeenRow>(
    `select connection_id, target, max(at) filter (where ok) as succeeded_at, count(*) filter (where counts)::text as failures,
       min(at) filter (where counts) as first_failed_at, max(at) filter (where counts) as failed_at,
       max(id) filter (where counts) as last_failure, (array_agg(distinct run_id) filter (where counts and run_id is not null))[1:${RUNS_REMEMBERED}] as run_ids
     from (select *, not ok and (last_ok is null or at > last_ok) as counts
           from (select connection_id, target, id, at, run_id, action in ${ANSWERED} as ok,
                   max(at) filter (where action in ${ANSWERED}) over (partition by connection_id, target) as last_ok
                 from ledger where ${IN_STRETCH} and action in ('call.succeeded', 'call.looked_up', 'call.failed', 'call.in_doubt', 'call.quarantined')
                   and connection_id is not null) as calls) as judged
     group by connection_id, target
     having bool_or(counts) or (connection_id, target) in (select * from unnest($5::text[], $6::text[]))`,
    [
      ...stretchValues(stretch),
      known.map((streak) => streak.connectionId),
      known.map((streak) => streak.target),
    ],
  )
  const last = await entriesById(
    client,
    stretch.tenant,
    stretch.firstDay,
    rows.flatMap((row) => (row.last_failure === null ? [] : [row.last_failure])),
  )
  const why = new Map(last.map((entry) => [entry.id as string, whyOf(entry.detail)]))
  return rows.map((row) => ({
    connectionId: row.connection_id,
    target: row.target,
    succeededAt: row.succeeded_at?.getTime(),
    failures: Number(row.failures),
    firstFailedAt: row.first_failed_at?.getTime(),
    failedAt: row.failed_at?.getTime(),
    ...(why.get(row.last_failure ?? '') ?? { code: 'unknown', reason: 'The ledger gives no reason.' }),
    runIds: row.run_ids ?? [],
  }))
}

function whyOf(detail: unknown): { readonly code: string; readonly reason: string } {
  const { code, reason } = (detail ?? {}) as { readonly code?: unknown; readonly reason?: unknown }
  return {
    code: typeof code === 'string' ? code : 'unknown',
    reason: typeof reason === 'string' ? reason : 'The ledger gives no reason.',
  }
}

async function writeStreak(client: Queryable, tenant: string, streak: Streak): Promise<void> {
  await client.query(
    `insert into call_streaks (tenant, connection_id, target, in_row, total, alerted, since, failed_at, succeeded_at, code, reason, run_ids)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
     on conflict (tenant, connection_id, target) do update set in_row = excluded.in_row, total = excluded.total, alerted = excluded.alerted,
       since = excluded.since, failed_at = excluded.failed_at, succeeded_at = excluded.succeeded_at, code = excluded.code,
       reason = excluded.reason, run_ids = excluded.run_ids`,
    [
      tenant,
      streak.connectionId,
      streak.target,
      streak.inRow,
      streak.total,
      streak.alerted,
      new Date(streak.since),
      new Date(streak.failedAt),
      streak.succeededAt === undefined ? null : new Date(streak.succeededAt),
      streak.code,
      storable(streak.reason),
      [...streak.runIds],
    ],
  )
}

async function removeStreak(
  client: Queryable,
  tenant: string,
  { connectionId, target }: { readonly connectionId: string; readonly target: string },
): Promise<void> {
  await client.query('delete from call_streaks where tenant = $1 and connection_id = $2 and target = $3', [
    tenant,
    connectionId,
    target,
  ])
}

/** PostgreSQL's text refuses \u0000 and lone surrogates, and a provider's words may hold them. */
export function storable(text: string): string {
  return text.replaceAll('\u0000', '\ufffd').toWellFormed()
}
