import { reasonOf, type Clock, type RunId } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import type { AnyConnector, AnyFlow } from '../define/index.ts'
import { checkFit, loadRunsInFlight, type ClaimedRun, type Fit } from '../flows/index.ts'
import { eventOf, type FlowTable } from '../inbox/index.ts'

/** A flow with runs in flight, and whether they can go on with the code as it is. */
export interface FlowInFlight {
  readonly flow: string
  /** Its version in the configuration; `undefined`: it is not there. */
  readonly version: number | undefined
  /** Runs in flight, by the version that they go on with. */
  readonly runs: readonly { readonly version: number; readonly count: number }[]
  /** Runs that only a newer version than those in the configuration can go on with. */
  readonly newer: number
  /** Runs that were compared with the code, of those that were begun and are with no node now. */
  readonly compared: number
  readonly conflicts: readonly VersionConflict[]
}

export interface VersionConflict {
  readonly run: RunId
  /** The version of the code that it was compared with. */
  readonly version: number
  readonly reason: string
}

export interface InFlightDeps {
  readonly client: Queryable
  readonly flows: Pick<FlowTable, 'byName' | 'forRun'>
  readonly connectorNamed: (name: string) => AnyConnector | undefined
  readonly clock: Clock
}

/** Runs of one flow that are compared unless more are asked for, the oldest first. */
const COMPARED = 500
const AT_ONCE = 50

/** Compares the flows of the configuration with the runs in flight. Executes the flows' code between their steps. */
export async function lookAtRunsInFlight(
  deps: InFlightDeps,
  mostOfAFlow = COMPARED,
): Promise<readonly FlowInFlight[]> {
  const found: FlowInFlight[] = []
  for (const [flow, runs] of await countRuns(deps.client)) {
    const version = deps.flows.byName(flow)
    const newer = runs.filter((one) => deps.flows.forRun(flow, one.version) === 'newer')
    found.push({
      flow,
      version: version && (version.version ?? 1),
      runs,
      newer: newer.reduce((sum, { count }) => sum + count, 0),
      ...(version ? await compareRuns(flow, deps, mostOfAFlow) : { compared: 0, conflicts: [] }),
    })
  }
  return found
}

async function countRuns(
  client: Queryable,
): Promise<ReadonlyMap<string, { version: number; count: number }[]>> {
  const { rows } = await client.query<{ flow: string; version: number; count: number }>(
    `select flow, flow_version as version, count(*)::int as count from runs
     where state in ('queued', 'running', 'waiting', 'parked', 'held', 'undoing') group by flow, flow_version order by flow, flow_version`,
  )
  const flows = new Map<string, { version: number; count: number }[]>()
  for (const { flow, version, count } of rows)
    flows.set(flow, [...(flows.get(flow) ?? []), { version, count }])
  return flows
}

async function compareRuns(
  flow: string,
  deps: InFlightDeps,
  most: number,
): Promise<Pick<FlowInFlight, 'compared' | 'conflicts'>> {
  const runs = await loadRunsInFlight(deps.client, flow, most)
  const conflicts: VersionConflict[] = []
  let compared = 0
  for (let from = 0; from < runs.length; from += AT_ONCE)
    await Promise.all(
      runs.slice(from, from + AT_ONCE).map(async (run) => {
        const code = deps.flows.forRun(flow, run.flowVersion)
        if (code === undefined || code === 'newer') return
        compared++
        const fit = await fitOf(run, code, deps)
        if (fit.as === 'conflicts')
          conflicts.push({ run: run.id, version: code.version ?? 1, reason: fit.reason })
      }),
    )
  return { compared, conflicts: conflicts.sort((a, b) => (a.run < b.run ? -1 : 1)) }
}

/** A run whose event cannot be read any more is no question of the flow's version. */
export async function fitOf(
  run: ClaimedRun,
  flow: AnyFlow,
  { connectorNamed, clock }: Pick<InFlightDeps, 'connectorNamed' | 'clock'>,
): Promise<Fit> {
  const connector = connectorNamed(run.connector)
  if (!connector) return { as: 'fits' }
  try {
    return await checkFit(run, flow, eventOf(run.event, connector), clock)
  } catch (error) {
    return { as: 'conflicts', reason: reasonOf(error) }
  }
}
