import type { Queryable } from '../../db/index.ts'

/** What may go on, as the database has it. */
export interface Standing {
  /** Runs that a node has in its hands. */
  readonly claimed: number
  /** Runs that a node was woken for. */
  readonly claimable: number
  /** Runs whose wait is over, which a sweep or a node's own timer finds. */
  readonly overdue: number
  /** Runs that are neither over nor held for a person. */
  readonly open: number
  /** When the next waiting run is due, in milliseconds since 1970. */
  readonly dueAt: number | undefined
  /** Questions under way whether a provider that is away has come back. */
  readonly probing: number
  /** When the platform looks next whether a provider that is away has come back, in milliseconds since 1970. */
  readonly nextProbe: number | undefined
}

export async function readStanding(client: Queryable, now: number): Promise<Standing> {
  const { rows } = await client.query<{
    claimed: string
    claimable: string
    overdue: string
    open: string
    due_at: Date | null
  }>(
    `with r as (
       select r.*, not r.lane_open or not exists (
         select 1 from runs first where first.tenant = r.tenant and first.flow = r.flow and first.lane_key = r.lane_key
           and first.lane_open and first.lane_seq < r.lane_seq) as is_first
       from runs r where r.state not in ('succeeded', 'undone', 'dead_lettered', 'cancelled', 'held'))
     select count(*) filter (where node_id is not null) as claimed,
       count(*) filter (where node_id is null and is_first and state in ('queued', 'undoing')) as claimable,
       count(*) filter (where node_id is null and is_first and state in ('waiting', 'parked') and due_at <= $1) as overdue,
       count(*) as open,
       min(due_at) filter (where node_id is null and is_first and state in ('waiting', 'parked')) as due_at
     from r`,
    [new Date(now)],
  )
  const row = rows[0]!
  return {
    claimed: Number(row.claimed),
    claimable: Number(row.claimable),
    overdue: Number(row.overdue),
    open: Number(row.open),
    dueAt: row.due_at?.getTime(),
    ...(await readProbes(client, now)),
  }
}

async function readProbes(client: Queryable, now: number): Promise<Pick<Standing, 'nextProbe' | 'probing'>> {
  const { rows } = await client.query<{ until: Date | null; probing: string }>(
    `select min(until) filter (where state = 'open') as until,
       count(*) filter (where prober is not null and probing_until > $1) as probing from breakers`,
    [new Date(now)],
  )
  return { nextProbe: rows[0]?.until?.getTime(), probing: Number(rows[0]?.probing ?? 0) }
}

/** Where a run comes from. */
export interface RunOrigin {
  readonly id: string
  readonly flow: string
  readonly type: string
  readonly dataAt: string
  readonly connection: string
  readonly body: Buffer
}

export async function readOrigins(client: Queryable, ids: readonly string[]): Promise<readonly RunOrigin[]> {
  const { rows } = await client.query<{
    id: string
    flow: string
    type: string
    data_at: string
    connection: string
    body: Buffer
  }>(
    `select r.id, r.flow, e.type, e.data_at, n.name as connection, d.body from runs r
     join events e on e.tenant = r.tenant and e.id = r.event_id
     join deliveries d on d.tenant = e.tenant and d.id = e.delivery_id
     join connections n on n.tenant = e.tenant and n.id = e.connection_id where r.id = any($1)`,
    [ids],
  )
  return rows.map(({ data_at, ...row }) => ({ ...row, dataAt: data_at }))
}

/** How a run ended up. */
export interface RunEnd {
  readonly id: string
  readonly state: string
  readonly code: string | null
  readonly reason: string | null
}

/** A run that comes after one in its lane which waits for a person waits for that person, too. */
export async function readRuns(client: Queryable): Promise<readonly RunEnd[]> {
  const { rows } = await client.query<RunEnd>(
    `select r.id, case when first.id is null then r.state else 'held' end as state,
       coalesce(r.reason_code, first.reason_code) as code,
       case when first.id is null then r.reason else 'It waits in its lane behind a run that is held: ' || coalesce(first.reason, 'no reason') end as reason
     from runs r left join lateral (
       select f.id, f.reason_code, f.reason from runs f
       where r.state = 'queued' and r.lane_open and f.tenant = r.tenant and f.flow = r.flow and f.lane_key = r.lane_key and f.lane_open
         and f.lane_seq < r.lane_seq and f.state = 'held' limit 1) first on true`,
  )
  return rows
}

/** Steps that were left out because it was too late for them. */
export async function readSkipped(
  client: Queryable,
): Promise<readonly { readonly run: string; readonly step: string }[]> {
  const { rows } = await client.query<{ run: string; step: string }>(
    `select run_id as run, name as step from journal where outcome = 'skipped'`,
  )
  return rows
}

/** Attempts of which nobody could know at first whether they had been done. */
export async function countInDoubt(client: Queryable): Promise<number> {
  const { rows } = await client.query<{ n: string }>(
    `select count(*) as n from attempts where state = 'in_doubt'`,
  )
  return Number(rows[0]!.n)
}

export interface Counted {
  readonly name: string
  readonly times: number
}

/** Ledger entries by action. */
export async function countLedger(client: Queryable): Promise<readonly Counted[]> {
  const { rows } = await client.query<{ name: string; times: string }>(
    'select action as name, count(*) as times from ledger group by action order by action',
  )
  return rows.map(({ name, times }) => ({ name, times: Number(times) }))
}

/** Events and deliveries by their state. */
export async function countStates(
  client: Queryable,
  table: 'deliveries' | 'events',
): Promise<readonly Counted[]> {
  const { rows } = await client.query<{ name: string; times: string }>(
    `select state as name, count(*) as times from ${table} group by state order by state`,
  )
  return rows.map(({ name, times }) => ({ name, times: Number(times) }))
}

export interface Quarantined {
  readonly kind: string
  readonly path: string
  readonly reason: string
}

export async function readQuarantine(client: Queryable): Promise<readonly Quarantined[]> {
  const { rows } = await client.query<Quarantined>(
    `select kind, path, reason from quarantine where state = 'quarantined'
     union all select 'event', coalesce(reason_path, ''), coalesce(reason, '') from events where state = 'quarantined'
     order by 1, 2, 3`,
  )
  return rows
}

/** An incident, as it was told. */
export interface IncidentTold {
  readonly kind: string
  readonly title: string
  readonly what: string
  readonly todo: string
  readonly state: string
  /** Milliseconds since 1970. */
  readonly openedAt: number
  readonly resolvedAt: number | null
}

export async function readIncidents(client: Queryable): Promise<readonly IncidentTold[]> {
  const { rows } = await client.query<
    Omit<IncidentTold, 'openedAt' | 'resolvedAt'> & { opened_at: Date; resolved_at: Date | null }
  >(
    'select kind, title, what, todo, state, opened_at, resolved_at from incidents order by opened_at, kind, subject, title',
  )
  return rows.map(({ opened_at, resolved_at, ...row }) => ({
    ...row,
    openedAt: opened_at.getTime(),
    resolvedAt: resolved_at?.getTime() ?? null,
  }))
}
