import type { EventId, RunId } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'

/** The first row of a run. */
export interface NewRun {
  readonly tenant: string
  readonly id: RunId
  readonly flow: string
  readonly flowVersion: number
  readonly eventId: EventId
  /** Idempotency keys derive from it: of the event and the flow, or of its own id where it is to have its effects anew. */
  readonly rootRunId: string
  readonly replayOf: RunId | undefined
  readonly laneKey: string | undefined
}

/**
 * A run that nobody has claimed this long after its wake-up is woken again: the node that took the wake-up may have
 * died. With the time that a sweep takes, it goes on elsewhere within 10 s.
 */
export const WAKE_AGAIN_SECONDS = 8

/**
 * Inserts queued runs, in the order given, each behind the runs that are in its lane already. Places in a lane are
 * given out under the lane's row lock, so their order is the order of commit.
 */
export async function insertRuns(client: Queryable, runs: readonly NewRun[]): Promise<void> {
  if (runs.length === 0) return
  const seqs = await takePlaces(client, runs)
  await client.query({
    name: 'insert_runs',
    text: `insert into runs (tenant, id, flow, flow_version, event_id, root_run_id, replay_of, lane_key, lane_seq, lane_open, state, due_at)
      select u.tenant, u.id, u.flow, u.flow_version, u.event_id, u.root_run_id, u.replay_of, u.lane_key, u.lane_seq,
             u.lane_key is not null, 'queued', now() + interval '${WAKE_AGAIN_SECONDS} seconds'
      from unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[])
        as u(tenant, id, flow, flow_version, event_id, root_run_id, replay_of, lane_key, lane_seq)`,
    values: [
      runs.map((run) => run.tenant),
      runs.map((run) => run.id),
      runs.map((run) => run.flow),
      runs.map((run) => run.flowVersion),
      runs.map((run) => run.eventId),
      runs.map((run) => run.rootRunId),
      runs.map((run) => run.replayOf ?? null),
      runs.map((run) => run.laneKey ?? null),
      seqs,
    ],
  })
}

async function takePlaces(client: Queryable, runs: readonly NewRun[]): Promise<(string | null)[]> {
  const counts = new Map<string, { tenant: string; flow: string; laneKey: string; count: number }>()
  for (const run of runs) {
    if (run.laneKey === undefined) continue
    const lane = counts.get(laneOf(run))
    if (lane) lane.count++
    else counts.set(laneOf(run), { tenant: run.tenant, flow: run.flow, laneKey: run.laneKey, count: 1 })
  }
  if (counts.size === 0) return runs.map(() => null)

  // Locked in one order by everybody, so that two batches cannot wait for each other.
  const lanes = [...counts.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, lane]) => lane)
  const { rows } = await client.query<{ tenant: string; flow: string; lane_key: string; last_seq: string }>({
    name: 'take_places',
    text: `insert into lanes as l (tenant, flow, lane_key, last_seq)
      select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
      on conflict (tenant, flow, lane_key) do update set last_seq = l.last_seq + excluded.last_seq
      returning tenant, flow, lane_key, last_seq`,
    values: [
      lanes.map((lane) => lane.tenant),
      lanes.map((lane) => lane.flow),
      lanes.map((lane) => lane.laneKey),
      lanes.map((lane) => lane.count),
    ],
  })
  const next = new Map<string, bigint>()
  for (const row of rows) {
    const lane = laneOf({ tenant: row.tenant, flow: row.flow, laneKey: row.lane_key })
    next.set(lane, BigInt(row.last_seq) - BigInt(counts.get(lane)!.count))
  }
  return runs.map((run) => {
    if (run.laneKey === undefined) return null
    const seq = next.get(laneOf(run))! + 1n
    next.set(laneOf(run), seq)
    return seq.toString()
  })
}

function laneOf(run: { tenant: string; flow: string; laneKey: string | undefined }): string {
  return `${run.tenant}\0${run.flow}\0${run.laneKey}`
}
