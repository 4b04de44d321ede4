import { z } from '@hono/zod-openapi'
import { NotFoundError } from '../../base/index.ts'
import { transaction, type Queryable } from '../../db/index.ts'
import {
  acknowledgeIncident,
  ALERT_CHANGES,
  ALERT_STATES,
  INCIDENT_COLUMNS,
  INCIDENT_KINDS,
  INCIDENT_STATES,
  type IncidentRow,
  type AlertChange,
} from '../../incidents/index.ts'
import { listEntries } from '../../ledger/index.ts'
import type { ApiDeps } from '../deps.ts'
import { asPage, Conditions, listOf, pageOf, pagingQuery } from '../http/paging.ts'
import { defineRoute, type AnyRoute } from '../http/route.ts'
import { connectionNames } from '../reading/lookups.ts'
import { asEntry, entry } from './ledger.ts'
import { id, idParams, iso, time } from './schemas.ts'

const incident = z
  .object({
    id: z.string(),
    kind: z.enum(INCIDENT_KINDS),
    state: z.enum(INCIDENT_STATES),
    title: z.string(),
    what: z.string().openapi({ description: 'What is wrong, in a sentence.' }),
    since: time,
    holdsUp: z.string().openapi({ description: 'What it holds up, in a sentence.' }),
    todo: z.string().openapi({ description: 'What to do, in a sentence.' }),
    connection: z.string().nullable(),
    flow: z.string().nullable(),
    openedAt: time,
    updatedAt: time,
    acknowledgedAt: time.nullable(),
    acknowledgedBy: z.string().nullable(),
    resolvedAt: time.nullable(),
    resolution: z.string().nullable().openapi({ description: 'How it ended, in a sentence.' }),
  })
  .openapi('Incident')

const alert = z
  .object({
    id: z.string().openapi({ description: 'The "webhook-id" of an alert by webhook.' }),
    channel: z.string(),
    change: z.enum(ALERT_CHANGES),
    state: z.enum(ALERT_STATES),
    attempts: z.int(),
    dueAt: time.nullable().openapi({ description: 'When it is sent next; of one that waits.' }),
    settledAt: time.nullable(),
    lastError: z.string().nullable(),
  })
  .openapi('Alert')

const incidentDetail = incident
  .extend({
    alerts: z.array(alert),
    entries: z.array(entry).openapi({ description: 'What the ledger says of it, the oldest first.' }),
  })
  .openapi('IncidentDetail')

/** An incident has an opening, an end, an acknowledgement, and its alerts. */
const ENTRIES_LIMIT = 50

export function incidentRoutes(deps: ApiDeps): readonly AnyRoute[] {
  const {
    database: { pool },
    clock,
  } = deps
  return [
    defineRoute({
      method: 'get',
      path: '/incidents',
      tag: 'Incidents',
      needs: { scope: 'incidents:read' },
      summary: 'List incidents, newest first',
      query: z.strictObject({
        limit: pagingQuery.limit,
        cursor: id.optional().openapi({ description: '"next" of the page before, as it is.' }),
        state: listOf(z.enum(INCIDENT_STATES), 'Only those in these states. Left out: all.'),
        kind: z.enum(INCIDENT_KINDS).optional(),
      }),
      result: pageOf(incident),
      async answer({ query, caller: { tenant } }) {
        const conditions = new Conditions()
          .add('tenant = ?', tenant)
          .add('state = any(?)', query.state)
          .add('kind = ?', query.kind)
          .add('id < ?', query.cursor)
        const { rows } = await pool.query<IncidentRow>(
          `select ${INCIDENT_COLUMNS} from incidents where ${conditions.text} order by id desc limit ${query.limit + 1}`,
          conditions.values,
        )
        const shown = rows.slice(0, query.limit)
        const more = rows.length > query.limit
        const names = await namesOf(pool, tenant, shown)
        return asPage({ rows: shown, more, next: more ? shown.at(-1)!.id : undefined }, (row) =>
          asIncident(row, names),
        )
      },
    }),
    defineRoute({
      method: 'get',
      path: '/incidents/{id}',
      tag: 'Incidents',
      needs: { scope: 'incidents:read' },
      summary: 'Show an incident with its alerts and its ledger entries',
      params: idParams,
      result: incidentDetail,
      errors: { 404: 'There is no such incident.' },
      answer: ({ params, caller }) => showIncident(pool, caller.tenant, params.id),
    }),
    defineRoute({
      method: 'post',
      path: '/incidents/{id}/acknowledge',
      tag: 'Incidents',
      needs: { scope: 'incidents:acknowledge' },
      summary: 'Acknowledge: somebody takes care of it; it stays until it is over',
      params: idParams,
      body: { schema: z.strictObject({}), optional: true },
      result: incident,
      errors: {
        404: 'There is no such incident.',
        409: 'It is acknowledged or resolved already; nothing was changed.',
      },
      async answer({ params, caller: { tenant, actor } }) {
        await transaction(pool, (client) => acknowledgeIncident(client, params.id, { tenant, actor, clock }))
        const row = await readIncident(pool, tenant, params.id)
        return asIncident(row, await namesOf(pool, tenant, [row]))
      },
    }),
  ]
}

async function readIncident(client: Queryable, tenant: string, id: string): Promise<IncidentRow> {
  const { rows } = await client.query<IncidentRow>(
    `select ${INCIDENT_COLUMNS} from incidents where tenant = $1 and id = $2`,
    [tenant, id],
  )
  if (!rows[0]) throw new NotFoundError('incident', id, 'List them with GET /api/v1/incidents.')
  return rows[0]
}

interface AlertRow {
  readonly id: string
  readonly channel: string
  readonly change: AlertChange
  readonly state: (typeof ALERT_STATES)[number]
  readonly attempts: number
  readonly due_at: Date
  readonly settled_at: Date | null
  readonly last_error: string | null
}

async function showIncident(
  client: Queryable,
  tenant: string,
  id: string,
): Promise<z.input<typeof incidentDetail>> {
  const row = await readIncident(client, tenant, id)
  const [names, alerts, entries] = await Promise.all([
    namesOf(client, tenant, [row]),
    client.query<AlertRow>(
      'select id, channel, change, state, attempts, due_at, settled_at, last_error from alerts where tenant = $1 and incident_id = $2 order by id',
      [tenant, id],
    ),
    listEntries(client, { tenant, target: id, order: 'newest_first', limit: ENTRIES_LIMIT }),
  ])
  return {
    ...asIncident(row, names),
    alerts: alerts.rows.map(asAlert),
    entries: entries.rows.map(asEntry).reverse(),
  }
}

function namesOf(
  client: Queryable,
  tenant: string,
  rows: readonly IncidentRow[],
): Promise<ReadonlyMap<string, string>> {
  return connectionNames(
    client,
    tenant,
    rows.map((row) => row.connection_id),
  )
}

function asIncident(row: IncidentRow, names: ReadonlyMap<string, string>): z.input<typeof incident> {
  return {
    id: row.id,
    kind: row.kind,
    state: row.state,
    title: row.title,
    what: row.what,
    since: iso(row.since),
    holdsUp: row.holds_up,
    todo: row.todo,
    connection: names.get(row.connection_id ?? '') ?? null,
    flow: row.flow,
    openedAt: iso(row.opened_at),
    updatedAt: iso(row.updated_at),
    acknowledgedAt: iso(row.acknowledged_at),
    acknowledgedBy: row.acknowledged_by,
    resolvedAt: iso(row.resolved_at),
    resolution: row.resolution,
  }
}

function asAlert(row: AlertRow): z.input<typeof alert> {
  return {
    id: row.id,
    channel: row.channel,
    change: row.change,
    state: row.state,
    attempts: row.attempts,
    dueAt: row.state === 'waiting' ? iso(row.due_at) : null,
    settledAt: iso(row.settled_at),
    lastError: row.last_error,
  }
}
