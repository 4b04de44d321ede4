import { z } from '@hono/zod-openapi'
import type { ApiDeps } from '../deps.ts'
import { defineRoute, type AnyRoute } from '../http/route.ts'
import { laneHead, type RunRow } from '../reading/runs.ts'
import { headWords } from '../reading/words.ts'
import { filterText, iso, runState, time } from './schemas.ts'

const lane = z
  .object({
    flow: z.string(),
    key: z.string(),
    waiting: z.int().openapi({ description: 'Runs behind the first.' }),
    head: z
      .object({
        id: z.string(),
        state: runState,
        inWords: z.string().openapi({ description: 'Where the first run stands, and what it waits for.' }),
        since: time.openapi({ description: 'When it came to stand there.' }),
      })
      .openapi({ description: 'The run that goes before all others of the lane.' }),
  })
  .openapi('Lane')

/** Lanes that are answered at once. */
export const MOST_LANES = 200

/** Lanes in which runs wait for the first. */
export function laneRoutes(deps: ApiDeps): readonly AnyRoute[] {
  return [
    defineRoute({
      method: 'get',
      path: '/lanes',
      tag: 'Runs',
      needs: { scope: 'runs:read' },
      summary: 'List lanes in which runs wait for the first, the longest first',
      query: z.strictObject({
        flow: filterText(200).optional(),
        limit: z.coerce.number().int().min(1).max(MOST_LANES).default(50),
      }),
      result: z.object({ items: z.array(lane) }),
      answer: async ({ query, caller }) => ({ items: await listLanes(deps, caller.tenant, query) }),
    }),
  ]
}

type LaneRow = Pick<RunRow, 'id' | 'state' | 'reason' | 'waits' | 'flow' | 'updated_at'> & {
  readonly lane_key: string
  readonly waiting: number
}

async function listLanes(
  { database, clock }: ApiDeps,
  tenant: string,
  { flow, limit }: { readonly flow?: string | undefined; readonly limit: number },
): Promise<z.input<typeof lane>[]> {
  const { rows } = await database.pool.query<LaneRow>(
    `select head.id, head.state, head.reason, head.waits, head.flow, head.updated_at, head.lane_key, l.waiting
     from (select flow, lane_key, count(*)::int - 1 as waiting, min(lane_seq) as first from runs
           where tenant = $1 and lane_open and ($2::text is null or flow = $2)
           group by flow, lane_key having count(*) > 1 order by 3 desc, 1, 2 limit $3) l
     cross join lateral (select * from runs r where r.tenant = $1 and r.flow = l.flow and r.lane_key = l.lane_key
           and r.lane_open and r.lane_seq = l.first limit 1) head
     order by l.waiting desc, head.flow, head.lane_key`,
    [tenant, flow ?? null, limit],
  )
  const now = clock.now()
  return rows.map((row) => ({
    flow: row.flow,
    key: row.lane_key,
    waiting: row.waiting,
    head: {
      id: row.id,
      state: row.state,
      inWords: headWords(laneHead(row), now),
      since: iso(row.updated_at),
    },
  }))
}
