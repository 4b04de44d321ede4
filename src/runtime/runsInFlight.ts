import { lookAtRunsInFlight, type FlowInFlight, type InFlightDeps } from '../operator/index.ts'

/** Runs that a notice names; the rest are counted. */
const NAMED = 5

/**
 * What a deploy means for runs in flight: a sentence for each flow that is gone, that is behind its runs, or whose
 * code some of its runs cannot go on with; with their ids and the ways out.
 */
export async function noticesOfRunsInFlight(deps: InFlightDeps): Promise<string[]> {
  return (await lookAtRunsInFlight(deps)).flatMap((one) => [
    ...gone(one),
    ...behind(one),
    ...conflicting(one),
  ])
}

function gone({ flow, version, runs }: FlowInFlight): string[] {
  if (version !== undefined) return []
  const count = runs.reduce((sum, one) => sum + one.count, 0)
  return [
    `The flow "${flow}" is not in the configuration, but has ${runsWord(count)} in flight. They are parked until it is added again; or cancel them: trestle runs list --flow ${flow}`,
  ]
}

function behind({ flow, version, newer }: FlowInFlight): string[] {
  if (newer === 0) return []
  return [
    `${runsWord(newer)} of "${flow}" ${newer === 1 ? 'needs' : 'need'} a newer version than ${version}, the newest here. They wait for a node that has it.`,
  ]
}

function conflicting({ flow, version, conflicts }: FlowInFlight): string[] {
  const [first] = conflicts
  if (!first) return []
  const named = conflicts.slice(0, NAMED).map(({ run }) => run)
  return [
    `${runsWord(conflicts.length)} of "${flow}" cannot go on with version ${version}: ${named.join(', ')}${conflicts.length > NAMED ? ', …' : ''}. ${first.run}: ${first.reason} Let them finish on the version that they began with (add it to "flows" beside the new one, then: trestle runs retry), migrate them (trestle runs migrate), or cancel them with what they can undo (trestle runs cancel). All of them: trestle flows`,
  ]
}

function runsWord(count: number): string {
  return `${count} ${count === 1 ? 'run' : 'runs'}`
}
