import type { Queryable } from '../db/index.ts'
import type { FlowTable } from '../inbox/index.ts'

/** Ids that a notice names; the rest are counted. */
const NAMED = 5

/**
 * What a deploy means for runs in flight, a sentence for each flow that changed: runs of a flow that is gone, and runs
 * that began with another version. The latter go on where their journal fits the new code, and are held where not.
 */
export async function noticesOfRunsInFlight(client: Queryable, flows: FlowTable): Promise<string[]> {
  const { rows } = await client.query<{ flow: string; flow_version: number; count: string; ids: string[] }>(
    `select flow, flow_version, count(*) as count, (array_agg(id order by id))[1:${NAMED}] as ids from runs
     where state in ('queued', 'running', 'waiting', 'parked', 'held', 'undoing') group by flow, flow_version order by flow, flow_version`,
  )
  return rows.flatMap(({ flow, flow_version: began, count, ids }) => {
    const now = flows.byName(flow)
    const which = `${count} ${count === '1' ? 'run' : 'runs'} in flight (${ids.join(', ')}${Number(count) > NAMED ? ', …' : ''})`
    if (!now)
      return [
        `The flow "${flow}" is not in the configuration, but has ${which}. They are parked until it is added again; or cancel them.`,
      ]
    if ((now.version ?? 1) === began) return []
    return [
      `The flow "${flow}" is version ${now.version ?? 1}; ${which} began with version ${began}. They go on where their journal fits the new code and are held as version_conflict where not: then deploy the old code until they are done, or cancel them.`,
    ]
  })
}
