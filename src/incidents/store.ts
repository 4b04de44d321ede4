import { newId } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import type { LedgerEntry } from '../ledger/index.ts'
import type {
  AlertPayload,
  Condition,
  IncidentId,
  IncidentKind,
  IncidentState,
  OpenIncident,
} from './incident.ts'
import { OPEN_INCIDENTS_LIMIT } from './plan.ts'
import { storable } from './streaks.ts'

export interface IncidentRow {
  readonly id: IncidentId
  readonly kind: IncidentKind
  readonly subject: string
  readonly state: IncidentState
  readonly title: string
  readonly what: string
  readonly holds_up: string
  readonly todo: string
  readonly connection_id: string | null
  readonly flow: string | null
  readonly since: Date
  readonly opened_at: Date
  readonly updated_at: Date
  readonly acknowledged_at: Date | null
  readonly acknowledged_by: string | null
  readonly resolved_at: Date | null
  readonly resolution: string | null
}

export const INCIDENT_COLUMNS =
  'id, kind, subject, state, title, what, holds_up, todo, connection_id, flow, since, opened_at, updated_at, acknowledged_at, acknowledged_by, resolved_at, resolution'

export async function readOpen(client: Queryable, tenant: string): Promise<readonly OpenIncident[]> {
  const { rows } = await client.query<IncidentRow>(
    `select ${INCIDENT_COLUMNS} from incidents where tenant = $1 and state <> 'resolved' order by id limit ${OPEN_INCIDENTS_LIMIT + 100}`,
    [tenant],
  )
  return rows.map((row) => ({
    id: row.id,
    kind: row.kind,
    subject: row.subject,
    state: row.state as OpenIncident['state'],
    title: row.title,
    what: row.what,
    holdsUp: row.holds_up,
    todo: row.todo,
    since: row.since.getTime(),
    connectionId: row.connection_id ?? undefined,
    flow: row.flow ?? undefined,
  }))
}

/** Inserts an incident that is open from now on. */
export async function insertIncident(
  client: Queryable,
  tenant: string,
  condition: Condition,
  now: number,
  id: IncidentId = newId('inc'),
): Promise<OpenIncident> {
  const incident: OpenIncident = { ...condition, id, state: 'open' }
  await client.query(
    `insert into incidents (tenant, id, kind, subject, title, what, holds_up, todo, connection_id, flow, since, opened_at, updated_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)`,
    [
      tenant,
      incident.id,
      incident.kind,
      storable(incident.subject),
      storable(incident.title),
      storable(incident.what),
      storable(incident.holdsUp),
      storable(incident.todo),
      incident.connectionId ?? null,
      incident.flow ?? null,
      new Date(incident.since),
      new Date(now),
    ],
  )
  return incident
}

export async function updateIncident(
  client: Queryable,
  tenant: string,
  id: IncidentId,
  { what, holdsUp, todo }: Pick<Condition, 'what' | 'holdsUp' | 'todo'>,
  now: number,
): Promise<void> {
  await client.query(
    'update incidents set what = $3, holds_up = $4, todo = $5, updated_at = $6 where tenant = $1 and id = $2',
    [tenant, id, storable(what), storable(holdsUp), storable(todo), new Date(now)],
  )
}

/** The incident goes on as another condition, which it turned out to be. What was told of it keeps its title. */
export async function takeOverIncident(
  client: Queryable,
  tenant: string,
  id: IncidentId,
  { kind, subject, connectionId, flow, what, holdsUp, todo }: Condition,
  now: number,
): Promise<void> {
  await client.query(
    `update incidents set kind = $3, subject = $4, connection_id = $5, flow = $6, what = $7, holds_up = $8, todo = $9, updated_at = $10
     where tenant = $1 and id = $2`,
    [
      tenant,
      id,
      kind,
      storable(subject),
      connectionId ?? null,
      flow ?? null,
      storable(what),
      storable(holdsUp),
      storable(todo),
      new Date(now),
    ],
  )
}

export async function markResolved(
  client: Queryable,
  tenant: string,
  id: IncidentId,
  resolution: string,
  now: number,
): Promise<void> {
  await client.query(
    `update incidents set state = 'resolved', resolution = $3, resolved_at = $4, updated_at = $4 where tenant = $1 and id = $2`,
    [tenant, id, resolution, new Date(now)],
  )
}

/** Puts an alert for each channel among those to be sent, in the transaction of the change that it tells of. */
export async function insertAlerts(
  client: Queryable,
  tenant: string,
  payload: AlertPayload,
  channels: readonly string[],
  now: number,
): Promise<void> {
  if (channels.length === 0) return
  await client.query(
    `insert into alerts (tenant, id, incident_id, channel, change, payload, due_at, created_at)
     select $1, id, $2, channel, $3, $4, $5, $5 from unnest($6::text[], $7::text[]) as a (id, channel)`,
    [
      tenant,
      payload.incident,
      payload.change,
      Buffer.from(JSON.stringify(payload)),
      new Date(now),
      channels.map(() => newId('alr')),
      [...channels],
    ],
  )
}

/** Of an incident whose opening these channels have taken already: to them it is not sent again. */
export async function markTold(
  client: Queryable,
  tenant: string,
  incident: IncidentId,
  channels: readonly string[],
  now: number,
): Promise<void> {
  await client.query(
    `update alerts set state = 'sent', attempts = 1, settled_at = $4
     where tenant = $1 and incident_id = $2 and change = 'opened' and channel = any($3)`,
    [tenant, incident, [...channels], new Date(now)],
  )
}

/** Names of connections by id, of those that there are. */
export async function connectionNames(
  client: Queryable,
  tenant: string,
  ids: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  if (ids.length === 0) return new Map()
  const { rows } = await client.query<{ id: string; name: string }>(
    'select id, name from connections where tenant = $1 and id = any($2)',
    [tenant, ids],
  )
  return new Map(rows.map((row) => [row.id, row.name]))
}

/** The ledger's word on a change of an incident. */
export function incidentEntry(
  tenant: string,
  incident: OpenIncident,
  change: 'opened' | 'changed' | 'resolved',
  now: number,
): LedgerEntry {
  return {
    tenant,
    at: now,
    actor: 'system',
    action: `incident.${change}`,
    target: incident.id,
    outcome: change,
    ...(incident.connectionId === undefined ? {} : { connectionId: incident.connectionId }),
    detail: {
      kind: incident.kind,
      title: incident.title,
      what: incident.what,
      since: new Date(incident.since).toISOString(),
      ...(incident.flow === undefined ? {} : { flow: incident.flow }),
    },
  }
}
