import { z } from '@hono/zod-openapi'
import { NotFoundError } from '../../base/index.ts'
import type { ApiDeps } from '../deps.ts'
import { asPage, Conditions, pageOf, pagingQuery } from '../http/paging.ts'
import { defineRoute, type AnyRoute } from '../http/route.ts'
import { connectionNames } from '../reading/lookups.ts'
import { asBytes, bytes, id, idParams, iso, time } from './schemas.ts'

const quarantineState = z.enum(['quarantined', 'released', 'discarded'])

const quarantined = z
  .object({
    id: z.string(),
    kind: z.enum(['event', 'answer']),
    state: quarantineState,
    connection: z.string().nullable(),
    eventId: z.string().nullable(),
    runId: z.string().nullable(),
    step: z.object({ name: z.string(), ordinal: z.int() }).nullable(),
    operation: z.string().nullable(),
    path: z.string().openapi({ description: 'JSON Pointer to what does not fit; empty: the whole.' }),
    reason: z.string(),
    createdAt: time,
    settledAt: time.nullable(),
    settledBy: z.string().nullable(),
  })
  .openapi('Quarantined')

const quarantinedDetail = quarantined
  .extend({
    payload: bytes.nullable().openapi({
      description: 'The answer as it came, or the body of the delivery that reported the event.',
    }),
  })
  .openapi('QuarantinedDetail')

const COLUMNS =
  'q.id, q.kind, q.state, q.connection_id, q.event_id, q.run_id, q.step_name, q.step_ordinal, q.operation, q.path, q.reason, q.created_at, q.settled_at, q.settled_by'

interface QuarantinedRow {
  readonly id: string
  readonly kind: 'event' | 'answer'
  readonly state: z.infer<typeof quarantineState>
  readonly connection_id: string
  readonly event_id: string | null
  readonly run_id: string | null
  readonly step_name: string | null
  readonly step_ordinal: number | null
  readonly operation: string | null
  readonly path: string
  readonly reason: string
  readonly created_at: Date
  readonly settled_at: Date | null
  readonly settled_by: string | null
}

const ERRORS = {
  404: 'There is no such quarantined thing.',
  409: 'It was settled already; nothing was changed.',
}

export function quarantineRoutes({
  database: { pool },
  operator,
}: Pick<ApiDeps, 'database' | 'operator'>): readonly AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/quarantine',
      tag: 'Quarantine',
      needs: { scope: 'quarantine:read' },
      summary: 'List quarantined events and answers, newest first',
      query: z.strictObject({
        limit: pagingQuery.limit,
        cursor: id.optional().openapi({ description: '"next" of the page before, as it is.' }),
        state: quarantineState.default('quarantined'),
      }),
      result: pageOf(quarantined),
      async answer({ query, caller: { tenant } }) {
        const conditions = new Conditions()
          .add('q.tenant = ?', tenant)
          .add('q.state = ?', query.state)
          .add('q.id < ?', query.cursor)
        const { rows } = await pool.query<QuarantinedRow>(
          `select ${COLUMNS} from quarantine q where ${conditions.text} order by q.id desc limit ${query.limit + 1}`,
          conditions.values,
        )
        const shown = rows.slice(0, query.limit)
        const more = rows.length > query.limit
        const names = await connectionNames(
          pool,
          tenant,
          shown.map((row) => row.connection_id),
        )
        return asPage({ rows: shown, more, next: more ? shown.at(-1)!.id : undefined }, (row) =>
          asQuarantined(row, names),
        )
      },
    }),
    defineRoute({
      method: 'get',
      path: '/quarantine/{id}',
      tag: 'Quarantine',
      needs: { scope: 'quarantine:read' },
      summary: 'Show a quarantined event or answer with what came',
      params: idParams,
      result: quarantinedDetail,
      errors: { 404: ERRORS[404] },
      async answer({ params, caller: { tenant } }) {
        const { rows } = await pool.query<QuarantinedRow & { came: Buffer | null }>(
          `select ${COLUMNS}, coalesce(q.payload, d.body) as came from quarantine q
           left join events e on e.tenant = q.tenant and e.id = q.event_id
           left join deliveries d on d.tenant = e.tenant and d.id = e.delivery_id
           where q.tenant = $1 and q.id = $2`,
          [tenant, params.id],
        )
        const row = rows[0]
        if (!row)
          throw new NotFoundError('quarantined thing', params.id, 'List them with GET /api/v1/quarantine.')
        const names = await connectionNames(pool, tenant, [row.connection_id])
        return { ...asQuarantined(row, names), payload: row.came === null ? null : asBytes(row.came) }
      },
    }),
    defineRoute({
      method: 'post',
      path: '/quarantine/{id}/release',
      tag: 'Quarantine',
      needs: { scope: 'quarantine:settle' },
      summary: 'Release: the event is dispatched, or the answer passes as it is',
      params: idParams,
      body: { schema: z.strictObject({}), optional: true },
      result: z.object({
        id: z.string(),
        runs: z.array(z.string()).openapi({ description: 'Runs that it set going.' }),
      }),
      errors: { ...ERRORS, 422: 'It still cannot pass; the detail says why.' },
      async answer({ params, caller }) {
        const { runs } = await operator.release(params.id, caller)
        return { id: params.id, runs: [...runs] }
      },
    }),
    defineRoute({
      method: 'post',
      path: '/quarantine/{id}/discard',
      tag: 'Quarantine',
      needs: { scope: 'quarantine:settle' },
      summary: 'Discard: it never passes; the step that waits for an answer fails',
      params: idParams,
      body: { schema: z.strictObject({}), optional: true },
      result: z.object({ id: z.string() }),
      errors: ERRORS,
      async answer({ params, caller }) {
        await operator.discard(params.id, caller)
        return { id: params.id }
      },
    }),
  ]
}

function asQuarantined(row: QuarantinedRow, names: ReadonlyMap<string, string>): z.input<typeof quarantined> {
  return {
    id: row.id,
    kind: row.kind,
    state: row.state,
    connection: names.get(row.connection_id) ?? null,
    eventId: row.event_id,
    runId: row.run_id,
    step: row.step_name === null ? null : { name: row.step_name, ordinal: row.step_ordinal ?? 1 },
    operation: row.operation,
    path: row.path,
    reason: row.reason,
    createdAt: iso(row.created_at),
    settledAt: iso(row.settled_at),
    settledBy: row.settled_by,
  }
}
