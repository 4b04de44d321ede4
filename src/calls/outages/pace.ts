import { MINUTE, SECOND } from '../../base/index.ts'
import type { AnyConnector, LimitDefinition } from '../../define/index.ts'
import { groupOf, WHOLE } from './group.ts'

/** Longer windows are not a pace: the budget itself holds back what would be too much for the day. */
const LONGEST_WINDOW_MS = MINUTE

/** Calls in a second that the limits allow which calls of this group count against; `undefined`: none is declared. */
export function budgetPerSecond(connector: AnyConnector, group: string): number | undefined {
  const paces = limitsOf(connector, group)
    .filter((limit) => limit.windowMs <= LONGEST_WINDOW_MS)
    .map((limit) => (limit.allowed * SECOND) / limit.windowMs)
  return paces.length === 0 ? undefined : Math.min(...paces)
}

/**
 * How long so many calls take by what the limits allow, in milliseconds; the longest of them decides. Without any,
 * by `otherwisePerSecond`. A run may need more calls than one; so this is the least.
 */
export function drainMs(
  calls: number,
  connector: AnyConnector | undefined,
  group: string,
  otherwisePerSecond: number,
): number {
  const limits = connector === undefined ? [] : limitsOf(connector, group)
  const times = limits.map((limit) => (calls * limit.windowMs) / limit.allowed)
  return Math.ceil(times.length === 0 ? (calls * SECOND) / otherwisePerSecond : Math.max(...times))
}

function limitsOf(connector: AnyConnector, group: string): readonly LimitDefinition[] {
  const operations = [...connector.operationsByName].filter(
    ([name]) => group === WHOLE || groupOf(connector, name) === group,
  )
  if (operations.some(([, operation]) => operation.limits === undefined)) return connector.limits
  const named = new Set(operations.flatMap(([, operation]) => operation.limits ?? []))
  return connector.limits.filter((limit) => named.has(limit.name))
}
