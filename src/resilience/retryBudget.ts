import { MINUTE, SECOND } from '../base/index.ts'

/** How many retries a connection may make on one node. */
export interface RetryBudgetPolicy {
  /** Retries that each first attempt earns. Default 0.2: one for five. */
  readonly share: number
  /** Retries per second that need no first attempts, so that a quiet connection recovers too. Default 1. */
  readonly perSecond: number
  /** Most retries that can be saved up, and what a connection begins with. Default 20. */
  readonly burst: number
  /** Those that have to wait ask again one after another, this far apart. Default 50 ms. */
  readonly askEveryMs: number
}

export const RETRY_BUDGET: RetryBudgetPolicy = { share: 0.2, perSecond: 1, burst: 20, askEveryMs: 50 }

/** Nobody is told to ask again later than this. */
const LONGEST_ASK_MS = 15 * MINUTE

/** State of one connection's retry budget. Replaced, never changed. */
export interface RetryBudget {
  readonly saved: number
  /** When `saved` was right, in milliseconds since 1970. */
  readonly at: number
  /** When the last of those that wait asks again. */
  readonly lastAskAt: number
}

type RetryLeave =
  | { readonly as: 'admitted'; readonly budget: RetryBudget }
  /** Ask again at `until`. Costs no attempt. */
  | { readonly as: 'deferred'; readonly until: number; readonly budget: RetryBudget }

export function newRetryBudget(policy: RetryBudgetPolicy, now: number): RetryBudget {
  return { saved: policy.burst, at: now, lastAskAt: now }
}

/** A first attempt was made: it earns a share of a retry. */
export function earn(budget: RetryBudget, policy: RetryBudgetPolicy, now: number): RetryBudget {
  return credit(budget, policy, now, policy.share)
}

/** A retry did no harm: it was not made after all, or the provider took it. It may be made again. */
export function giveBack(budget: RetryBudget, policy: RetryBudgetPolicy, now: number): RetryBudget {
  return credit(budget, policy, now, 1)
}

/** Leave to make one retry, or the time to ask again. */
export function spend(budget: RetryBudget, policy: RetryBudgetPolicy, now: number): RetryLeave {
  const current = credit(budget, policy, now, 0)
  if (current.saved >= 1) return { as: 'admitted', budget: { ...current, saved: current.saved - 1 } }
  const until = Math.min(Math.max(current.lastAskAt, now) + policy.askEveryMs, now + LONGEST_ASK_MS)
  return { as: 'deferred', until, budget: { ...current, lastAskAt: until } }
}

function credit(budget: RetryBudget, policy: RetryBudgetPolicy, now: number, more: number): RetryBudget {
  const passed = Math.max(0, now - budget.at)
  const saved = budget.saved + (passed / SECOND) * policy.perSecond + more
  return { ...budget, saved: Math.min(policy.burst, saved), at: now }
}
