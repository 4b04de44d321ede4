import { z } from '@hono/zod-openapi'
import { encodeJson, NotFoundError, reasonOf, type EventId } from '../../base/index.ts'
import { openEvent } from '../../inbox/index.ts'
import type { ApiDeps } from '../deps.ts'
import { JsonText } from '../http/json.ts'
import { asPage, Conditions, listOf, pageOf, pagingQuery, readPage } from '../http/paging.ts'
import { defineRoute, type AnyRoute } from '../http/route.ts'
import { connectionNames } from '../reading/lookups.ts'
import { RUN_COLUMNS, type RunRow } from '../reading/runs.ts'
import { run, runsWithEvents } from './runs.ts'
import { anyJson, connectionFilter, eventState, filterText, idParams, iso, time } from './schemas.ts'

export const event = z
  .object({
    id: z.string(),
    type: z.string(),
    summary: z.string().nullable().openapi({ description: 'What happened, in business words.' }),
    state: eventState,
    reason: z.string().nullable(),
    reasonPath: z.string().nullable().openapi({ description: 'JSON Pointer to what it was refused for.' }),
    connection: z.string().nullable(),
    deliveryId: z.string(),
    providerEventId: z.string().nullable(),
    occurredAt: time.nullable().openapi({ description: 'When it happened, by the provider.' }),
    receivedAt: time,
  })
  .openapi('Event')

const eventDetail = event
  .extend({
    data: anyJson.optional().openapi({ description: 'Absent where the body cannot be read.' }),
    dataUnreadable: z.string().nullable().openapi({ description: 'Why there is no data.' }),
    delivery: z.object({
      id: z.string(),
      state: z.string(),
      contentType: z.string(),
      bytes: z.int(),
      receivedAt: time,
    }),
    runs: z.array(run).openapi({ description: 'The newest 100.' }),
    quarantine: z
      .string()
      .nullable()
      .openapi({ description: 'Id of the quarantined thing, where it is one.' }),
  })
  .openapi('EventDetail')

const COLUMNS =
  'id, connection_id, delivery_id, type, provider_event_id, state, reason, reason_path, summary, occurred_at, received_at'

export interface EventRow {
  readonly id: EventId
  readonly connection_id: string
  readonly delivery_id: string
  readonly type: string
  readonly provider_event_id: string | null
  readonly state: z.infer<typeof eventState>
  readonly reason: string | null
  readonly reason_path: string | null
  readonly summary: string | null
  readonly occurred_at: Date | null
  readonly received_at: Date
}

const RUNS_SHOWN = 100

export function eventRoutes(deps: ApiDeps): readonly AnyRoute[] {
  const {
    database: { pool },
    vault,
  } = deps
  return [
    defineRoute({
      method: 'get',
      path: '/events',
      tag: 'Events',
      needs: { scope: 'events:read' },
      summary: 'List events',
      query: z.strictObject({
        ...pagingQuery,
        connection: connectionFilter,
        type: filterText(300).optional(),
        state: listOf(eventState, 'One state, or several.'),
      }),
      result: pageOf(event),
      async answer({ query, caller: { tenant } }) {
        const connection =
          query.connection === undefined
            ? undefined
            : (await vault.loadConnection(tenant, query.connection)).id
        const conditions = new Conditions()
          .add('tenant = ?', tenant)
          .add('connection_id = ?', connection)
          .add('type = ?', query.type)
          .add('state = any(?)', query.state)
        const page = await readPage<EventRow>(pool, 'events', COLUMNS, conditions, query)
        const names = await connectionNames(
          pool,
          tenant,
          page.rows.map((row) => row.connection_id),
        )
        return asPage(page, (row) => asEvent(row, names))
      },
    }),
    defineRoute({
      method: 'get',
      path: '/events/{id}',
      tag: 'Events',
      needs: { scope: 'events:read' },
      summary: 'Show an event with its data, its delivery and its runs',
      params: idParams,
      result: eventDetail,
      errors: { 404: 'There is no such event.' },
      answer: ({ params, caller }) => showEvent(deps, caller.tenant, params.id),
    }),
  ]
}

export function asEvent(row: EventRow, names: ReadonlyMap<string, string>): z.input<typeof event> {
  return {
    id: row.id,
    type: row.type,
    summary: row.summary,
    state: row.state,
    reason: row.reason,
    reasonPath: row.reason_path,
    connection: names.get(row.connection_id) ?? null,
    deliveryId: row.delivery_id,
    providerEventId: row.provider_event_id,
    occurredAt: iso(row.occurred_at),
    receivedAt: iso(row.received_at),
  }
}

interface EventWithBody extends EventRow {
  readonly data_at: string
  readonly delivery_state: string
  readonly content_type: string
  readonly body: Buffer
  readonly delivered_at: Date
}

async function showEvent(
  { database: { pool } }: ApiDeps,
  tenant: string,
  id: string,
): Promise<z.input<typeof eventDetail>> {
  const { rows } = await pool.query<EventWithBody>(
    `select e.id, e.connection_id, e.delivery_id, e.type, e.provider_event_id, e.state, e.reason, e.reason_path, e.summary,
       e.occurred_at, e.received_at, e.data_at, d.state as delivery_state, d.content_type, d.body, d.received_at as delivered_at
     from events e join deliveries d on d.tenant = e.tenant and d.id = e.delivery_id where e.tenant = $1 and e.id = $2`,
    [tenant, id],
  )
  const row = rows[0]
  if (!row) throw new NotFoundError('event', id, 'List them with GET /api/v1/events.')
  const [names, runs, quarantined] = await Promise.all([
    connectionNames(pool, tenant, [row.connection_id]),
    pool.query<RunRow>(
      `select ${RUN_COLUMNS} from runs where tenant = $1 and event_id = $2 order by id desc limit $3`,
      [tenant, id, RUNS_SHOWN],
    ),
    // Named by the inbox after the event.
    pool.query<{ id: string }>(
      `select id from quarantine where tenant = $1 and id = 'qrn' || substr($2, 4)`,
      [tenant, id],
    ),
  ])
  const asRun = await runsWithEvents(pool, tenant, runs.rows)
  return {
    ...asEvent(row, names),
    ...dataOf(row, names.get(row.connection_id) ?? ''),
    delivery: {
      id: row.delivery_id,
      state: row.delivery_state,
      contentType: row.content_type,
      bytes: row.body.length,
      receivedAt: iso(row.delivered_at),
    },
    runs: runs.rows.map((each) => asRun(each)),
    quarantine: quarantined.rows[0]?.id ?? null,
  }
}

function dataOf(row: EventWithBody, connection: string): { data?: unknown; dataUnreadable: string | null } {
  try {
    const data = openEvent({ ...row, event_id: row.id, connection_name: connection })
    if (data === undefined) return { dataUnreadable: `The body has nothing at ${row.data_at}.` }
    return { data: new JsonText(encodeJson(data)), dataUnreadable: null }
  } catch (error) {
    return { dataUnreadable: reasonOf(error) }
  }
}
