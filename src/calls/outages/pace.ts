import { MINUTE, SECOND } from '../../base/index.ts'
import type { Queryable } from '../../db/index.ts'
import type { AnyConnector, LimitDefinition } from '../../define/index.ts'
import { useOf } from '../../resilience/index.ts'
import { budgetOf } from '../budgets/table.ts'
import { groupOf, WHOLE } from './group.ts'

/** Longer windows are not a pace: the budget itself holds back what would be too much for the day. */
const LONGEST_WINDOW_MS = MINUTE
/** However much others take, so much of a limit is tried. */
const LEAST_SHARE = 0.05

/** What a limit leaves to us, where that is not what was declared. */
export interface CorrectedLimit {
  /** In a window: as the provider says, less what others take of it. */
  readonly allowed: number
  /** For so long, in milliseconds, nothing is to be sent: the provider said so. */
  readonly blockedMs: number
}

/** By the limit's name. A limit that is missing is as declared. */
export type CorrectedLimits = ReadonlyMap<string, CorrectedLimit>

export const AS_DECLARED: CorrectedLimits = new Map()

/** What all nodes have learned of a connection's limits from its provider's answers. */
export async function readCorrectedLimits(
  client: Queryable,
  { tenant, connectionId }: { readonly tenant: string; readonly connectionId: string },
  connector: AnyConnector,
): Promise<CorrectedLimits> {
  if (connector.limits.length === 0) return AS_DECLARED
  const { rows } = await client.query<{ limit_name: string; state: string; now: number }>({
    name: 'read_corrected_limits',
    text: `select limit_name, state, extract(epoch from clock_timestamp())::float8 * 1000 as now from budgets
      where tenant = $1 and connection_id = $2`,
    values: [tenant, connectionId],
  })
  const corrected = new Map<string, CorrectedLimit>()
  for (const { limit_name: name, state, now } of rows) {
    const limit = connector.limits.find((one: LimitDefinition) => one.name === name)
    if (limit === undefined) continue
    const budget = budgetOf(state)
    const { allowed, foreign } = useOf(budget, limit, now)
    corrected.set(name, {
      allowed: Math.max(allowed - foreign, allowed * LEAST_SHARE),
      blockedMs: Math.max(0, budget.blockedUntil - now),
    })
  }
  return corrected
}

/**
 * Calls in a second that the limits leave which calls of this group count against; `undefined`: none is declared. 0:
 * the provider wants nothing sent for now.
 */
export function budgetPerSecond(
  connector: AnyConnector,
  group: string,
  corrected: CorrectedLimits = AS_DECLARED,
): number | undefined {
  const limits = limitsOf(connector, group)
  if (limits.some((limit) => (corrected.get(limit.name)?.blockedMs ?? 0) > 0)) return 0
  const paces = limits
    .filter((limit) => limit.windowMs <= LONGEST_WINDOW_MS)
    .map((limit) => (allowedOf(limit, corrected) * SECOND) / limit.windowMs)
  return paces.length === 0 ? undefined : Math.min(...paces)
}

/**
 * How long so many calls take by what the limits leave, in milliseconds; the longest of them decides. Without any,
 * by `otherwisePerSecond`. A run may need more calls than one; so this is the least.
 */
export function drainMs(
  calls: number,
  connector: AnyConnector | undefined,
  group: string,
  otherwisePerSecond: number,
  corrected: CorrectedLimits = AS_DECLARED,
): number {
  const limits = connector === undefined ? [] : limitsOf(connector, group)
  const times = limits.map((limit) => (calls * limit.windowMs) / allowedOf(limit, corrected))
  return Math.ceil(times.length === 0 ? (calls * SECOND) / otherwisePerSecond : Math.max(...times))
}

function allowedOf(limit: LimitDefinition, corrected: CorrectedLimits): number {
  return corrected.get(limit.name)?.allowed ?? limit.allowed
}

/** The limits that an operation of the group may count against. */
function limitsOf(connector: AnyConnector, group: string): readonly LimitDefinition[] {
  const operations = [...connector.operationsByName]
    .filter(([name]) => group === WHOLE || groupOf(connector, name) === group)
    .map(([, operation]) => operation)
  const effects = new Set(operations.map((operation) => operation.effect ?? 'write'))
  const all: readonly LimitDefinition[] = connector.limits
  return all.filter(
    (limit) =>
      (limit.appliesTo === undefined || effects.has(limit.appliesTo)) &&
      operations.some(({ limits }) => limits === undefined || limits.includes(limit.name)),
  )
}
