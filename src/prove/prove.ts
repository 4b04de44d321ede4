import { UsageError } from '../base/index.ts'
import type { Config } from '../define/index.ts'
import { findStandIns } from './findStandIns.ts'
import { openLaboratory } from './laboratory.ts'
import { readOwnEvents } from './ownEvents.ts'
import { brokenPromises, type DrillReport, type FlowReport, type ProofReport } from './report.ts'
import { drillsFor, surveying, type Drill, type Survey } from './scenarios/drill.ts'
import type { History } from './scenarios/history.ts'
import { play, START_MS, type Played, type Stage } from './scenarios/play.ts'
import { compare } from './scenarios/verdict.ts'

export interface ProveOptions {
  readonly config: Config
  /** The project's folder: `trestle.prove.ts` is looked for in it. */
  readonly folder: string
  readonly seed: string
  readonly version: string
  /** Only these flows. Default: all. */
  readonly flows?: readonly string[]
  /** Only these drills, by id. Default: all. */
  readonly drills?: readonly string[]
  /** A folder of the user's own events; see `readOwnEvents`. */
  readonly events?: string
  /** Aborted: the proof ends early and leaves nothing behind. */
  readonly signal?: AbortSignal
  /** Told of every drill as it begins. */
  readonly onDrill?: (title: string, done: number, total: number) => void
  /** For controls, which take a protection away. */
  readonly nodeOptions?: Stage['nodeOptions']
}

/** The proof was ended early. */
export class ProofStopped extends Error {
  constructor() {
    super('The proof was stopped before it was over. No page was written.')
  }
}

/**
 * Plays the flows on twins: undisturbed, then through every drill, and compares what the twins saw. Throws
 * {@link ProofStopped} where it is aborted.
 */
export async function prove(options: ProveOptions): Promise<ProofReport> {
  const { seed, version, signal, onDrill = () => {} } = options
  const config = onlyFlows(options.config, options.flows)
  const { makers, missing } = await findStandIns(config, options.folder)
  const events = await readOwnEvents(options.events, config)
  const checkStopped = (): void => {
    if (signal?.aborted) throw new ProofStopped()
  }
  onDrill('PostgreSQL', 0, 1)
  const laboratory = await openLaboratory(START_MS)
  try {
    const stage: Stage = {
      config,
      makers,
      laboratory,
      seed,
      events,
      version,
      checkStopped,
      ...(options.nodeOptions && { nodeOptions: options.nodeOptions }),
    }
    onDrill('Undisturbed', 0, 1)
    const { undisturbed, landscape } = await look(stage)
    const titleOf = (connection: string): string => config.connections[connection]!.connector.title
    const drills = onlyDrills(drillsFor(landscape, seed, titleOf), options.drills)
    let long: History | undefined
    const reports: DrillReport[] = []
    for (const [i, drill] of drills.entries()) {
      checkStopped()
      onDrill(drill.title, i + 1, drills.length + 1)
      if (drill.long) long ??= (await play(unguarded(stage), { kind: 'undisturbed', long: true })).history
      const played = await play(stage, drill, drill.interference)
      reports.push(reportOf(drill, played, drill.long ? long! : undisturbed.history))
    }
    return summarize({ config, seed, version, undisturbed, reports, missing })
  } finally {
    await laboratory.close()
  }
}

/** What is compared with is always the platform as it is. */
function unguarded(stage: Stage): Stage {
  return { ...stage, nodeOptions: undefined }
}

async function look(stage: Stage) {
  let landscapeOf: Survey['landscape'] | undefined
  const undisturbed = await play(unguarded(stage), { kind: 'undisturbed', long: false }, (nameOf) => {
    const survey = surveying(nameOf)
    landscapeOf = survey.landscape
    return survey.interference
  })
  if (undisturbed.twinErrors.length > 0)
    throw new UsageError(
      'stand_in_failed',
      `A stand-in failed by itself, so nothing can be shown: ${undisturbed.twinErrors[0]}`,
    )
  return { undisturbed, landscape: landscapeOf!(undisturbed.called) }
}

function reportOf(
  drill: Drill,
  { history, poisoned, twinErrors }: Played,
  undisturbed: History,
): DrillReport {
  const verdict = compare(undisturbed, history, new Set(poisoned.keys()))
  const { id, kind, title, injected, connection, outage } = drill
  return {
    drill: {
      id,
      kind,
      title,
      injected,
      ...(connection !== undefined && { connection }),
      ...(outage && { outage }),
    },
    history,
    verdict,
    poisoned: [...poisoned].map(([name, path]) => `${path} of ${name}`),
    broken: [
      ...brokenPromises(drill, verdict, history),
      ...twinErrors.map((error) => `A stand-in failed by itself: ${error}.`),
    ],
  }
}

function onlyFlows(config: Config, names: readonly string[] | undefined): Config {
  if (names === undefined || names.length === 0) return config
  const known = config.flows.map(({ name }) => name)
  const unknown = names.find((name) => !known.includes(name))
  if (unknown !== undefined)
    throw new UsageError('flow_unknown', `There is no flow "${unknown}". There are: ${known.join(', ')}.`)
  return { ...config, flows: config.flows.filter(({ name }) => names.includes(name)) }
}

function onlyDrills(all: readonly Drill[], ids: readonly string[] | undefined): readonly Drill[] {
  if (ids === undefined || ids.length === 0) return all
  const known = all.map(({ id }) => id)
  const unknown = ids.find((id) => !known.includes(id))
  if (unknown !== undefined)
    throw new UsageError(
      'drill_unknown',
      `There is no drill "${unknown}" for these flows. There are: ${known.join(', ')}.`,
    )
  return all.filter(({ id }) => ids.includes(id))
}

interface Parts {
  readonly config: Config
  readonly seed: string
  readonly version: string
  readonly undisturbed: Played
  readonly reports: readonly DrillReport[]
  readonly missing: readonly string[]
}

function summarize({ config, seed, version, undisturbed, reports, missing }: Parts): ProofReport {
  const { history, script } = undisturbed
  const flows = config.flows.map((flow): FlowReport => {
    const runs = history.runs.filter(({ name }) => name.startsWith(`${flow.name} ←`))
    const { on } = flow
    return {
      name: flow.name,
      summary: flow.summary ?? '',
      trigger: on.kind === 'event' ? `${on.connector} ${on.type}` : `${on.kind} ${on.type}`,
      runs: runs.length,
      actsAt: [
        ...new Set(
          history.effects
            .filter(({ run }) => run?.startsWith(`${flow.name} ←`))
            .map(({ connection }) => connection),
        ),
      ].sort(),
    }
  })
  const unwell = history.runs.filter(({ state }) => state !== 'succeeded')
  const notShown = [
    ...missing.map(
      (name) =>
        `The connection "${name}" has no stand-in, so nothing was called there. Give one in trestle.prove.ts.`,
    ),
    ...unwell.map(
      ({ name, state, reason }) =>
        `Undisturbed, ${name} ended as ${state.replaceAll('_', ' ')}${reason === null ? '' : `: ${reason}`} The drills show only that it ends so again.`,
    ),
    ...flows
      .filter(
        ({ name, actsAt, runs }) =>
          runs > 0 && actsAt.length === 0 && !script.unexercised.some(({ flow }) => flow === name),
      )
      .map(
        ({ name }) =>
          `The flow "${name}" ran, and did nothing at any provider with the events of this proof.`,
      ),
  ]
  const broken = [
    ...reports.flatMap(({ drill, broken: reasons }) => reasons.map((reason) => `${drill.title}: ${reason}`)),
    ...brokenPromises({ mayKeep: true }, compare(history, history, new Set()), history).map(
      (reason) => `Undisturbed: ${reason}`,
    ),
    ...(history.effects.some(({ run }) => run !== undefined)
      ? []
      : ['Nothing was shown: no flow did anything at any provider.']),
  ]
  return {
    ok: broken.length === 0,
    seed,
    version,
    flows,
    integrations: undisturbed.called.map((connection) => ({
      connection,
      title: config.connections[connection]!.connector.title,
      calls: history.requests.filter((request) => request.connection === connection).length,
      effects: history.effects.filter(
        (effect) => effect.connection === connection && effect.run !== undefined,
      ).length,
    })),
    undisturbed: history,
    drills: reports,
    unexercised: script.unexercised,
    notShown,
    broken,
  }
}
