import { crashPoint, parseJson, type RunId } from '../base/index.ts'
import { transaction, type Database, type Queryable } from '../db/index.ts'
import type { RunRef, WakeUp } from '../dispatch/index.ts'
import type { StoredEvent } from '../inbox/index.ts'
import { lostTimeOf, untouchedRuns, type LostTime } from './restored.ts'
import type { ClaimedRun, JournalRow, LastAttempt, PendingStep, StepKind } from './run.ts'

export interface ClaimOptions {
  readonly database: Database
  readonly node: string
  readonly now: number
  /** Deletes the wake-ups in the same transaction. */
  readonly drop: (client: Queryable, wakeUps: readonly WakeUp[]) => Promise<void>
  /** Times that the database lost when it was put back from copies. Default: none. */
  readonly lost?: readonly LostTime[]
}

/**
 * Claims the runs that may advance now and loads what their executions start from. A run that may not (claimed
 * already, finished, not the first of its lane, not due) is left out; whoever makes it ready sends a wake-up.
 */
export async function claimRuns(
  runs: readonly RunRef[],
  wakeUps: readonly WakeUp[],
  options: ClaimOptions,
): Promise<ClaimedRun[]> {
  const { database, node, now, drop } = options
  const rows = await transaction(database.pool, async (client) => {
    const [held, claimed] = await Promise.all([
      // A statement of its own, in the same round trip: the other then concerns one shard's tables alone.
      client.query({ name: 'open_hold', text: 'select 1 from holds where released_at is null limit 1' }),
      claim(client, runs, node, now),
      drop(client, wakeUps),
    ])
    if (held.rows.length > 0) throw new InHold()
    return claimed
  }).catch((error: unknown) => {
    if (error instanceof InHold) return []
    throw error
  })
  crashPoint('runs.claimed')
  // A first execution has no history to load.
  const history = rows.filter((row) => row.fence !== '1')
  const [journal, attempts, lostOf] = await Promise.all([
    loadJournal(database.pool, history),
    loadLastAttempts(database.pool, history),
    loadLostTimes(database.pool, rows, options.lost ?? []),
  ])
  return rows.map((row) => claimedRun(row, journal.get(row.id), attempts.get(row.id), lostOf(row)))
}

/** Rolls a claim back: what was claimed and dropped is as before. */
class InHold extends Error {}

/** Runs of a flow that were begun and are with no node now, the oldest first: what a change of its code must fit. */
export async function loadRunsInFlight(
  client: Queryable,
  flow: string,
  most: number,
): Promise<readonly ClaimedRun[]> {
  return loadAsClaimed(
    client,
    `r.flow = $1 and r.state in ('queued', 'waiting', 'parked', 'held') and r.undo_to is null and r.fence > 0 and r.node_id is null
     order by r.id limit $2`,
    [flow, most],
  )
}

/** A run as its execution would see it now. The row must be locked by the caller, where it is to stay so. */
export async function loadRun(client: Queryable, { tenant, id }: RunRef): Promise<ClaimedRun | undefined> {
  return (await loadAsClaimed(client, 'r.tenant = $1 and r.id = $2', [tenant, id]))[0]
}

async function loadAsClaimed(
  client: Queryable,
  where: string,
  values: unknown[],
): Promise<readonly ClaimedRun[]> {
  const { rows } = await client.query<ClaimedRow>(
    `select r.*, coalesce(r.claimed_at, r.created_at) as claimed_at, e.id as event_id, e.type, e.occurred_at, e.received_at, e.data_at,
       d.content_type, d.body, n.name as connection_name, n.connector
     from runs r join events e on e.tenant = r.tenant and e.id = r.event_id
     join deliveries d on d.tenant = e.tenant and d.id = e.delivery_id
     join connections n on n.tenant = e.tenant and n.id = e.connection_id
     where ${where}`,
    values,
  )
  const [journal, attempts] = await Promise.all([loadJournal(client, rows), loadLastAttempts(client, rows)])
  return rows.map((row) => claimedRun(row, journal.get(row.id), attempts.get(row.id), undefined))
}

function claimedRun(
  row: ClaimedRow,
  journal: JournalRow[] = [],
  lastAttempts: LastAttempt[] = [],
  lost: ClaimedRun['lost'],
): ClaimedRun {
  return {
    tenant: row.tenant,
    id: row.id,
    flow: row.flow,
    flowVersion: row.flow_version,
    rootRunId: row.root_run_id,
    replayOf: row.replay_of ?? undefined,
    laneKey: row.lane_key ?? undefined,
    laneOpen: row.lane_open,
    state: row.state,
    fence: row.fence,
    claims: row.claims,
    claimedAt: row.claimed_at.getTime(),
    createdAt: row.created_at.getTime(),
    goesOnSince: (row.goes_on_since ?? row.created_at).getTime(),
    lost,
    connector: row.connector,
    event: row,
    undoTo: row.undo_to ?? undefined,
    reasonCode: row.reason_code ?? undefined,
    reason: row.reason ?? undefined,
    pending: row.waits === null ? [] : (parseJson(row.waits) as unknown as PendingStep[]),
    journal,
    lastAttempts,
  }
}

interface ClaimedRow extends StoredEvent {
  readonly tenant: string
  readonly id: RunId
  readonly flow: string
  readonly flow_version: number
  readonly root_run_id: string
  readonly replay_of: string | null
  readonly lane_key: string | null
  readonly lane_open: boolean
  readonly state: 'running' | 'undoing'
  readonly fence: string
  readonly claims: number
  readonly claimed_at: Date
  readonly created_at: Date
  readonly goes_on_since: Date | null
  readonly waits: string | null
  readonly undo_to: 'undone' | 'cancelled' | null
  readonly reason_code: string | null
  readonly reason: string | null
  readonly connector: string
}

async function claim(
  client: Queryable,
  runs: readonly RunRef[],
  node: string,
  now: number,
): Promise<ClaimedRow[]> {
  const { rows } = await client.query<ClaimedRow>({
    name: 'claim_runs',
    // Each wanted run is looked up by its key: joined as sets, the planner may read every run that is queued.
    text: `with wanted as materialized (select distinct tenant, id from unnest($1::text[], $2::text[]) as w(tenant, id) order by tenant, id),
      ready as (
        select r.tenant, r.id from wanted w cross join lateral (
          select r.tenant, r.id from runs r
          where r.tenant = w.tenant and r.id = w.id and r.node_id is null
            and (r.state in ('queued', 'undoing') or (r.state in ('waiting', 'parked') and r.due_at <= $4))
            -- One that was cancelled before anything of it was executed has no order to keep.
            and (not r.lane_open or (r.state = 'undoing' and r.fence = 0) or not exists (
              select 1 from runs first where first.tenant = r.tenant and first.flow = r.flow and first.lane_key = r.lane_key
                and first.lane_open and first.lane_seq < r.lane_seq))
          for no key update of r skip locked) r),
      claimed as (
        update runs r set state = case when r.state = 'undoing' then 'undoing' else 'running' end,
          fence = r.fence + 1, node_id = $3, claims = r.claims + 1,
          claimed_at = case when r.claims = 0 then $4 else coalesce(r.claimed_at, $4) end, updated_at = now()
        from ready where r.tenant = ready.tenant and r.id = ready.id
        returning r.*)
      select c.tenant, c.id, c.flow, c.flow_version, c.root_run_id, c.replay_of, c.lane_key, c.lane_open, c.state, c.fence, c.claims, c.claimed_at,
        c.created_at, c.goes_on_since, c.waits, c.undo_to, c.reason_code, c.reason,
        e.id as event_id, e.type, e.occurred_at, e.received_at, e.data_at, d.content_type, d.body, n.name as connection_name, n.connector
      from claimed c
      cross join lateral (select * from events e where e.tenant = c.tenant and e.id = c.event_id offset 0) e
      cross join lateral (select * from deliveries d where d.tenant = e.tenant and d.id = e.delivery_id offset 0) d
      cross join lateral (select * from connections n where n.tenant = e.tenant and n.id = e.connection_id offset 0) n`,
    values: [runs.map((run) => run.tenant), runs.map((run) => run.id), node, new Date(now)],
  })
  return rows
}

/** Costs a question only where something was lost once, and some of the runs may be concerned. */
async function loadLostTimes(
  client: Queryable,
  rows: readonly ClaimedRow[],
  lost: readonly LostTime[],
): Promise<(row: ClaimedRow) => LostTime | undefined> {
  const timesOf = (row: ClaimedRow): { createdAt: number; occurredAt: number | undefined } => ({
    createdAt: row.created_at.getTime(),
    occurredAt: row.occurred_at?.getTime(),
  })
  const concerned = rows.filter((row) => lostTimeOf(timesOf(row), lost) !== undefined)
  if (concerned.length === 0) return () => undefined
  const untouched = await untouchedRuns(client, concerned)
  return (row) =>
    lostTimeOf(
      timesOf(row),
      lost.filter(({ id }) => !untouched.has(`${row.tenant} ${row.id} ${id}`)),
    )
}

async function loadJournal(
  client: Queryable,
  runs: readonly RunRef[],
): Promise<ReadonlyMap<string, JournalRow[]>> {
  if (runs.length === 0) return new Map()
  const { rows } = await client.query<{
    run_id: string
    seq: number
    kind: StepKind
    name: string
    ordinal: number
    connection_id: string | null
    operation: string | null
    input_digest: Buffer | null
    outcome: JournalRow['outcome']
    result: Buffer | null
    error_code: string | null
    error: string | null
    undo: Buffer | null
    summary: string | null
    finished_at: Date
  }>({
    name: 'load_journal',
    text: `select run_id, seq, kind, name, ordinal, connection_id, operation, input_digest, outcome, result, error_code, error, undo, summary, finished_at
      from journal where (tenant, run_id) in (select * from unnest($1::text[], $2::text[])) order by run_id, seq`,
    values: [runs.map((run) => run.tenant), runs.map((run) => run.id)],
  })
  return groupBy(
    rows,
    (row) => row.run_id,
    (row) => ({
      seq: row.seq,
      kind: row.kind,
      name: row.name,
      ordinal: row.ordinal,
      connectionId: row.connection_id ?? undefined,
      operation: row.operation ?? undefined,
      inputDigest: row.input_digest ?? undefined,
      outcome: row.outcome,
      result: row.result ?? undefined,
      errorCode: row.error_code ?? undefined,
      error: row.error ?? undefined,
      undo: row.undo ?? undefined,
      summary: row.summary ?? undefined,
      finishedAt: row.finished_at.getTime(),
    }),
  )
}

async function loadLastAttempts(
  client: Queryable,
  runs: readonly RunRef[],
): Promise<ReadonlyMap<string, LastAttempt[]>> {
  if (runs.length === 0) return new Map()
  const { rows } = await client.query<{
    run_id: string
    name: string
    ordinal: number
    number: number
    generation: number
    open: boolean
    request: Buffer | null
    begun_at: Date
  }>({
    name: 'load_last_attempts',
    text: `select distinct on (run_id, name, ordinal) run_id, name, ordinal, number, generation, state is null as open, request, begun_at from attempts
      where (tenant, run_id) in (select * from unnest($1::text[], $2::text[])) order by run_id, name, ordinal, number desc`,
    values: [runs.map((run) => run.tenant), runs.map((run) => run.id)],
  })
  return groupBy(
    rows,
    (row) => row.run_id,
    (row) => ({
      name: row.name,
      ordinal: row.ordinal,
      number: row.number,
      generation: row.generation,
      open: row.open,
      request: row.request ?? undefined,
      begunAt: row.begun_at.getTime(),
    }),
  )
}

function groupBy<Row, Value>(
  rows: readonly Row[],
  key: (row: Row) => string,
  value: (row: Row) => Value,
): Map<string, Value[]> {
  const groups = new Map<string, Value[]>()
  for (const row of rows) {
    const group = groups.get(key(row))
    if (group) group.push(value(row))
    else groups.set(key(row), [value(row)])
  }
  return groups
}
