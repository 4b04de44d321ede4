import { z } from '@hono/zod-openapi'
import { firstIdAt, NotFoundError, SECOND, timeOfId } from '../../base/index.ts'
import type { Queryable } from '../../db/index.ts'
import type { ApiDeps } from '../deps.ts'
import { asPage, Conditions, pageOf, pagingQuery } from '../http/paging.ts'
import { defineRoute, type AnyRoute } from '../http/route.ts'
import { connectionNames } from '../reading/lookups.ts'
import { asEvent, event, type EventRow } from './events.ts'
import { asBytes, bytes, connectionFilter, filterText, headers, id, idParams, iso, time } from './schemas.ts'

const delivery = z
  .object({
    id: z.string(),
    state: z.enum(['accepted', 'duplicate']),
    reason: z
      .string()
      .nullable()
      .openapi({ description: 'Of a duplicate: whether it was known by its "id" or by its "content".' }),
    connection: z.string().nullable(),
    contentType: z.string(),
    bytes: z.int(),
    eventCount: z.int(),
    receivedAt: time,
  })
  .openapi('Delivery')

const deliveryDetail = delivery
  .extend({
    headers,
    body: bytes,
    events: z.array(event).openapi({ description: 'What it reported and was not known before.' }),
  })
  .openapi('DeliveryDetail')

const rejectedCount = z
  .object({
    connection: z.string().nullable(),
    endpoint: z.string(),
    minute: time,
    reason: z.string(),
    count: z.int(),
  })
  .openapi('RejectedCount')

const rejectedSample = z
  .object({
    connection: z.string().nullable(),
    endpoint: z.string(),
    reason: z.string(),
    receivedAt: time,
    headers,
    body: bytes,
  })
  .openapi('RejectedSample')

const COLUMNS =
  'id, connection_id, state, reason, content_type, octet_length(body) as bytes, event_count, received_at'

interface DeliveryRow {
  readonly id: string
  readonly connection_id: string
  readonly state: 'accepted' | 'duplicate'
  readonly reason: string | null
  readonly content_type: string
  readonly bytes: number
  readonly event_count: number
  readonly received_at: Date
}

export function deliveryRoutes(deps: ApiDeps): readonly AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/deliveries',
      tag: 'Deliveries',
      needs: { scope: 'events:read' },
      summary: 'List deliveries, newest first',
      description:
        'Deliveries are listed by their ids. To follow what comes in without missing anything, follow the events.',
      query: z.strictObject({
        limit: pagingQuery.limit,
        cursor: id.optional().openapi({ description: '"next" of the page before, as it is.' }),
        connection: connectionFilter,
        state: z.enum(['accepted', 'duplicate']).optional(),
      }),
      result: pageOf(delivery),
      answer: ({ query, caller }) => listDeliveries(deps, caller.tenant, query),
    }),
    rejectedCountsRoute(deps),
    rejectedSamplesRoute(deps),
    defineRoute({
      method: 'get',
      path: '/deliveries/{id}',
      tag: 'Deliveries',
      needs: { scope: 'events:read' },
      summary: 'Show a delivery with its headers and its body as they came',
      params: idParams,
      result: deliveryDetail,
      errors: { 404: 'There is no such delivery.' },
      answer: ({ params, caller }) => showDelivery(deps, caller.tenant, params.id),
    }),
  ]
}

interface DeliveryFilter {
  readonly limit: number
  readonly cursor?: string | undefined
  readonly connection?: string | undefined
  readonly state?: string | undefined
}

async function listDeliveries(
  { database: { pool }, vault }: ApiDeps,
  tenant: string,
  filter: DeliveryFilter,
): Promise<z.input<ReturnType<typeof pageOf<typeof delivery>>>> {
  const connection =
    filter.connection === undefined ? undefined : (await vault.loadConnection(tenant, filter.connection)).id
  const conditions = new Conditions()
    .add('tenant = ?', tenant)
    .add('connection_id = ?', connection)
    .add('state = ?', filter.state)
    .add('id < ?', filter.cursor)
  const { rows } = await pool.query<DeliveryRow>(
    `select ${COLUMNS} from deliveries where ${conditions.text} order by id desc limit ${filter.limit + 1}`,
    conditions.values,
  )
  const shown = rows.slice(0, filter.limit)
  const names = await connectionNames(
    pool,
    tenant,
    shown.map((row) => row.connection_id),
  )
  const more = rows.length > filter.limit
  return asPage({ rows: shown, more, next: more ? shown.at(-1)!.id : undefined }, (row) =>
    asDelivery(row, names),
  )
}

function asDelivery(row: DeliveryRow, names: ReadonlyMap<string, string>): z.input<typeof delivery> {
  return {
    id: row.id,
    state: row.state,
    reason: row.reason,
    connection: names.get(row.connection_id) ?? null,
    contentType: row.content_type,
    bytes: row.bytes,
    eventCount: row.event_count,
    receivedAt: iso(row.received_at),
  }
}

async function showDelivery(
  { database: { pool } }: ApiDeps,
  tenant: string,
  id: string,
): Promise<z.input<typeof deliveryDetail>> {
  const { rows } = await pool.query<DeliveryRow & { headers: Buffer; body: Buffer }>(
    `select ${COLUMNS}, headers, body from deliveries where tenant = $1 and id = $2`,
    [tenant, id],
  )
  const row = rows[0]
  if (!row) throw new NotFoundError('delivery', id, 'List them with GET /api/v1/deliveries.')
  const [names, events] = await Promise.all([
    connectionNames(pool, tenant, [row.connection_id]),
    eventsOfDelivery(pool, tenant, id),
  ])
  return {
    ...asDelivery(row, names),
    headers: headersOf(row.headers),
    body: asBytes(row.body),
    events: events.map((each) => asEvent(each, names)),
  }
}

/** A delivery is read, and its events get their ids, at once: longer than this takes no delivery. */
const READ_WITHIN_MS = 10 * SECOND

/** The events of a delivery have ids made just after its own, so no index by delivery is needed. */
async function eventsOfDelivery(
  client: Queryable,
  tenant: string,
  delivery: string,
): Promise<readonly EventRow[]> {
  const madeAt = timeOfId(delivery)
  const { rows } = await client.query<EventRow>(
    `select id, connection_id, delivery_id, type, provider_event_id, state, reason, reason_path, summary, occurred_at, received_at
     from events where tenant = $1 and id >= $2 and id < $3 and delivery_id = $4 order by id`,
    [tenant, firstIdAt('evt', madeAt), firstIdAt('evt', madeAt + READ_WITHIN_MS), delivery],
  )
  return rows
}

function headersOf(stored: Buffer): [string, string][] {
  return JSON.parse(stored.toString('utf8')) as [string, string][]
}

function rejectedCountsRoute({ database: { pool }, clock }: ApiDeps): AnyRoute {
  return defineRoute({
    method: 'get',
    path: '/deliveries/rejected',
    tag: 'Deliveries',
    needs: { scope: 'events:read' },
    summary: 'Count rejected deliveries per endpoint, minute and reason, newest first',
    description:
      'What fails verification never becomes an event. It is counted, and of each reason the newest few are kept as samples.',
    query: z.strictObject({
      since: z.iso.datetime({ offset: true }).optional().openapi({ description: 'Default: a day ago.' }),
      limit: pagingQuery.limit,
    }),
    result: z.object({ items: z.array(rejectedCount) }),
    async answer({ query, caller: { tenant } }) {
      const since =
        query.since === undefined ? new Date(clock.now() - 24 * 3600 * SECOND) : new Date(query.since)
      const { rows } = await pool.query<{
        endpoint_id: string
        connection: string | null
        minute: Date
        reason: string
        count: string
      }>(
        `select r.endpoint_id, c.name as connection, r.minute, r.reason, r.count from rejected_counts r
         left join endpoints e on e.tenant = r.tenant and e.id = r.endpoint_id
         left join connections c on c.tenant = e.tenant and c.id = e.connection_id
         where r.tenant = $1 and r.minute >= $2 order by r.minute desc, r.endpoint_id, r.reason limit $3`,
        [tenant, since, query.limit],
      )
      return {
        items: rows.map((row) => ({
          connection: row.connection,
          endpoint: row.endpoint_id,
          minute: iso(row.minute),
          reason: row.reason,
          count: Number(row.count),
        })),
      }
    },
  })
}

function rejectedSamplesRoute({ database: { pool } }: ApiDeps): AnyRoute {
  return defineRoute({
    method: 'get',
    path: '/deliveries/rejected/samples',
    tag: 'Deliveries',
    needs: { scope: 'events:read' },
    summary: 'Show samples of rejected deliveries, newest first',
    query: z.strictObject({ reason: filterText(100).optional(), limit: pagingQuery.limit }),
    result: z.object({ items: z.array(rejectedSample) }),
    async answer({ query, caller: { tenant } }) {
      const conditions = new Conditions().add('r.tenant = ?', tenant).add('r.reason = ?', query.reason)
      const { rows } = await pool.query<{
        endpoint_id: string
        connection: string | null
        reason: string
        received_at: Date
        headers: Buffer
        body: Buffer
      }>(
        `select r.endpoint_id, c.name as connection, r.reason, r.received_at, r.headers, r.body from rejected_samples r
         left join endpoints e on e.tenant = r.tenant and e.id = r.endpoint_id
         left join connections c on c.tenant = e.tenant and c.id = e.connection_id
         where ${conditions.text} order by r.received_at desc, r.slot limit ${query.limit}`,
        conditions.values,
      )
      return {
        items: rows.map((row) => ({
          connection: row.connection,
          endpoint: row.endpoint_id,
          reason: row.reason,
          receivedAt: iso(row.received_at),
          headers: headersOf(row.headers),
          body: asBytes(row.body),
        })),
      }
    },
  })
}
