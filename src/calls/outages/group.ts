import type { AnyConnector } from '../../define/index.ts'

/** The group of the whole connection. */
export const WHOLE = ''

/**
 * The group of operations that fail together, as far as can be told: the first part of the operation's name, so that
 * `contacts.upsert` is of `contacts`. All operations of a connector with one group are the whole connection.
 */
export function groupOf(connector: AnyConnector, operationName: string): string {
  return groupsOf(connector).length === 1 ? WHOLE : firstPart(operationName)
}

/** The groups of a connector's operations. */
export function groupsOf(connector: AnyConnector): readonly string[] {
  const known = GROUPS.get(connector)
  if (known) return known
  const groups = [...new Set([...connector.operationsByName.keys()].map(firstPart))]
  GROUPS.set(connector, groups)
  return groups
}

/** Connectors are static: their groups are found once. */
const GROUPS = new WeakMap<AnyConnector, readonly string[]>()

function firstPart(operationName: string): string {
  return operationName.split('.', 1)[0]!
}

/** What a call waits for, as the step that waits keeps it. */
export interface OutageRef {
  readonly id: string
  readonly connectionId: string
  /** {@link WHOLE} where the whole connection is meant. */
  readonly group: string
}

/** As the run's row keeps it, to be found by: `con_…/invoices`. */
export function parkedFor({ connectionId, group }: Pick<OutageRef, 'connectionId' | 'group'>): string {
  return `${connectionId}/${group}`
}
