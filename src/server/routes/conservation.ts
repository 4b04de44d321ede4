import { z } from '@hono/zod-openapi'
import { DAY } from '../../base/index.ts'
import { listBalances } from '../../conservation/index.ts'
import type { ApiDeps } from '../deps.ts'
import { defineRoute, type AnyRoute } from '../http/route.ts'
import { time } from './schemas.ts'

const balance = z
  .object({
    day: z.iso.date().openapi({ description: 'UTC.' }),
    connection: z.string(),
    flow: z.string().nullable().openapi({ description: 'null: these are the events.' }),
    expected: z.int().openapi({ description: 'How many the ledger says came to be.' }),
    counted: z.int().openapi({ description: 'How many there are.' }),
    states: z
      .record(z.string(), z.int())
      .openapi({ description: 'How many are in each state, as of when they were counted.' }),
    balanced: z.boolean(),
    missing: z.array(z.string()).openapi({ description: 'Ids of some that are missing.' }),
    checkedAt: time,
  })
  .openapi('Balance')

const DAYS_SHOWN = 7
const MOST_DAYS = 31

export function conservationRoutes({
  database: { pool },
  clock,
}: Pick<ApiDeps, 'database' | 'clock'>): readonly AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/conservation',
      tag: 'Conservation',
      needs: { scope: 'runs:read' },
      summary: 'Counts that must balance: per day, connection and flow',
      description:
        'Events and runs as they are in the tables, against what the ledger says came to be. Nodes count them anew all the time, an hour of data at a time.',
      query: z.strictObject({
        from: z.iso
          .date()
          .optional()
          .openapi({ description: 'First day, UTC. Default: six days before the last.' }),
        to: z.iso.date().optional().openapi({ description: 'Last day, UTC. Default: today.' }),
      }),
      result: z.object({
        balanced: z.boolean().openapi({ description: 'Whether all of them balance.' }),
        items: z.array(balance),
      }),
      async answer({ query, caller: { tenant } }) {
        const last = query.to === undefined ? clock.now() : Date.parse(query.to)
        const to = (Math.floor(last / DAY) + 1) * DAY
        const asked = query.from === undefined ? to - DAYS_SHOWN * DAY : Date.parse(query.from)
        const from = Math.max(asked, to - MOST_DAYS * DAY)
        const items = await listBalances(pool, tenant, { from, to })
        return {
          balanced: items.every((one) => one.balanced),
          items: items.map(({ connectionId: _id, states, missing, checkedAt, ...rest }) => ({
            ...rest,
            states: { ...states },
            missing: [...missing],
            checkedAt: new Date(checkedAt).toISOString(),
          })),
        }
      },
    }),
  ]
}
