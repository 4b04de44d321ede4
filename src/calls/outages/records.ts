import type { Queryable } from '../../db/index.ts'

/** One outage: when, why, and how its end was found. Times in milliseconds since 1970. */
export interface OutageRecord {
  readonly id: string
  readonly connectionId: string
  readonly connection: string
  readonly connector: string
  /** Empty: the whole connection. */
  readonly group: string
  /** `over`: those who waited are through. `half_open`: the provider is back, and they are let go. */
  readonly state: 'open' | 'half_open' | 'isolated' | 'over'
  readonly cause: 'failing' | 'slow' | 'isolated'
  readonly code: string
  /** The answer that opened it, or a person's word. */
  readonly reason: string
  readonly openedBy: string
  readonly closedBy: string | undefined
  readonly beganAt: number
  readonly returnedAt: number | undefined
  readonly endedAt: number | undefined
  /** The outage of the whole connection that this one turned out to be a part of. */
  readonly absorbedBy: string | undefined
  readonly probes: number
  readonly lastProbeAt: number | undefined
  readonly lastAnswer: string | undefined
  readonly nextProbeAt: number | undefined
  /** Runs that were let go. */
  readonly released: number
}

/** Runs of one flow that wait for an outage: themselves, or behind one of their lane that does. */
export interface WaitingRuns {
  readonly flow: string
  readonly count: number
  /** When the event of the oldest came, in milliseconds since 1970. */
  readonly oldest: number
}

interface OutageRow {
  readonly id: string
  readonly connection_id: string
  readonly connection: string | null
  readonly connector: string
  readonly op_group: string
  readonly state: OutageRecord['state'] | null
  readonly cause: OutageRecord['cause']
  readonly code: string
  readonly reason: string
  readonly opened_by: string
  readonly closed_by: string | null
  readonly began_at: Date
  readonly returned_at: Date | null
  readonly ended_at: Date | null
  readonly absorbed_by: string | null
  readonly probes: string
  readonly last_probe_at: Date | null
  readonly last_answer: string | null
  readonly until: Date | null
  readonly released: string
}

/** Outages, the newest first: those that are not over, or all. */
export async function readOutages(
  client: Queryable,
  tenant: string,
  { all, most }: { readonly all: boolean; readonly most: number },
): Promise<readonly OutageRecord[]> {
  const { rows } = await client.query<OutageRow>(
    `select o.id, o.connection_id, n.name as connection, o.connector, o.op_group, b.state, o.cause, o.code, o.reason, o.opened_by, o.closed_by,
       o.began_at, o.returned_at, o.ended_at, o.absorbed_by, o.probes, o.last_probe_at, o.last_answer, b.until,
       o.released + coalesce(b.released, 0) as released
     from outages o left join connections n on n.tenant = o.tenant and n.id = o.connection_id
     left join breakers b on b.tenant = o.tenant and b.connection_id = o.connection_id and b.op_group = o.op_group and b.outage_id = o.id
     where o.tenant = $1 and ($2 or o.ended_at is null) order by o.began_at desc, o.id desc limit $3`,
    [tenant, all, most],
  )
  return rows.map((row) => ({
    id: row.id,
    connectionId: row.connection_id,
    connection: row.connection ?? row.connection_id,
    connector: row.connector,
    group: row.op_group,
    state: row.ended_at === null ? (row.state ?? 'over') : 'over',
    cause: row.cause,
    code: row.code,
    reason: row.reason,
    openedBy: row.opened_by,
    closedBy: row.closed_by ?? undefined,
    beganAt: row.began_at.getTime(),
    returnedAt: row.returned_at?.getTime(),
    endedAt: row.ended_at?.getTime(),
    absorbedBy: row.absorbed_by ?? undefined,
    probes: Number(row.probes),
    lastProbeAt: row.last_probe_at?.getTime(),
    lastAnswer: row.last_answer ?? undefined,
    nextProbeAt: row.until?.getTime(),
    released: Number(row.released),
  }))
}

/** What waits for an outage, by flow, the flow with the oldest run first. */
export async function readWaiting(
  client: Queryable,
  tenant: string,
  { connectionId, group }: Pick<OutageRecord, 'connectionId' | 'group'>,
): Promise<readonly WaitingRuns[]> {
  // Of the whole connection wait also those whose group's outage became a part of it. Names are compared for being the
  // same alone: which of two comes first is another matter in each collation.
  const { rows } = await client.query<{ flow: string; count: string; oldest: Date }>(
    `with recursive name as (
       (select parked_for from runs where tenant = $1 and parked_for is not null order by parked_for limit 1)
       union all
       (select next.parked_for from name n cross join lateral (select r.parked_for from runs r
          where r.tenant = $1 and r.parked_for is not null and r.parked_for > n.parked_for order by r.parked_for limit 1) next)),
     of_this as (
       select parked_for from name where split_part(parked_for, '/', 1) = $2
         and (split_part(parked_for, '/', 2) = $3 or ($3 = '' and not exists (
           select 1 from outages o where o.tenant = $1 and o.connection_id = $2 and o.op_group = split_part(parked_for, '/', 2) and o.ended_at is null)))),
     parked as (
       select tenant, flow, lane_key, lane_seq, lane_open, created_at from runs
       where tenant = $1 and parked_for in (select parked_for from of_this)
         and (state = 'parked' or (state = 'undoing' and due_at is null and node_id is null))),
     waiting as (
       select flow, count(*) as count, min(created_at) as oldest from parked group by flow
       union all
       select p.flow, count(*), min(r.created_at) from parked p
       join runs r on p.lane_open and r.tenant = p.tenant and r.flow = p.flow and r.lane_key = p.lane_key and r.lane_open
         and r.lane_seq > p.lane_seq and r.state = 'queued' group by p.flow)
     select flow, sum(count) as count, min(oldest) as oldest from waiting group by flow order by min(oldest), flow`,
    [tenant, connectionId, group],
  )
  return rows.map((row) => ({ flow: row.flow, count: Number(row.count), oldest: row.oldest.getTime() }))
}
