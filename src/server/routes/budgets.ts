import { z } from '@hono/zod-openapi'
import { SECOND } from '../../base/index.ts'
import { reportBudgets, type BudgetReport } from '../../calls/index.ts'
import type { ApiDeps } from '../deps.ts'
import { defineRoute, type AnyRoute } from '../http/route.ts'
import { connectionFilter, iso, time } from './schemas.ts'

const budget = z
  .object({
    connection: z.string(),
    limit: z.string().openapi({ description: "The limit's name in its connector." }),
    windowSeconds: z.number(),
    declared: z.number().openapi({ description: 'What the connector says a window allows.' }),
    allowed: z.number().openapi({ description: 'What the provider says it allows, where it does.' }),
    used: z.number().openapi({ description: 'Granted to our nodes in the window that ends now.' }),
    foreign: z
      .number()
      .openapi({ description: 'What others with the same credential take, as far as answers tell.' }),
    headroom: z.number().openapi({ description: 'What is left of the window.' }),
    concurrency: z.number().nullable(),
    inFlight: z
      .number()
      .openapi({ description: 'Places in flight that nodes hold, where these are limited.' }),
    appliesTo: z.enum(['read', 'write']).nullable(),
    nodes: z.number().openapi({ description: 'Nodes that use it now.' }),
    blockedUntil: time.nullable().openapi({ description: 'The provider wants nothing sent before.' }),
    lastUsedAt: time.nullable(),
    source: z.string().openapi({ description: 'Where the provider documents it.' }),
    forecast: z.object({
      goneAt: time.nullable().openapi({ description: 'At this rate the window is used up then.' }),
      reachedOn: z.iso
        .date()
        .nullable()
        .openapi({ description: 'At this growth the fullest window of a day reaches the limit then.' }),
      inWords: z.string().nullable(),
    }),
    spentBy: z
      .array(
        z.object({
          flow: z.string().openapi({ description: 'Empty: calls of no flow, such as checks.' }),
          calls: z.number(),
          points: z.number(),
          refused: z.number().openapi({ description: 'Calls that the provider refused for want of points.' }),
          share: z.number().openapi({ description: 'Its part of what was spent: 1 is all.' }),
        }),
      )
      .openapi({ description: 'Who spent it in the last 24 hours, most first.' }),
  })
  .openapi('Budget')

/** What may still be spent of the providers' limits, who spends it, and where that leads. */
export function budgetRoutes(deps: ApiDeps): readonly AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/budgets',
      tag: 'Budgets',
      needs: { scope: 'connections:read' },
      summary: "What is used of the providers' limits, by whom, and where that leads",
      query: z.strictObject({ connection: connectionFilter }),
      result: z.object({ items: z.array(budget) }).openapi('Budgets'),
      errors: { 404: 'There is no connection of this name.' },
      answer: async ({ caller, query }) => {
        const connections = await connectionsOf(deps, caller.tenant, query.connection)
        const now = deps.clock.now()
        const reports = await reportBudgets(deps.database.pool, caller.tenant, connections, now)
        return { items: reports.map((report) => asBudget(report)) }
      },
    }),
  ]
}

async function connectionsOf(
  { vault, connectorNamed }: ApiDeps,
  tenant: string,
  name: string | undefined,
): Promise<Parameters<typeof reportBudgets>[2]> {
  const found =
    name === undefined
      ? (await vault.listConnections(tenant)).filter(({ state }) => state !== 'revoked')
      : [await vault.loadConnection(tenant, name)]
  return found.flatMap(({ id, name, connector }) => {
    const known = connectorNamed(connector)
    return known ? [{ id, name, connector: known }] : []
  })
}

function asBudget(report: BudgetReport): z.input<typeof budget> {
  const { limit, forecast, spentBy, allowed, used, foreign } = report
  const spent = spentBy.reduce((sum, { points }) => sum + points, 0)
  const isoOrNull = (at: number | undefined): string | null => (at === undefined ? null : iso(new Date(at)))
  return {
    connection: report.connection,
    limit: limit.name,
    windowSeconds: limit.windowMs / SECOND,
    declared: limit.allowed,
    allowed,
    used,
    foreign,
    headroom: Math.max(0, allowed - used - foreign),
    concurrency: limit.concurrency ?? null,
    inFlight: report.inFlight,
    appliesTo: limit.appliesTo ?? null,
    nodes: report.nodes,
    blockedUntil: isoOrNull(report.blockedUntil),
    lastUsedAt: isoOrNull(report.lastUsedAt),
    source: limit.source,
    forecast: {
      goneAt: isoOrNull(forecast.goneAt),
      reachedOn: forecast.reachedAt === undefined ? null : isoOrNull(forecast.reachedAt)!.slice(0, 10),
      inWords: forecastWords(report),
    },
    spentBy: spentBy.map((one) => ({ ...one, share: spent === 0 ? 0 : one.points / spent })),
  }
}

function forecastWords({ forecast, limit }: BudgetReport): string | null {
  const { goneAt, reachedAt } = forecast
  const words = [
    ...(goneAt === undefined
      ? []
      : [`At this rate the limit "${limit.name}" is used up at ${iso(new Date(goneAt)).slice(0, 16)}Z.`]),
    ...(reachedAt === undefined
      ? []
      : [`At this growth its fullest window reaches it on ${iso(new Date(reachedAt)).slice(0, 10)}.`]),
  ]
  return words.length === 0 ? null : words.join(' ')
}
