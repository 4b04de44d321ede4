import { z } from '@hono/zod-openapi'
import { lookAtRunsInFlight } from '../../operator/index.ts'
import type { ApiDeps } from '../deps.ts'
import { defineRoute, type AnyRoute } from '../http/route.ts'

const inFlight = z
  .object({
    flow: z.string(),
    version: z
      .int()
      .nullable()
      .openapi({ description: 'The newest version in the configuration; null: the flow is not there.' }),
    runs: z
      .array(z.object({ version: z.int(), count: z.int() }))
      .openapi({ description: 'Runs in flight by the version that they go on with.' }),
    newer: z.int().openapi({ description: 'Runs that need a newer version than this node has.' }),
    compared: z.int().openapi({ description: 'Runs whose journal was compared with the code.' }),
    conflicts: z
      .array(z.object({ run: z.string(), version: z.int(), reason: z.string() }))
      .openapi({ description: 'Runs that cannot go on with the code as it is, and why.' }),
  })
  .openapi('FlowInFlight')

/** Runs of one flow that may be compared at once. */
const MOST_COMPARED = 10_000

/** Flows and the runs that are in flight on them. */
export function flowRoutes(deps: ApiDeps): readonly AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/flows/in-flight',
      tag: 'Flows',
      needs: { scope: 'runs:read' },
      summary: 'Compare the flows with the runs in flight, and name those that cannot go on',
      query: z.strictObject({
        compare: z.coerce.number().int().min(0).max(MOST_COMPARED).default(500).openapi({
          description: 'Runs of each flow that are compared, the oldest first.',
        }),
      }),
      result: z.object({ items: z.array(inFlight) }),
      answer: async ({ query }) => ({
        items: (await lookAtRunsInFlight({ ...deps, client: deps.database.pool }, query.compare)).map(
          (one) => ({
            ...one,
            version: one.version ?? null,
            runs: [...one.runs],
            conflicts: [...one.conflicts],
          }),
        ),
      }),
    }),
  ]
}
