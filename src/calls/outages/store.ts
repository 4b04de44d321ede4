import { newId } from '../../base/index.ts'
import { transaction, type Database, type Queryable } from '../../db/index.ts'
import type { Actor, LedgerAction, LedgerEntry } from '../../ledger/index.ts'
import {
  afterProbe,
  isolated,
  mostFail,
  opened,
  releasedByHand,
  type Breaker,
  type BreakerPolicy,
} from '../../resilience/index.ts'
import { WHOLE } from './group.ts'
import { forgetHealth } from './health.ts'

/** Told to all nodes when a breaker moved; what they do not hear they read within a second. */
export const BREAKERS_CHANNEL = 'trestle_breakers'

export interface BreakerKey {
  readonly tenant: string
  readonly connectionId: string
  readonly group: string
}

/** A breaker that is not closed, as all nodes share it. */
export interface SharedBreaker extends BreakerKey {
  readonly connector: string
  readonly outageId: string
  readonly breaker: Breaker
  /** While half open: whether others still wait, so that whoever comes now goes behind them. */
  readonly backlog: boolean
}

/** Why a breaker opens. */
export interface Trip extends BreakerKey {
  readonly connector: string
  readonly cause: 'failing' | 'slow'
  readonly code: string
  /** The last answer, in words. */
  readonly reason: string
  /** Groups of the connection that were used lately. */
  readonly known: ReadonlySet<string>
}

interface BreakerRow {
  readonly tenant: string
  readonly connection_id: string
  readonly op_group: string
  readonly connector: string
  readonly state: 'open' | 'half_open' | 'isolated'
  readonly outage_id: string
  readonly openings: number
  readonly until: Date | null
  readonly returned_at: Date | null
  readonly backlog: boolean
}

export interface StoreDeps {
  readonly writeEntries: (client: Queryable, entries: readonly LedgerEntry[]) => Promise<void>
}

export async function loadBreakers(client: Queryable): Promise<readonly SharedBreaker[]> {
  const { rows } = await client.query<BreakerRow>({
    name: 'load_breakers',
    text: `select ${COLUMNS} from breakers`,
  })
  return rows.map(shared)
}

const COLUMNS =
  'tenant, connection_id, op_group, connector, state, outage_id, openings, until, returned_at, backlog'

function shared(row: BreakerRow): SharedBreaker {
  return {
    tenant: row.tenant,
    connectionId: row.connection_id,
    group: row.op_group,
    connector: row.connector,
    outageId: row.outage_id,
    breaker: breakerOf(row),
    backlog: row.backlog,
  }
}

function breakerOf({ state, openings, until, returned_at }: BreakerRow): Breaker {
  if (state === 'isolated') return { state }
  if (state === 'open') return { state, openings, until: until!.getTime() }
  return { state, openings, since: returned_at!.getTime() }
}

/** The breakers of a connection, locked, with whoever else opens one of them at this moment. */
async function lockConnection(
  client: Queryable,
  key: Omit<BreakerKey, 'group'>,
): Promise<Map<string, SharedBreaker>> {
  await client.query(`select pg_advisory_xact_lock(hashtextextended($1, 0))`, [
    `trestle breakers ${key.tenant} ${key.connectionId}`,
  ])
  const { rows } = await client.query<BreakerRow>(
    `select ${COLUMNS} from breakers where tenant = $1 and connection_id = $2 for update`,
    [key.tenant, key.connectionId],
  )
  return new Map(rows.map((row) => [row.op_group, shared(row)]))
}

/**
 * Opens the group's breaker for all nodes, and with it the record of its outage; one that is half open opens again. If
 * most groups of the connection fail by now, it is the whole connection that is down, and their outages become one.
 */
export function openBreaker(
  database: Database,
  trip: Trip,
  policy: BreakerPolicy,
  deps: StoreDeps & { readonly now: number },
): Promise<void> {
  return transaction(database.pool, async (client) => {
    const before = await lockConnection(client, trip)
    const whole = before.get(WHOLE)
    if (whole !== undefined && whole.breaker.state !== 'half_open') return
    const own = before.get(trip.group)
    if (own !== undefined && own.breaker.state !== 'half_open') return
    const failing = new Set([trip.group])
    for (const { group, breaker } of before.values()) if (breaker.state === 'open') failing.add(group)
    const widens = trip.group !== WHOLE && (whole === undefined ? mostFail : mostOf)(failing, trip.known)
    const target = widens ? WHOLE : trip.group
    const earlier = widens ? (whole ?? own ?? oldestOpen(before)) : own
    const outageId = earlier?.outageId ?? newId('out')
    const breaker = opened(before.get(target)?.breaker ?? earlier?.breaker, policy, deps.now)
    await keepOutage(client, { ...trip, group: target }, outageId, earlier !== undefined, deps.now)
    if (widens) await absorb(client, trip, outageId, deps.now)
    await keepBreaker(client, { ...trip, group: target, outageId, breaker, backlog: true })
    await forgetHealth(client, { ...trip, group: target })
    await record(client, deps, {
      key: { ...trip, group: target },
      action: 'breaker.opened',
      actor: 'system',
      outcome: 'open',
      detail: { outage: outageId, cause: trip.cause, code: trip.code, reason: trip.reason },
    })
    await tellNodes(client)
  })
}

/** While a whole connection comes back, one group that fails and is the only one in use is the whole again. */
function mostOf(failing: ReadonlySet<string>, known: ReadonlySet<string>): boolean {
  return failing.size * 2 > new Set([...known, ...failing]).size
}

function oldestOpen(breakers: ReadonlyMap<string, SharedBreaker>): SharedBreaker | undefined {
  return [...breakers.values()]
    .filter(({ breaker }) => breaker.state === 'open')
    .sort((a, b) => (a.outageId < b.outageId ? -1 : 1))[0]
}

async function keepOutage(
  client: Queryable,
  trip: Trip,
  outageId: string,
  known: boolean,
  now: number,
): Promise<void> {
  if (known) {
    await client.query(
      `update outages set op_group = $3, cause = $4, code = $5, reason = $6, returned_at = null where tenant = $1 and id = $2`,
      [trip.tenant, outageId, trip.group, trip.cause, trip.code, trip.reason],
    )
    return
  }
  await client.query(
    `insert into outages (tenant, id, connection_id, op_group, connector, cause, code, reason, opened_by, began_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, 'system', $9)`,
    [
      trip.tenant,
      outageId,
      trip.connectionId,
      trip.group,
      trip.connector,
      trip.cause,
      trip.code,
      trip.reason,
      new Date(now),
    ],
  )
}

/** The outages of single groups turned out to be one of the whole connection. What a person isolated stays so. */
async function absorb(
  client: Queryable,
  { tenant, connectionId }: Trip,
  into: string,
  now: number,
): Promise<void> {
  await client.query(
    `with gone as (delete from breakers where tenant = $1 and connection_id = $2 and op_group <> '' and state <> 'isolated' returning outage_id, released)
     update outages o set released = o.released + gone.released, ended_at = case when o.id = $3 then o.ended_at else $4::timestamptz end,
       absorbed_by = case when o.id = $3 then o.absorbed_by else $3 end, closed_by = case when o.id = $3 then o.closed_by else 'system' end
     from gone where o.tenant = $1 and o.id = gone.outage_id`,
    [tenant, connectionId, into, new Date(now)],
  )
}

/** The breaker begins to count anew whom it lets go; those before it are kept with its outage. */
async function keepBreaker(client: Queryable, one: SharedBreaker): Promise<void> {
  const { breaker } = one
  await client.query(
    `update outages o set released = o.released + b.released from breakers b
     where b.tenant = $1 and b.connection_id = $2 and b.op_group = $3 and b.released > 0 and o.tenant = $1 and o.id = b.outage_id`,
    [one.tenant, one.connectionId, one.group],
  )
  await client.query(
    `insert into breakers (tenant, connection_id, op_group, connector, state, outage_id, openings, until, returned_at, backlog)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
     on conflict (tenant, connection_id, op_group) do update set state = excluded.state, outage_id = excluded.outage_id,
       openings = excluded.openings, until = excluded.until, returned_at = excluded.returned_at, backlog = excluded.backlog,
       prober = null, probing_until = null, used_until = null, released = 0, updated_at = now()`,
    [
      one.tenant,
      one.connectionId,
      one.group,
      one.connector,
      breaker.state,
      one.outageId,
      breaker.state === 'isolated' ? 0 : breaker.openings,
      breaker.state === 'open' ? new Date(breaker.until) : null,
      breaker.state === 'half_open' ? new Date(breaker.since) : null,
      one.backlog,
    ],
  )
}

async function tellNodes(client: Queryable): Promise<void> {
  await client.query(`select pg_notify('${BREAKERS_CHANNEL}', '')`)
}

async function record(
  client: Queryable,
  { writeEntries, now }: StoreDeps & { readonly now: number },
  entry: {
    readonly key: BreakerKey
    readonly action: LedgerAction
    readonly actor: Actor
    readonly outcome: string
    readonly detail: Readonly<Record<string, unknown>>
  },
): Promise<void> {
  const { tenant, connectionId, group } = entry.key
  await writeEntries(client, [
    {
      tenant,
      at: now,
      actor: entry.actor,
      action: entry.action,
      target: connectionId,
      outcome: entry.outcome,
      connectionId,
      detail: { ...(group === WHOLE ? {} : { group }), ...entry.detail },
    },
  ])
}

/** Takes the probe of an open breaker that is due: one node gets it, for `forMs` or until it says what came of it. */
export async function claimProbe(
  client: Queryable,
  key: BreakerKey,
  claim: { readonly prober: string; readonly now: number; readonly forMs: number },
): Promise<boolean> {
  const { rowCount } = await client.query(
    `update breakers set prober = $4, probing_until = $6::timestamptz
     where tenant = $1 and connection_id = $2 and op_group = $3 and state = 'open' and until <= $5::timestamptz
       and (probing_until is null or probing_until <= $5::timestamptz)`,
    [
      key.tenant,
      key.connectionId,
      key.group,
      claim.prober,
      new Date(claim.now),
      new Date(claim.now + claim.forMs),
    ],
  )
  return rowCount === 1
}

export interface Probed {
  readonly prober: string
  /** `unknown`: nothing was sent, for reasons of ours. */
  readonly result: 'alive' | 'dead' | 'unknown'
  readonly answer: string
}

/** What came of a probe. Nothing, where the breaker has moved on meanwhile. */
export function settleProbe(
  database: Database,
  key: BreakerKey,
  probed: Probed,
  policy: BreakerPolicy,
  deps: StoreDeps & { readonly now: number },
): Promise<void> {
  return transaction(database.pool, async (client) => {
    const own = (await lockConnection(client, key)).get(key.group)
    const { rowCount } = await client.query(
      `update breakers set prober = null, probing_until = null where tenant = $1 and connection_id = $2 and op_group = $3 and prober = $4 and state = 'open'`,
      [key.tenant, key.connectionId, key.group, probed.prober],
    )
    if (own === undefined || rowCount !== 1) return
    const alive = probed.result === 'alive'
    await client.query(
      `update outages set probes = probes + $3, last_probe_at = $4::timestamptz, last_answer = $5, returned_at = case when $6::boolean then $4::timestamptz end where tenant = $1 and id = $2`,
      [
        key.tenant,
        own.outageId,
        probed.result === 'unknown' ? 0 : 1,
        new Date(deps.now),
        probed.answer,
        alive,
      ],
    )
    await keepBreaker(client, { ...own, breaker: afterProbe(own.breaker, alive, policy, deps.now) })
    if (alive)
      await record(client, deps, {
        key,
        action: 'breaker.half_opened',
        actor: 'system',
        outcome: 'half_open',
        detail: { outage: own.outageId, answer: probed.answer },
      })
    await tellNodes(client)
  })
}

/** Within a transaction that has found that nobody waits any more: the outage is over. */
export async function closeBreaker(
  client: Queryable,
  key: BreakerKey,
  deps: StoreDeps & { readonly now: number },
): Promise<void> {
  const { rows } = await client.query<{ outage_id: string; released: string }>(
    `delete from breakers where tenant = $1 and connection_id = $2 and op_group = $3 and state = 'half_open' returning outage_id, released`,
    [key.tenant, key.connectionId, key.group],
  )
  const closed = rows[0]
  if (closed === undefined) return
  await forgetHealth(client, key)
  await client.query(
    `update outages set ended_at = $3, closed_by = coalesce(closed_by, 'system'), released = released + $4 where tenant = $1 and id = $2`,
    [key.tenant, closed.outage_id, new Date(deps.now), closed.released],
  )
  await record(client, deps, {
    key,
    action: 'breaker.closed',
    actor: 'system',
    outcome: 'closed',
    detail: { outage: closed.outage_id },
  })
  await tellNodes(client)
}

/** A person's word on a breaker. */
export interface ByHand extends BreakerKey {
  readonly connector: string
  readonly actor: Actor
  readonly reason: string | undefined
}

/** Holds the calls back on every node until {@link releaseByHand}. Answers the outage's record; twice is once. */
export async function isolateByHand(
  client: Queryable,
  hand: ByHand,
  deps: StoreDeps & { readonly now: number },
): Promise<{ readonly outageId: string; readonly changed: boolean }> {
  const before = (await lockConnection(client, hand)).get(hand.group)
  if (before?.breaker.state === 'isolated') return { outageId: before.outageId, changed: false }
  const outageId = before?.outageId ?? newId('out')
  const reason = hand.reason ?? `Held back by ${hand.actor}.`
  if (before === undefined)
    await client.query(
      `insert into outages (tenant, id, connection_id, op_group, connector, cause, code, reason, opened_by, began_at)
       values ($1, $2, $3, $4, $5, 'isolated', 'isolated', $6, $7, $8)`,
      [
        hand.tenant,
        outageId,
        hand.connectionId,
        hand.group,
        hand.connector,
        reason,
        hand.actor,
        new Date(deps.now),
      ],
    )
  else
    await client.query(
      `update outages set cause = 'isolated', code = 'isolated', reason = $3, returned_at = null where tenant = $1 and id = $2`,
      [hand.tenant, outageId, reason],
    )
  await keepBreaker(client, { ...hand, outageId, breaker: isolated(), backlog: true })
  await record(client, deps, {
    key: hand,
    action: 'breaker.isolated',
    actor: hand.actor,
    outcome: 'isolated',
    detail: { outage: outageId, reason },
  })
  await tellNodes(client)
  return { outageId, changed: true }
}

/** Lets go what {@link isolateByHand} held back: first one call, then more. `undefined`: nothing was held back. */
export async function releaseByHand(
  client: Queryable,
  hand: ByHand,
  deps: StoreDeps & { readonly now: number },
): Promise<{ readonly outageId: string } | undefined> {
  const before = (await lockConnection(client, hand)).get(hand.group)
  if (before?.breaker.state !== 'isolated') return undefined
  await keepBreaker(client, { ...before, breaker: releasedByHand(before.breaker, deps.now), backlog: true })
  await client.query(`update outages set returned_at = $3, closed_by = $4 where tenant = $1 and id = $2`, [
    hand.tenant,
    before.outageId,
    new Date(deps.now),
    hand.actor,
  ])
  await record(client, deps, {
    key: hand,
    action: 'breaker.released',
    actor: hand.actor,
    outcome: 'half_open',
    detail: { outage: before.outageId, ...(hand.reason === undefined ? {} : { reason: hand.reason }) },
  })
  await tellNodes(client)
  return { outageId: before.outageId }
}
