import type { AnyFlow } from '../define/index.ts'

/** The flows of this installation, by name and by what they start on. */
export interface FlowTable {
  readonly all: readonly AnyFlow[]
  byName(name: string): AnyFlow | undefined
  /** Flows that start on this event. */
  startingOn(connector: string, type: string, connection: string): readonly AnyFlow[]
}

export function createFlowTable(flows: readonly AnyFlow[]): FlowTable {
  const byName = new Map(flows.map((flow) => [flow.name, flow]))
  const byTrigger = new Map<string, AnyFlow[]>()
  for (const flow of flows) {
    const trigger = `${flow.on.connector} ${flow.on.type}`
    byTrigger.set(trigger, [...(byTrigger.get(trigger) ?? []), flow])
  }
  return {
    all: flows,
    byName: (name) => byName.get(name),
    startingOn: (connector, type, connection) =>
      (byTrigger.get(`${connector} ${type}`) ?? []).filter(
        (flow) => flow.on.connection === undefined || flow.on.connection === connection,
      ),
  }
}
