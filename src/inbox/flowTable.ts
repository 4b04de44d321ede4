import { UsageError } from '../base/index.ts'
import type { AnyFlow } from '../define/index.ts'

/**
 * The flows of this installation, by name and by what they start on. A flow may be there in several versions: events
 * start the newest; a run goes on with the version that it began with as long as that is there.
 */
export interface FlowTable {
  /** The newest version of each. */
  readonly all: readonly AnyFlow[]
  /** The newest version. */
  byName(name: string): AnyFlow | undefined
  /** The code for a run that began with this version: the same, else the next one. `newer`: there are older ones only. */
  forRun(name: string, version: number): AnyFlow | 'newer' | undefined
  /** Flows that start on this event. */
  startingOn(connector: string, type: string, connection: string): readonly AnyFlow[]
}

/** Flows that one event may start. */
export const FLOWS_PER_EVENT = 100

/** Throws a {@link UsageError} where more flows start on one event than may. */
export function createFlowTable(flows: readonly AnyFlow[]): FlowTable {
  const versions = new Map<string, AnyFlow[]>()
  for (const flow of flows) versions.set(flow.name, [...(versions.get(flow.name) ?? []), flow])
  for (const known of versions.values()) known.sort((a, b) => versionOf(a) - versionOf(b))
  const newest = [...versions.values()].map((known) => known.at(-1)!)
  const byTrigger = new Map<string, AnyFlow[]>()
  for (const flow of newest) {
    const trigger = `${flow.on.connector} ${flow.on.type}`
    byTrigger.set(trigger, [...(byTrigger.get(trigger) ?? []), flow])
  }
  for (const [trigger, starting] of byTrigger)
    if (starting.length > FLOWS_PER_EVENT)
      throw new UsageError(
        'config_invalid',
        `${starting.length} flows start on ${trigger.replace(' ', ' "')}"; at most ${FLOWS_PER_EVENT} may start on one event. Let one flow do the work of several.`,
      )
  return {
    all: newest,
    byName: (name) => versions.get(name)?.at(-1),
    forRun(name, version) {
      const known = versions.get(name)
      return known && (known.find((flow) => versionOf(flow) >= version) ?? 'newer')
    },
    startingOn: (connector, type, connection) =>
      (byTrigger.get(`${connector} ${type}`) ?? []).filter(
        (flow) => flow.on.connection === undefined || flow.on.connection === connection,
      ),
  }
}

function versionOf(flow: AnyFlow): number {
  return flow.version ?? 1
}
