import { hostname } from 'node:os'
import { crashPoint, MINUTE, newId, SECOND, type Clock } from '../base/index.ts'
import { transaction, type Database, type Queryable } from '../db/index.ts'
import type { RunRef } from '../dispatch/index.ts'
import { WAKE_AGAIN_SECONDS } from '../inbox/index.ts'
import type { LedgerEntry } from '../ledger/index.ts'

/** How often a node says that it lives. */
export const HEARTBEAT_MS = SECOND
/** Without a heartbeat for this long a node is dead, and its runs are taken back. */
export const DEAD_AFTER_MS = 5 * SECOND
/** How long a node may send requests after a heartbeat: it must fall silent before others take it for dead. */
export const LEASE_MS = DEAD_AFTER_MS - SECOND

/** A node's row: an id (its epoch: a process that was thought dead gets a new one) and a heartbeat. */
export async function registerNode(
  client: Queryable,
  roles: readonly string[],
  version: string,
): Promise<string> {
  const id = newId('nod')
  await client.query('insert into nodes (id, roles, version, host, pid) values ($1, $2, $3, $4, $5)', [
    id,
    roles.join(','),
    version,
    hostname(),
    process.pid,
  ])
  return id
}

/** Whether the node still counts as living. `false`: it was thought dead, and its runs are others' now. */
export async function heartbeat(client: Queryable, node: string): Promise<boolean> {
  const { rowCount } = await client.query(
    'update nodes set heartbeat_at = clock_timestamp() where id = $1 and stopped_at is null',
    [node],
  )
  return rowCount === 1
}

export async function signOff(client: Queryable, node: string): Promise<void> {
  await client.query('update nodes set stopped_at = clock_timestamp() where id = $1', [node])
}

/**
 * How many seconds a run rests after so many claims without progress, each of which ended with its node; else it is
 * claimed again at once. One more, and it is parked: a run that ends its nodes does so less often by this, and one that
 * only was there when several nodes ended within seconds is not blamed for it.
 */
const RESTS: readonly (readonly [claims: number, seconds: number])[] = [[3, 30]]

export interface RescueDeps {
  readonly database: Database
  readonly clock: Clock
  readonly wake: (client: Queryable, runs: readonly RunRef[]) => Promise<void>
  readonly writeEntries: (client: Queryable, entries: readonly LedgerEntry[]) => Promise<void>
  /** The node that asks: it lives, whatever its row says by the time it is read. Others judge that. Default: none. */
  readonly self?: string
  /** A node died: what it had in memory is lost, such as lanes that it was to hand over. */
  readonly onDead?: () => void
}

/** Takes back the runs of nodes that died, and wakes them elsewhere. Their writes are refused from then on. */
export async function rescueRuns({
  database,
  clock,
  wake,
  writeEntries,
  self,
  onDead,
}: RescueDeps): Promise<readonly RunRef[]> {
  const dead = await database.pool.query<{ id: string }>(
    `select n.id from nodes n where (n.stopped_at is null and n.id is distinct from $2 and n.heartbeat_at < clock_timestamp() - $1 * interval '1 millisecond')
       or (n.stopped_at is not null and exists (select 1 from runs r where r.node_id = n.id and r.state in ('running', 'undoing')))`,
    [DEAD_AFTER_MS, self],
  )
  if (dead.rows.length === 0) return []
  const rescued = await transaction(database.pool, async (client) => {
    const nodes = await client.query<{ id: string }>(
      `update nodes set stopped_at = coalesce(stopped_at, clock_timestamp()) where id in (
         select id from nodes where id = any($1) and (stopped_at is not null or heartbeat_at < clock_timestamp() - $2 * interval '1 millisecond') order by id for update skip locked)
       returning id`,
      [dead.rows.map((node) => node.id), DEAD_AFTER_MS],
    )
    if (nodes.rows.length > 0) await wakeSooner(client, clock.now())
    const { rows } = await client.query<RunRef & { rests: boolean }>(
      `with taken as (
         select r.tenant, r.id, coalesce((select max(j.seq) from journal j where j.tenant = r.tenant and j.run_id = r.id), 0) as progress,
           r.claims, r.progress_seq
         from runs r where r.node_id = any($1) and r.state in ('running', 'undoing') order by r.tenant, r.id for no key update of r)
       update runs r set state = case when r.state = 'undoing' or r.undo_to is not null then 'undoing' else 'queued' end, fence = r.fence + 1, node_id = null,
         due_at = $2::timestamptz + interval '1 second' * coalesce(rest.seconds, ${WAKE_AGAIN_SECONDS}),
         claims = case when taken.progress > r.progress_seq then 1 else r.claims end, progress_seq = taken.progress, updated_at = now()
       from taken left join unnest($3::int[], $4::int[]) as rest(claims, seconds)
         on rest.claims = taken.claims and taken.progress <= taken.progress_seq
       where r.tenant = taken.tenant and r.id = taken.id
       returning r.tenant, r.id, rest.seconds is not null as rests`,
      [
        nodes.rows.map((node) => node.id),
        new Date(clock.now()),
        RESTS.map(([claims]) => claims),
        RESTS.map(([, seconds]) => seconds),
      ],
    )
    await Promise.all([
      wake(
        client,
        rows.filter(({ rests }) => !rests),
      ),
      rows.length === 0 && nodes.rows.length === 0
        ? undefined
        : writeEntries(client, [
            ...nodes.rows.map((node): LedgerEntry => ({
              tenant: 'default',
              at: clock.now(),
              actor: 'system',
              action: 'node.declared_dead',
              target: node.id,
              outcome: 'dead',
            })),
            ...rows.map((run): LedgerEntry => ({
              tenant: run.tenant,
              at: clock.now(),
              actor: 'system',
              action: 'run.rescued',
              target: run.id,
              outcome: 'queued',
              runId: run.id,
            })),
          ]),
    ])
    crashPoint('rescue.before_commit')
    return rows
  })
  onDead?.()
  return rescued
}

/** Runs that are woken sooner because a node died: more are woken again when their time comes. */
const WOKEN_SOONER = 500

/**
 * A dead node takes wake-ups along that it had taken and not yet claimed the runs of. Whose they were is not written
 * down, so those that have waited longest for a claim are due at once; a wake-up too many is for nothing. A run that
 * rests after its nodes died keeps its time.
 */
async function wakeSooner(client: Queryable, now: number): Promise<void> {
  await client.query(
    `update runs set due_at = $1 where (tenant, id) in (
       select tenant, id from runs where state = 'queued' and node_id is null and claims < ${RESTS[0]![0]}
         and due_at > $1 and due_at <= $1::timestamptz + interval '${WAKE_AGAIN_SECONDS} seconds'
       order by due_at limit ${WOKEN_SOONER} for no key update skip locked)`,
    [new Date(now)],
  )
}

/** Forgets nodes that stopped long ago. */
export async function forgetNodes(client: Queryable): Promise<void> {
  await client.query(
    `delete from nodes n where n.stopped_at < clock_timestamp() - $1 * interval '1 millisecond' and not exists (select 1 from runs r where r.node_id = n.id)`,
    [60 * MINUTE],
  )
}
