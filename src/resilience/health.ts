import { SECOND } from '../base/index.ts'

/** From which results a provider is taken as failing, or as too slow to be used. */
export interface HealthPolicy {
  /** Results are counted over this time. Default 30 s. */
  readonly windowMs: number
  /** Fewer results than this never say anything. Default 10. */
  readonly minimumResults: number
  /** The share of failures from which it is failing. Default 0.5. */
  readonly failureShare: number
  /** The share of answers that came slowly from which it is too slow. Default 0.8. */
  readonly slowShare: number
}

export const HEALTH_POLICY: HealthPolicy = {
  windowMs: 30 * SECOND,
  minimumResults: 10,
  failureShare: 0.5,
  slowShare: 0.8,
}

/**
 * How a call went, as far as the provider's health is concerned. `slow`: a good answer that took much longer than
 * usual. `neutral`: it says nothing (a refused credential, a limit reached, never sent for our own reasons).
 */
export type HealthResult = 'success' | 'slow' | 'failure' | 'neutral'

/** Results of the last {@link HealthPolicy.windowMs}, in {@link SLOTS} slots. */
export interface Health {
  /** Number of the newest slot since 1970. */
  readonly slot: number
  /** Newest first. */
  readonly results: readonly Counts[]
}

interface Counts {
  readonly succeeded: number
  readonly slow: number
  readonly failed: number
}

/** What the results of a window come to. */
export type Verdict = 'healthy' | 'failing' | 'slow'

const SLOTS = 10
const NONE: Counts = { succeeded: 0, slow: 0, failed: 0 }

export const unknownHealth: Health = { slot: 0, results: [] }

/** Counts one result. A clock that was set back counts on in the newest slot, or begins anew where it is far away. */
export function counted(health: Health, policy: HealthPolicy, result: HealthResult, now: number): Health {
  if (result === 'neutral') return health
  const slot = slotAt(policy, now)
  const moved = slot - health.slot
  const before = moved >= SLOTS || moved < -SLOTS ? [] : health.results
  const gaps = Array.from({ length: before.length === 0 ? 0 : Math.max(0, moved) }, () => NONE)
  const [newest = NONE, ...older] = [...gaps, ...before].slice(0, SLOTS)
  return {
    slot: before.length === 0 ? slot : Math.max(slot, health.slot),
    results: [plusOne(newest, result), ...older],
  }
}

function plusOne(counts: Counts, result: Exclude<HealthResult, 'neutral'>): Counts {
  if (result === 'failure') return { ...counts, failed: counts.failed + 1 }
  if (result === 'slow') return { ...counts, slow: counts.slow + 1 }
  return { ...counts, succeeded: counts.succeeded + 1 }
}

/** The results within the window that ends now. */
export function totals(health: Health, policy: HealthPolicy, now: number): Counts & { readonly all: number } {
  const old = Math.max(0, slotAt(policy, now) - health.slot)
  let sum = NONE
  for (const counts of health.results.slice(0, Math.max(0, SLOTS - old))) sum = plus(sum, counts)
  return { ...sum, all: sum.succeeded + sum.slow + sum.failed }
}

/**
 * What the results say. `minimum`: other than the policy's, such as 1 while a provider that came back is tried.
 * `elsewhere`: what others counted, as if one had counted all.
 */
export function verdictOf(
  health: Health,
  policy: HealthPolicy,
  now: number,
  minimum: number = policy.minimumResults,
  elsewhere: readonly Health[] = [],
): Verdict {
  const { all, failed, slow } = [health, ...elsewhere]
    .map((one) => totals(one, policy, now))
    .reduce((sum, one) => ({ ...plus(sum, one), all: sum.all + one.all }))
  if (all === 0 || all < minimum) return 'healthy'
  if (failed / all >= policy.failureShare) return 'failing'
  return (failed + slow) / all >= policy.slowShare ? 'slow' : 'healthy'
}

function plus(a: Counts, b: Counts): Counts {
  return { succeeded: a.succeeded + b.succeeded, slow: a.slow + b.slow, failed: a.failed + b.failed }
}

function slotAt(policy: HealthPolicy, now: number): number {
  return Math.floor(now / (policy.windowMs / SLOTS))
}

/**
 * Whether the whole connection is to be taken as down: most of the operation groups that are known to be used fail,
 * and more than one of them does.
 */
export function mostFail(failing: ReadonlySet<string>, known: ReadonlySet<string>): boolean {
  const all = new Set([...known, ...failing])
  return failing.size > 1 && failing.size * 2 > all.size
}
