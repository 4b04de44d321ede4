import { z } from '@hono/zod-openapi'
import {
  drainMs,
  readCorrectedLimits,
  readOutages,
  readWaiting,
  type OutageRecord,
} from '../../calls/index.ts'
import { RAMP_POLICY } from '../../resilience/index.ts'
import type { ApiDeps } from '../deps.ts'
import { defineRoute, type AnyRoute } from '../http/route.ts'
import { outageWords, waitingWords } from '../reading/outageWords.ts'
import { time } from './schemas.ts'

const outage = z
  .object({
    id: z.string(),
    connection: z.string(),
    group: z.string().nullable().openapi({
      description:
        'The group of operations that is away, by the first part of their names; null: the whole connection.',
    }),
    state: z.enum(['open', 'half_open', 'isolated', 'over']).openapi({
      description:
        'open: nothing goes out but probes. half_open: a probe found the provider back, and those who waited are let go. isolated: held back by a person.',
    }),
    cause: z.enum(['failing', 'slow', 'isolated']),
    code: z.string(),
    reason: z.string().openapi({ description: 'The answer that opened it, or what a person said.' }),
    inWords: z.string(),
    openedBy: z.string(),
    closedBy: z.string().nullable(),
    beganAt: time,
    returnedAt: time.nullable(),
    endedAt: time.nullable(),
    absorbedBy: z.string().nullable().openapi({
      description: 'The outage of the whole connection that this one turned out to be a part of.',
    }),
    probes: z.int(),
    lastProbeAt: time.nullable(),
    lastAnswer: z.string().nullable(),
    nextProbeAt: time.nullable(),
    released: z.int().openapi({ description: 'Runs that were let go so far.' }),
    waiting: z
      .object({
        runs: z.int().openapi({ description: 'Runs that wait, with those behind them in their lanes.' }),
        inWords: z.string().openapi({ example: '41 invoices, 3 refunds' }),
        oldestAt: time.nullable(),
        drainMs: z.int().openapi({
          description:
            'How long they take by what the limits allow, in milliseconds, if each makes one call: the least.',
        }),
        byFlow: z.array(z.object({ flow: z.string(), runs: z.int(), oldestAt: time })),
      })
      .nullable()
      .openapi({ description: 'null once it is over.' }),
  })
  .openapi('Outage')

const nameParams = z.strictObject({ name: z.string().min(1).max(100) })
const byHand = z.strictObject({
  group: z
    .string()
    .min(1)
    .max(100)
    .optional()
    .openapi({ description: 'A group of operations. Default: the whole connection.', example: 'invoices' }),
  reason: z.string().max(500).optional(),
})
const handled = z.object({ outage: z.string() })
const ERRORS = { 404: 'There is no such connection.' }
/** Outages of one answer. */
const OUTAGES_LIMIT = 100

export function outageRoutes(deps: ApiDeps): readonly AnyRoute[] {
  const { operator } = deps
  return [
    defineRoute({
      method: 'get',
      path: '/outages',
      tag: 'Outages',
      needs: { scope: 'connections:read' },
      summary: 'List outages of providers, newest first',
      query: z.strictObject({
        state: z.enum(['open', 'all']).default('open').openapi({ description: 'open: those not over.' }),
        limit: z.coerce.number().int().min(1).max(OUTAGES_LIMIT).default(OUTAGES_LIMIT),
      }),
      result: z.object({ items: z.array(outage) }),
      async answer({ query, caller: { tenant } }) {
        const found = await readOutages(deps.database.pool, tenant, {
          all: query.state === 'all',
          most: query.limit,
        })
        const items = []
        for (const one of found) items.push(await asOutage(one, tenant, deps))
        return { items }
      },
    }),
    defineRoute({
      method: 'post',
      path: '/connections/{name}/isolate',
      tag: 'Outages',
      needs: { scope: 'connections:isolate' },
      summary: 'Hold back all calls over a connection, or of one group of its operations, on every node',
      params: nameParams,
      body: { schema: byHand, optional: true },
      result: handled,
      errors: ERRORS,
      async answer({ params, body, caller }) {
        const { outageId } = await operator.isolateConnection(params.name, body, caller)
        return { outage: outageId }
      },
    }),
    defineRoute({
      method: 'post',
      path: '/connections/{name}/release',
      tag: 'Outages',
      needs: { scope: 'connections:isolate' },
      summary: 'Let go what was held back by hand: first one run, then more',
      params: nameParams,
      body: { schema: byHand, optional: true },
      result: handled,
      errors: { ...ERRORS, 409: 'It is not held back by hand.' },
      async answer({ params, body, caller }) {
        const { outageId } = await operator.releaseConnection(params.name, body, caller)
        return { outage: outageId }
      },
    }),
  ]
}

async function asOutage(
  one: OutageRecord,
  tenant: string,
  { database, flows, connectorNamed, clock }: ApiDeps,
): Promise<z.input<typeof outage>> {
  const found = one.state === 'over' ? [] : await readWaiting(database.pool, tenant, one)
  const runs = found.reduce((sum, { count }) => sum + count, 0)
  const inWords = waitingWords(found, (name) => flows.byName(name))
  const connector = connectorNamed(one.connector)
  const limits =
    connector &&
    (await readCorrectedLimits(database.pool, { tenant, connectionId: one.connectionId }, connector))
  const drain = drainMs(runs, connector, one.group, RAMP_POLICY.unlimitedPerSecond, limits)
  const oldest = found[0]?.oldest
  return {
    id: one.id,
    connection: one.connection,
    group: one.group === '' ? null : one.group,
    state: one.state,
    cause: one.cause,
    code: one.code,
    reason: one.reason,
    inWords: outageWords(one, inWords, runs === 0 ? undefined : drain, clock.now()),
    openedBy: one.openedBy,
    closedBy: one.closedBy ?? null,
    beganAt: timeText(one.beganAt),
    returnedAt: timeOf(one.returnedAt),
    endedAt: timeOf(one.endedAt),
    absorbedBy: one.absorbedBy ?? null,
    probes: one.probes,
    lastProbeAt: timeOf(one.lastProbeAt),
    lastAnswer: one.lastAnswer ?? null,
    nextProbeAt: timeOf(one.nextProbeAt),
    released: one.released,
    waiting:
      one.state === 'over'
        ? null
        : {
            runs,
            inWords,
            oldestAt: timeOf(oldest),
            drainMs: drain,
            byFlow: found.map((flow) => ({
              flow: flow.flow,
              runs: flow.count,
              oldestAt: timeText(flow.oldest),
            })),
          },
  }
}

function timeText(ms: number): string {
  return new Date(ms).toISOString()
}

function timeOf(ms: number | undefined): string | null {
  return ms === undefined ? null : timeText(ms)
}
