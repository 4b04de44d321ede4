import { MINUTE, type Clock } from '../base/index.ts'
import { transaction, type Database, type Queryable } from '../db/index.ts'
import type { RunRef } from '../dispatch/index.ts'
import { WAKE_AGAIN_SECONDS } from '../inbox/index.ts'
import { firstOfLanes, type FreedLane } from './lanes.ts'

/**
 * The sweep makes ready what is due: waits that are over, and runs whose wake-up was lost. It looks at nothing that is
 * not due. A queued run that is not first in its lane is put to sleep when it is found: it has no time any more, and
 * whoever frees the lane wakes it. A hand-over that was lost with its node, or for a fault, leaves a first run asleep;
 * such lanes are looked for at start, after a node died, after a fault, and now and then.
 */

/** Runs that one page of the sweep takes. */
const PAGE = 1000
/** Pages of one pass; more are left to the next. */
const MOST_PAGES = 50
/** Runs that one pass makes ready, about. */
const READY_AT_ONCE = 500
/** Lanes that one statement looks at. */
const LANES_AT_ONCE = 1000
/** How often lanes are looked at whose first run may be asleep, though nothing is known to have gone wrong. */
const LOOK_AT_LANES_MS = 5 * MINUTE

export interface SweepDeps {
  readonly database: Database
  readonly clock: Clock
  readonly wake: (client: Queryable, runs: readonly RunRef[]) => Promise<void>
}

/** The sweep of one node, once a second. */
export class Sweep {
  readonly #deps: SweepDeps
  /** When lanes were last looked at, on the monotonic clock; `undefined`: a hand-over may have been lost since. */
  #lanesAt: number | undefined

  constructor(deps: SweepDeps) {
    this.#deps = deps
  }

  /** A lane was freed, and whoever is next may not have been woken. */
  handOverLost(): void {
    this.#lanesAt = undefined
  }

  async pass(): Promise<void> {
    const now = this.#deps.clock.monotonic()
    const looks = this.#lanesAt === undefined || now - this.#lanesAt >= LOOK_AT_LANES_MS
    // What is lost from here on is looked for again.
    if (looks) this.#lanesAt = now
    try {
      if (looks) await rouseFirsts(this.#deps)
      await sweepDue(this.#deps)
    } catch (error) {
      this.handOverLost()
      throw error
    }
  }
}

/** Makes ready what is due, and puts to sleep what cannot go yet. Answers how many were made ready. */
export async function sweepDue({ database, clock, wake }: SweepDeps): Promise<number> {
  let ready = 0
  for (let page = 0; page < MOST_PAGES && ready < READY_AT_ONCE; page++) {
    const swept = await transaction(database.pool, async (client) => {
      const found = await sweepPage(client, clock.now())
      await wake(client, found.ready)
      return found
    })
    ready += swept.ready.length
    if (swept.lanes.length > 0) await lookAgain(swept.lanes, { database, wake })
    if (swept.all < PAGE) break
  }
  return ready
}

interface Swept {
  readonly all: number
  readonly ready: readonly RunRef[]
  /** Lanes of those that were put to sleep. */
  readonly lanes: readonly FreedLane[]
}

/** One page of what is due. It costs what is in the page, however many wait. */
export async function sweepPage(client: Queryable, now: number): Promise<Swept> {
  const { rows } = await client.query<RunRef & { flow: string; lane_key: string; may_go: boolean }>({
    name: 'sweep_due',
    // Who may go is as for a claim: the first of a lane, and what is undone before anything of it was executed.
    text: `with due as materialized (
        select r.tenant, r.id, not r.lane_open or (r.state = 'undoing' and r.fence = 0) or not exists (
            select 1 from runs first where first.tenant = r.tenant and first.flow = r.flow and first.lane_key = r.lane_key
              and first.lane_open and first.lane_seq < r.lane_seq) as may_go
        from runs r
        where r.state in ('queued', 'waiting', 'parked', 'undoing') and r.node_id is null and r.due_at <= $1
        order by r.due_at limit $2 for no key update of r skip locked)
      update runs r set state = case when due.may_go and r.state <> 'undoing' then 'queued' else r.state end,
        due_at = case when due.may_go or r.state <> 'queued' then $1::timestamptz + interval '${WAKE_AGAIN_SECONDS} seconds' end,
        updated_at = now()
      from due where r.tenant = due.tenant and r.id = due.id returning r.tenant, r.id, r.flow, r.lane_key, due.may_go`,
    values: [new Date(now), PAGE],
  })
  return {
    all: rows.length,
    ready: rows.filter((row) => row.may_go).map(({ tenant, id }) => ({ tenant, id })),
    lanes: rows
      .filter((row) => !row.may_go)
      .map(({ tenant, flow, lane_key }) => ({ tenant, flow, laneKey: lane_key })),
  }
}

/**
 * Wakes the first of lanes in which runs were put to sleep. Called after that is committed: a lane that was freed
 * before this is seen here; who frees it later finds the run asleep and wakes it.
 */
function lookAgain(
  lanes: readonly FreedLane[],
  { database, wake }: Pick<SweepDeps, 'database' | 'wake'>,
): Promise<void> {
  return transaction(database.pool, async (client) => {
    await wake(client, await firstOfLanes(client, lanes, { asleepOnly: true }))
  })
}

/** Wakes runs that are first in their lane and asleep: page by page through the lanes in which runs wait. */
export async function rouseFirsts({ database, wake }: Pick<SweepDeps, 'database' | 'wake'>): Promise<number> {
  let roused = 0
  let after: FreedLane = { tenant: '', flow: '', laneKey: '' }
  for (;;) {
    const lanes = await openLanes(database.pool, after)
    if (lanes.length > 0)
      await transaction(database.pool, async (client) => {
        const firsts = await firstOfLanes(client, lanes, { asleepOnly: true })
        roused += firsts.length
        await wake(client, firsts)
      })
    if (lanes.length < LANES_AT_ONCE) return roused
    after = lanes.at(-1)!
  }
}

/** The next lanes in which runs have a place: one look at the index for each, however many they are. */
async function openLanes(client: Queryable, after: FreedLane): Promise<FreedLane[]> {
  const { rows } = await client.query<{ tenant: string; flow: string; lane_key: string }>({
    name: 'open_lanes',
    text: `with recursive lane as (
        (select r.tenant, r.flow, r.lane_key from runs r where r.lane_open and (r.tenant, r.flow, r.lane_key) > ($1, $2, $3)
          order by r.tenant, r.flow, r.lane_key limit 1)
        union all
        (select next.tenant, next.flow, next.lane_key from lane l cross join lateral (
          select r.tenant, r.flow, r.lane_key from runs r where r.lane_open and (r.tenant, r.flow, r.lane_key) > (l.tenant, l.flow, l.lane_key)
          order by r.tenant, r.flow, r.lane_key limit 1) next))
      select tenant, flow, lane_key from lane limit $4`,
    values: [after.tenant, after.flow, after.laneKey, LANES_AT_ONCE],
  })
  return rows.map(({ tenant, flow, lane_key }) => ({ tenant, flow, laneKey: lane_key }))
}
