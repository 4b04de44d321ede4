import { createGroupCommit, tenantsApart, transaction, type Database, type Queryable } from '../db/index.ts'
import type { RunRef } from '../dispatch/index.ts'
import { WAKE_AGAIN_SECONDS } from '../inbox/index.ts'

export interface FreedLane {
  readonly tenant: string
  readonly flow: string
  readonly laneKey: string
}

/**
 * Wakes the next run of lanes that were freed. Called after the freeing is committed: a run that came meanwhile has
 * either seen the lane free, or is seen here. What a crash between the two leaves asleep is looked for when the node is
 * found dead.
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

/**
 * The first runs of these lanes, as far as they are queued. One that the sweep has put to sleep gets a time again in the
 * same transaction, so that it is found should its wake-up be lost. `asleepOnly`: no others.
 */
export async function firstOfLanes(
  client: Queryable,
  lanes: readonly FreedLane[],
  { asleepOnly = false }: { readonly asleepOnly?: boolean } = {},
): Promise<RunRef[]> {
  const { rows } = await client.query<RunRef & { asleep: boolean }>({
    name: 'first_of_lanes',
    text: `with firsts as materialized (
        select first.tenant, first.id, first.due_at is null as asleep
        from (select distinct * from unnest($1::text[], $2::text[], $3::text[]) as l(tenant, flow, lane_key)) l
        cross join lateral (
          select r.tenant, r.id, r.state, r.due_at from runs r
          where r.tenant = l.tenant and r.flow = l.flow and r.lane_key = l.lane_key and r.lane_open
          order by r.lane_seq limit 1) first
        where first.state = 'queued'),
      sleeping as (
        select r.tenant, r.id from runs r join firsts on r.tenant = firsts.tenant and r.id = firsts.id
        where firsts.asleep and r.state = 'queued' and r.due_at is null order by r.tenant, r.id for no key update of r),
      roused as (
        update runs r set due_at = now() + interval '${WAKE_AGAIN_SECONDS} seconds', updated_at = now() from sleeping
        where r.tenant = sleeping.tenant and r.id = sleeping.id)
      select tenant, id, asleep from firsts`,
    values: [
      lanes.map((lane) => lane.tenant),
      lanes.map((lane) => lane.flow),
      lanes.map((lane) => lane.laneKey),
    ],
  })
  return rows.filter((row) => row.asleep || !asleepOnly).map(({ tenant, id }) => ({ tenant, id }))
}
