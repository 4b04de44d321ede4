import { SECOND, type Clock } from '../base/index.ts'
import {
  budgetPerSecond,
  closeBreaker,
  groupsOf,
  parkedFor,
  readCorrectedLimits,
  WHOLE,
  type BreakerKey,
  type SharedBreaker,
} from '../calls/index.ts'
import { transaction, type Database, type Queryable } from '../db/index.ts'
import type { AnyConnector } from '../define/index.ts'
import type { RunRef } from '../dispatch/index.ts'
import type { LedgerEntry } from '../ledger/index.ts'
import { RAMP_POLICY, releaseNow, type RampPolicy } from '../resilience/index.ts'
import { countUnderWay, firstWaiting, makeReady, WAITED_FOR } from './letGo.ts'

/**
 * Runs that wait for an outage are rows without a time: no sweep looks at them. When the provider is back they are let
 * go here, the oldest first, at the pace of the ramp and then of the budget. In a lane only the first run waits, so
 * lanes keep their order.
 */

/** How often those are let go whose turn it is. */
export const DRAIN_EVERY_MS = SECOND / 5
/** How often it is looked for runs that wait for a breaker which is closed. */
export const FORGOTTEN_EVERY_MS = 5 * SECOND
/** Forgotten runs that one look makes ready. */
const FORGOTTEN_AT_ONCE = 100

export interface DrainDeps {
  readonly database: Database
  readonly clock: Clock
  readonly wake: (client: Queryable, runs: readonly RunRef[]) => Promise<void>
  readonly writeEntries: (client: Queryable, entries: readonly LedgerEntry[]) => Promise<void>
  readonly connectorNamed: (name: string) => AnyConnector | undefined
  readonly ramp?: RampPolicy
}

/**
 * Lets go, for each of these breakers that is half open, as many as may go now. Of all nodes one at a time does it for
 * one of them.
 */
export async function drainOutages(breakers: readonly SharedBreaker[], deps: DrainDeps): Promise<void> {
  for (const one of breakers)
    if (one.breaker.state === 'half_open' && !isShutAsWhole(one, breakers))
      await drainOne(one, breakers, deps)
}

/** A group has come back, and its connection has not. */
function isShutAsWhole(one: SharedBreaker, breakers: readonly SharedBreaker[]): boolean {
  return breakers.some(
    ({ tenant, connectionId, group, breaker }) =>
      tenant === one.tenant &&
      connectionId === one.connectionId &&
      group === WHOLE &&
      breaker.state !== 'half_open',
  )
}

async function drainOne(
  key: SharedBreaker,
  others: readonly SharedBreaker[],
  deps: DrainDeps,
): Promise<void> {
  const { database, clock, wake, writeEntries, connectorNamed, ramp = RAMP_POLICY } = deps
  const connector = connectorNamed(key.connector)
  const names = namesOf(key, connector, others)
  await transaction(database.pool, async (client) => {
    const now = clock.now()
    const row = await lockTurn(client, key, now)
    if (row === undefined) return
    const budget =
      connector && budgetPerSecond(connector, key.group, await readCorrectedLimits(client, key, connector))
    const underWay = await countUnderWay(client, key.tenant, names)
    const state = {
      returnedAt: row.returned_at.getTime(),
      usedUntil: (row.used_until ?? row.returned_at).getTime(),
      released: Number(row.released),
    }
    const release = releaseNow(ramp, state, { now, underWay, budget })
    const found = await firstWaiting(client, key.tenant, names, release.count + 1)
    const going = found.slice(0, release.count)
    const backlog = found.length > release.count
    // The last are let go by a ramp that is over, or have all come through: whoever comes now need not wait.
    if (!backlog && (release.full || underWay + going.length === 0))
      await closeBreaker(client, key, { writeEntries, now })
    else await keepTurn(client, key, { usedUntil: release.usedUntil, released: going.length, backlog: true })
    await wake(client, await makeReady(client, going, now))
  })
}

/** What runs that wait for this breaker are found by. A group that is held back by a breaker of its own is left out. */
function namesOf(
  { tenant, connectionId, group }: BreakerKey,
  connector: AnyConnector | undefined,
  others: readonly BreakerKey[],
): string[] {
  if (group !== WHOLE) return [parkedFor({ connectionId, group })]
  const apart = new Set(
    others
      .filter((one) => one.tenant === tenant && one.connectionId === connectionId)
      .map((one) => one.group),
  )
  const groups = (connector === undefined ? [] : groupsOf(connector)).filter((one) => !apart.has(one))
  return [WHOLE, ...groups].map((one) => parkedFor({ connectionId, group: one }))
}

interface Turn {
  readonly returned_at: Date
  readonly used_until: Date | null
  readonly released: string
}

/** The breaker, if it is still half open and no other node lets go its runs at this moment. */
async function lockTurn(client: Queryable, key: BreakerKey, now: number): Promise<Turn | undefined> {
  const { rows } = await client.query<Turn>({
    name: 'lock_drain',
    text: `select returned_at, used_until, released from breakers
      where tenant = $1 and connection_id = $2 and op_group = $3 and state = 'half_open' and returned_at <= $4
      for update skip locked`,
    values: [key.tenant, key.connectionId, key.group, new Date(now)],
  })
  return rows[0]
}

async function keepTurn(
  client: Queryable,
  key: BreakerKey,
  turn: { readonly usedUntil: number; readonly released: number; readonly backlog: boolean },
): Promise<void> {
  await client.query({
    name: 'keep_drain',
    text: `update breakers set used_until = $4, released = released + $5, backlog = $6, updated_at = now()
      where tenant = $1 and connection_id = $2 and op_group = $3`,
    values: [key.tenant, key.connectionId, key.group, new Date(turn.usedUntil), turn.released, turn.backlog],
  })
}

/**
 * Makes ready runs that were parked for a breaker which is closed by now: they were on their way to the database while
 * the last of its runs were let go.
 */
export async function wakeForgotten({
  database,
  clock,
  wake,
}: Pick<DrainDeps, 'database' | 'clock' | 'wake'>): Promise<void> {
  const found = await database.pool.query<RunRef>({
    name: 'find_forgotten',
    // One look at the index for each breaker that is waited for, however many wait.
    text: `${WAITED_FOR}
      select first.tenant, first.id from waited w cross join unnest(array['parked', 'undoing']) as s(state)
      cross join lateral (
        select r.tenant, r.id from runs r where r.tenant = w.tenant and r.parked_for = w.parked_for and r.state = s.state
          and r.node_id is null and (s.state = 'parked' or r.due_at is null) order by r.id limit $1) first
      where w.parked_for like 'con%' and not exists (select 1 from breakers b where b.tenant = w.tenant
        and b.connection_id = split_part(w.parked_for, '/', 1) and b.op_group in ('', split_part(w.parked_for, '/', 2)))`,
    values: [FORGOTTEN_AT_ONCE],
  })
  if (found.rows.length === 0) return
  await transaction(database.pool, async (client) =>
    wake(client, await makeReady(client, found.rows, clock.now())),
  )
}
