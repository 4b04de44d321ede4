import { MINUTE, SECOND } from '../base/index.ts'
import type { BreakerState } from '../define/index.ts'

/** When a breaker opens and how it closes again. */
export interface BreakerPolicy {
  /** Results are counted over this time. Default 30 s. */
  readonly windowMs: number
  /** Fewer results than this never open it. Default 10. */
  readonly minimumResults: number
  /** The share of failures that opens it. Default 0.5. */
  readonly failureShare: number
  /** How long it stays open the first time. Doubles with each probe that fails. Default 5 s. */
  readonly openMs: number
  /** The longest that it stays open before another probe. Default 2 min. */
  readonly openCapMs: number
  /** Calls let through at once while it is half open. Default 1. */
  readonly probes: number
  /** Probes that must succeed one after another to close it. Default 2. */
  readonly successesToClose: number
  /** How many of those who wait for it come back in a second. Default 100. */
  readonly returnsPerSecond: number
}

export const BREAKER_POLICY: BreakerPolicy = {
  windowMs: 30 * SECOND,
  minimumResults: 10,
  failureShare: 0.5,
  openMs: 5 * SECOND,
  openCapMs: 2 * MINUTE,
  probes: 1,
  successesToClose: 2,
  returnsPerSecond: 100,
}

interface Counts {
  readonly slot: number
  /** Newest first, {@link SLOTS} at most. */
  readonly results: readonly { readonly succeeded: number; readonly failed: number }[]
}

/** A breaker's state. `nextTurn`: the time that the next one who has to wait is given. */
export type Breaker =
  | { readonly state: 'closed'; readonly counts: Counts }
  | {
      readonly state: 'open'
      readonly until: number
      /** Times that it opened without closing in between. */
      readonly openings: number
      readonly nextTurn: number
    }
  | {
      readonly state: 'half_open'
      readonly probing: number
      readonly succeeded: number
      readonly openings: number
      readonly nextTurn: number
    }
  /** Held open by a person, until a person restores it. */
  | { readonly state: 'isolated'; readonly nextTurn: number }

/** The legal moves. `isolated` is entered and left by hand only. */
export const BREAKER_MOVES: Readonly<Record<BreakerState, readonly BreakerState[]>> = {
  closed: ['open', 'isolated'],
  open: ['half_open', 'isolated'],
  half_open: ['closed', 'open', 'isolated'],
  isolated: ['closed'],
}

type Permission =
  /** Go ahead, and {@link record} the result with the same `probe`. */
  | { readonly as: 'permitted'; readonly probe: boolean; readonly breaker: Breaker }
  /** Ask again at `until`. Those who wait get different times. */
  | { readonly as: 'refused'; readonly until: number; readonly breaker: Breaker }

/**
 * How a call went, as far as the provider's health is concerned. `neutral`: it says nothing about it (refused
 * credentials, a limit reached, never sent for our own reasons).
 */
export type BreakerResult = 'success' | 'failure' | 'neutral'

const SLOTS = 10
/** How soon those who wait for a probe's result, or for a person, look again. */
const RECHECK_MS = SECOND
const ISOLATED_RECHECK_MS = MINUTE

export const closedBreaker: Breaker = { state: 'closed', counts: { slot: 0, results: [] } }

/** Whether a call may go out now. */
export function permit(breaker: Breaker, policy: BreakerPolicy, now: number): Permission {
  if (breaker.state === 'closed') return { as: 'permitted', probe: false, breaker }
  if (breaker.state === 'isolated') return refused(breaker, now + ISOLATED_RECHECK_MS, policy)
  if (breaker.state === 'open') {
    if (now < breaker.until) return refused(breaker, breaker.until, policy)
    const { openings, nextTurn } = breaker
    return {
      as: 'permitted',
      probe: true,
      breaker: { state: 'half_open', probing: 1, succeeded: 0, openings, nextTurn },
    }
  }
  if (breaker.probing >= policy.probes) return refused(breaker, now + RECHECK_MS, policy)
  return { as: 'permitted', probe: true, breaker: { ...breaker, probing: breaker.probing + 1 } }
}

function refused(
  breaker: Exclude<Breaker, { state: 'closed' }>,
  earliest: number,
  policy: BreakerPolicy,
): Permission {
  const until = Math.max(earliest, breaker.nextTurn)
  return {
    as: 'refused',
    until: Math.ceil(until),
    breaker: { ...breaker, nextTurn: until + SECOND / policy.returnsPerSecond },
  }
}

/** The breaker after the result of a call that it permitted. Results that come late, after it moved on, change nothing. */
export function record(
  breaker: Breaker,
  policy: BreakerPolicy,
  result: BreakerResult,
  context: { readonly probe: boolean; readonly now: number },
): Breaker {
  if (breaker.state === 'half_open' && context.probe) return afterProbe(breaker, policy, result, context.now)
  if (breaker.state !== 'closed' || context.probe || result === 'neutral') return breaker
  const counts = counted(breaker.counts, policy, result, context.now)
  return shouldOpen(counts, policy) ? opened(1, 0, policy, context.now) : { state: 'closed', counts }
}

function afterProbe(
  breaker: Extract<Breaker, { state: 'half_open' }>,
  policy: BreakerPolicy,
  result: BreakerResult,
  now: number,
): Breaker {
  if (result === 'failure') return opened(breaker.openings + 1, breaker.nextTurn, policy, now)
  const probing = Math.max(0, breaker.probing - 1)
  if (result === 'neutral') return { ...breaker, probing }
  const succeeded = breaker.succeeded + 1
  return succeeded >= policy.successesToClose ? closedBreaker : { ...breaker, probing, succeeded }
}

function opened(openings: number, nextTurn: number, policy: BreakerPolicy, now: number): Breaker {
  const openMs = Math.min(policy.openCapMs, policy.openMs * 2 ** Math.min(openings - 1, 30))
  return { state: 'open', until: now + openMs, openings, nextTurn }
}

/** A person holds it open: nothing is called until it is restored. */
export function isolate(breaker: Breaker): Breaker {
  return { state: 'isolated', nextTurn: 'nextTurn' in breaker ? breaker.nextTurn : 0 }
}

/** A person lets it go. Only an isolated breaker is changed. */
export function restore(breaker: Breaker): Breaker {
  return breaker.state === 'isolated' ? closedBreaker : breaker
}

function counted(counts: Counts, policy: BreakerPolicy, result: 'success' | 'failure', now: number): Counts {
  const slot = Math.floor(now / (policy.windowMs / SLOTS))
  const none = { succeeded: 0, failed: 0 }
  // A clock that was set back counts on in the newest slot, or begins anew where it is far away.
  const moved = slot - counts.slot
  const before = moved >= SLOTS || moved < -SLOTS ? [] : counts.results
  const gaps = Array.from({ length: before.length === 0 ? 0 : Math.max(0, moved) }, () => none)
  const [newest = none, ...older] = [...gaps, ...before].slice(0, SLOTS)
  const added =
    result === 'success'
      ? { ...newest, succeeded: newest.succeeded + 1 }
      : { ...newest, failed: newest.failed + 1 }
  return { slot: before.length === 0 ? slot : Math.max(slot, counts.slot), results: [added, ...older] }
}

function shouldOpen(counts: Counts, policy: BreakerPolicy): boolean {
  let total = 0
  let failed = 0
  for (const slot of counts.results) {
    total += slot.succeeded + slot.failed
    failed += slot.failed
  }
  return total >= policy.minimumResults && failed / total >= policy.failureShare
}
