import { createGroupCommit, tenantsApart, transaction, type Database, type Queryable } from '../db/index.ts'
import type { RunRef } from '../dispatch/index.ts'

export interface FreedLane {
  readonly tenant: string
  readonly flow: string
  readonly laneKey: string
}

/**
 * Wakes the next run of lanes that were freed. Called after the freeing is committed: a run that came meanwhile has
 * either seen the lane free, or is seen here. What a crash between the two leaves, the sweep finds.
 */
export interface LaneHandOver {
  freed(lane: FreedLane): Promise<void>
  drain(): Promise<void>
}

export function createLaneHandOver(options: {
  readonly database: Database
  readonly wake: (client: Queryable, runs: readonly RunRef[]) => Promise<void>
}): LaneHandOver {
  const commit = createGroupCommit<FreedLane, void>({
    key: (lane) => `${lane.tenant} ${lane.flow} ${lane.laneKey}`,
    lanes: 1,
    apart: tenantsApart(options.database, (lane) => lane.tenant),
    flush: (batch) =>
      transaction(options.database.pool, async (client) => {
        await options.wake(client, await firstOfLanes(client, batch))
        return batch.map(() => undefined)
      }),
  })
  return { freed: (lane) => commit.add(lane), drain: () => commit.drain() }
}

async function firstOfLanes(client: Queryable, lanes: readonly FreedLane[]): Promise<RunRef[]> {
  const { rows } = await client.query<RunRef & { state: string }>({
    name: 'first_of_lanes',
    text: `select first.tenant, first.id, first.state
      from (select distinct * from unnest($1::text[], $2::text[], $3::text[]) as l(tenant, flow, lane_key)) l
      cross join lateral (
        select r.tenant, r.id, r.state from runs r
        where r.tenant = l.tenant and r.flow = l.flow and r.lane_key = l.lane_key and r.lane_open
        order by r.lane_seq limit 1) first`,
    values: [
      lanes.map((lane) => lane.tenant),
      lanes.map((lane) => lane.flow),
      lanes.map((lane) => lane.laneKey),
    ],
  })
  return rows.filter((row) => row.state === 'queued').map(({ tenant, id }) => ({ tenant, id }))
}
