import { MINUTE, SECOND } from '../base/index.ts'
import type { BreakerState } from '../define/index.ts'
import { HEALTH_POLICY, type HealthPolicy } from './health.ts'

/** When a breaker opens and how it is found out that it may close again. */
export interface BreakerPolicy extends HealthPolicy {
  /** How long it stays open before the first probe. Doubles with each probe that fails. Default 5 s. */
  readonly openMs: number
  /** The longest time between two probes. Default 2 min. */
  readonly openCapMs: number
}

export const BREAKER_POLICY: BreakerPolicy = { ...HEALTH_POLICY, openMs: 5 * SECOND, openCapMs: 2 * MINUTE }

/**
 * A breaker that is not closed.
 * - `open`: nothing goes out but a probe at `until`. `openings`: times that it opened without closing in between.
 * - `half_open`: a probe found the provider back at `since`; those who waited are let go, first one, then more.
 * - `isolated`: held open by a person, until a person releases it.
 */
export type Breaker =
  | { readonly state: 'open'; readonly until: number; readonly openings: number }
  | { readonly state: 'half_open'; readonly since: number; readonly openings: number }
  | { readonly state: 'isolated' }

/** The legal moves. `isolated` is entered and left by hand only; those who waited then come back as after an outage. */
export const BREAKER_MOVES: Readonly<Record<BreakerState, readonly BreakerState[]>> = {
  closed: ['open', 'isolated'],
  open: ['open', 'half_open', 'isolated'],
  half_open: ['closed', 'open', 'isolated'],
  isolated: ['half_open'],
}

/** The breaker after its calls failed. `before`: `undefined` where it was closed. One held by a person stays. */
export function opened(before: Breaker | undefined, policy: BreakerPolicy, now: number): Breaker {
  if (before?.state === 'isolated') return before
  const openings = (before?.openings ?? 0) + 1
  const openMs = Math.min(policy.openCapMs, policy.openMs * 2 ** Math.min(openings - 1, 30))
  return { state: 'open', until: now + openMs, openings }
}

/** The breaker after a probe's answer: it is let half open, or stays open for longer. Any other is not changed. */
export function afterProbe(breaker: Breaker, alive: boolean, policy: BreakerPolicy, now: number): Breaker {
  if (breaker.state !== 'open') return breaker
  return alive ? { state: 'half_open', since: now, openings: breaker.openings } : opened(breaker, policy, now)
}

/** A person holds it open. */
export function isolated(): Breaker {
  return { state: 'isolated' }
}

/** A person lets it go: those who waited come back one after another. Only an isolated breaker is changed. */
export function releasedByHand(breaker: Breaker, now: number): Breaker {
  return breaker.state === 'isolated' ? { state: 'half_open', since: now, openings: 0 } : breaker
}
