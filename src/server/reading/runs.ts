import { parseJson } from '../../base/index.ts'
import type { Queryable } from '../../db/index.ts'
import type { AttemptState, RunState } from '../../define/index.ts'
import type { PendingStep } from '../../flows/index.ts'
import type { LaneHead, LanePlace, RunFacts } from './words.ts'

/** Columns of {@link RunRow}, of `runs`. */
export const RUN_COLUMNS =
  'id, flow, flow_version, event_id, replay_of, lane_key, lane_seq::text, lane_open, state, due_at, waits, undo_to, reason_code, reason, created_at, updated_at, finished_at'

export interface RunRow {
  readonly id: string
  readonly flow: string
  readonly flow_version: number
  readonly event_id: string
  readonly replay_of: string | null
  readonly lane_key: string | null
  readonly lane_seq: string | null
  readonly lane_open: boolean
  readonly state: RunState
  readonly due_at: Date | null
  readonly waits: string | null
  readonly undo_to: string | null
  readonly reason_code: string | null
  readonly reason: string | null
  readonly created_at: Date
  readonly updated_at: Date
  readonly finished_at: Date | null
}

export interface StepRow {
  readonly run_id: string
  readonly seq: number
  readonly kind: 'operation' | 'local' | 'sleep' | 'wait' | 'undo'
  readonly name: string
  readonly ordinal: number
  readonly connection_id: string | null
  readonly operation: string | null
  readonly outcome: 'succeeded' | 'failed' | 'skipped'
  readonly error_code: string | null
  readonly error: string | null
  readonly summary: string | null
  readonly finished_at: Date
}

export interface StepContents {
  readonly seq: number
  /** JSON. */
  readonly result: Buffer | null
  /** JSON. */
  readonly undo: Buffer | null
  /** Together with those of later steps they were too large to be read. */
  readonly omitted: boolean
}

export interface AttemptRow {
  readonly run_id: string
  readonly name: string
  readonly ordinal: number
  readonly number: number
  readonly id: string
  readonly connection_id: string | null
  readonly operation: string | null
  readonly generation: number
  readonly idempotency_key: string | null
  readonly state: AttemptState | null
  readonly status: number | null
  readonly code: string | null
  readonly reason: string | null
  readonly excerpt: string | null
  readonly begun_at: Date
  readonly finished_at: Date | null
}

/** Most steps, and most attempts, that are read of one run. */
export const RUN_ROWS_LIMIT = 1000

export async function readRun(client: Queryable, tenant: string, id: string): Promise<RunRow | undefined> {
  const { rows } = await client.query<RunRow>(
    `select ${RUN_COLUMNS} from runs where tenant = $1 and id = $2`,
    [tenant, id],
  )
  return rows[0]
}

/** Finished steps of these runs in their order, the newest `most` of each. */
export async function readSteps(
  client: Queryable,
  tenant: string,
  runs: readonly string[],
  most: number,
): Promise<readonly StepRow[]> {
  if (runs.length === 0) return []
  const { rows } = await client.query<StepRow>(
    `select step.* from unnest($2::text[]) as asked(run_id) cross join lateral (
       select run_id, seq, kind, name, ordinal, connection_id, operation, outcome, error_code, error, summary, finished_at
       from journal j where j.tenant = $1 and j.run_id = asked.run_id order by seq desc limit $3) step
     order by run_id, seq`,
    [tenant, [...runs], most],
  )
  return rows
}

/** Bytes of results that are read of one run, over all its steps. */
const CONTENTS_LIMIT = 8 * 1024 * 1024

/** What the finished steps of a run gave, the newest first, until they are too large together. */
export async function readStepContents(
  client: Queryable,
  tenant: string,
  run: string,
  limit: number = CONTENTS_LIMIT,
): Promise<ReadonlyMap<number, StepContents>> {
  const { rows } = await client.query<StepContents>(
    `select seq, sum > $4 as omitted, case when sum <= $4 then result end as result, case when sum <= $4 then undo end as undo
     from (select seq, result, undo,
             sum(coalesce(octet_length(result), 0) + coalesce(octet_length(undo), 0)) over (order by seq desc) as sum
           from journal where tenant = $1 and run_id = $2 order by seq desc limit $3) summed`,
    [tenant, run, RUN_ROWS_LIMIT, limit],
  )
  return new Map(rows.map((row) => [row.seq, row]))
}

/** Attempts of these runs in the order in which they were begun, the newest `most` of each. */
export async function readAttempts(
  client: Queryable,
  tenant: string,
  runs: readonly string[],
  most: number = RUN_ROWS_LIMIT,
): Promise<readonly AttemptRow[]> {
  if (runs.length === 0) return []
  const { rows } = await client.query<AttemptRow>(
    `select attempt.* from unnest($2::text[]) as asked(run_id) cross join lateral (
       select run_id, name, ordinal, number, id, connection_id, operation, generation, idempotency_key, state, status, code, reason, excerpt, begun_at, finished_at
       from attempts a where a.tenant = $1 and a.run_id = asked.run_id order by begun_at desc limit $3) attempt
     order by run_id, begun_at, number`,
    [tenant, [...runs], most],
  )
  return rows
}

/** Positions in a lane are counted up to this. */
const LANE_LIMIT = 1000

/** A run's place in its lane; `undefined` where it has none, or has left it. */
export async function readLanePlace(
  client: Queryable,
  tenant: string,
  run: Pick<RunRow, 'flow' | 'lane_key' | 'lane_seq' | 'lane_open'>,
): Promise<LanePlace | undefined> {
  if (run.lane_key === null || run.lane_seq === null || !run.lane_open) return undefined
  const { rows } = await client.query<Pick<RunRow, 'id' | 'state' | 'reason' | 'waits'>>(
    `select id, state, reason, waits from runs where tenant = $1 and flow = $2 and lane_key = $3 and lane_open and lane_seq < $4
     order by lane_seq limit $5`,
    [tenant, run.flow, run.lane_key, run.lane_seq, LANE_LIMIT],
  )
  return { position: rows.length + 1, behind: rows[0] && laneHead(rows[0]) }
}

/** The first run of a lane, as those behind it are told of it. */
export function laneHead(row: Pick<RunRow, 'id' | 'state' | 'reason' | 'waits'>): LaneHead {
  return { id: row.id, state: row.state, reason: row.reason ?? undefined, waits: waitsOf(row) }
}

/** What a suspended run waits for. Empty where the row cannot be read: it is of a later version, say. */
export function waitsOf(run: Pick<RunRow, 'waits' | 'state'>): readonly PendingStep[] {
  // A run that was claimed keeps the waits that it had until it is suspended again.
  if (run.waits === null || run.state === 'running') return []
  try {
    return parseJson(run.waits) as unknown as PendingStep[]
  } catch {
    return []
  }
}

/** Which step a journal row, an attempt or a wait belongs to. */
export function stepKey(step: { readonly name: string; readonly ordinal: number }): string {
  return `${step.name}\0${step.ordinal}`
}

/** What {@link runWords} wants to know of a row. */
export function factsOf(
  row: RunRow,
  waits: readonly PendingStep[],
  lane: LanePlace | undefined,
  lastAnswer?: string,
): RunFacts {
  return {
    lastAnswer,
    state: row.state,
    reason: row.reason ?? undefined,
    createdAt: row.created_at.getTime(),
    finishedAt: row.finished_at?.getTime(),
    waits,
    lane,
  }
}
