import { FACTS_LIMIT, type Looking } from './detector.ts'

/** Runs of a flow that are in one state. */
export interface RunsOfFlow {
  readonly flow: string
  /** At most one more than {@link RUNS_COUNTED}. */
  readonly count: number
  /** When the first of them came to it, of those that are counted. */
  readonly since: number
  readonly newest: string
  /** Of the newest. */
  readonly reason: string
}

/** Runs of a flow that are counted; of more it is said that there are more. */
export const RUNS_COUNTED = 1_000

/** States that people look after, with the column that says since when a run is in it. Each has an index by flow. */
const SINCE = { dead_lettered: 'finished_at', held: 'updated_at' } as const

/**
 * The flows that have runs in this state. It goes from flow to flow by the index, however many runs each has, so that
 * many of one flow hide none of another.
 */
export async function runsOfFlows(
  state: keyof typeof SINCE,
  { client, tenant }: Looking,
): Promise<readonly RunsOfFlow[]> {
  const since = SINCE[state]
  const { rows } = await client.query<{
    flow: string
    count: string
    since: Date
    newest: string
    reason: string | null
  }>(
    `with recursive flows as (
       (select flow, 1 as n from runs where tenant = $1 and state = '${state}' order by flow limit 1)
       union all
       select f.flow, flows.n + 1 from flows cross join lateral (
         select flow from runs where tenant = $1 and state = '${state}' and flow > flows.flow order by flow limit 1) f
       where flows.n < ${FACTS_LIMIT})
     select flows.flow, c.count::text, c.since, n.id as newest, n.reason from flows
     cross join lateral (select count(*) as count, min(since) as since from (
       select ${since} as since from runs where tenant = $1 and state = '${state}' and flow = flows.flow order by id limit ${RUNS_COUNTED + 1}) s) c
     cross join lateral (select id, reason from runs where tenant = $1 and state = '${state}' and flow = flows.flow order by id desc limit 1) n`,
    [tenant],
  )
  return rows.map((row) => ({
    flow: row.flow,
    count: Number(row.count),
    since: row.since.getTime(),
    newest: row.newest,
    reason: row.reason ?? 'No reason was kept.',
  }))
}
