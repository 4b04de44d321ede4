/**
 * When to send, when to wait, when to stop: decisions over state and now.
 *
 * Owns: back-off, the reading of Retry-After and rate-limit headers, budgets, the circuit breaker, a
 * provider's health, the ramp after an outage.
 * Leaves to others: keeping the state, asking at the right moment (calls), acting on a decision (flows). Nothing
 * here reads a clock, waits, or changes what it was given: state goes in, and a decision and new state come out.
 *
 * Invariants
 * 1. In no window of a limit is more admitted than the limit allows, wherever the window begins.
 * 2. A breaker moves only as {@link BREAKER_MOVES} says.
 * 3. No attempt is made before the time that the provider named, up to {@link LONGEST_RETRY_AFTER_MS}; a longer
 *    wait is not waited for but parked.
 * 4. What has to wait is given its own time: those who wait for the same thing come back one after another, at the
 *    pace that will be allowed, and not all at once.
 */
export { LONGEST_RETRY_AFTER_MS, nextAttempt, type NextAttemptContext } from './backoff.ts'
export { measured, noLatencies, slowFrom, timeoutFor, type Latencies } from './adaptiveTimeout.ts'
export {
  afterProbe,
  BREAKER_MOVES,
  BREAKER_POLICY,
  isolated,
  opened,
  releasedByHand,
  type Breaker,
  type BreakerPolicy,
} from './breaker.ts'
export {
  counted,
  mostFail,
  totals,
  unknownHealth,
  verdictOf,
  type Health,
  type HealthResult,
} from './health.ts'
export { RAMP_POLICY, releaseNow, type RampPolicy } from './ramp.ts'
export { exchange, NEW_BUDGET, useOf, type BudgetAsk, type BudgetGrant, type BudgetState } from './budget.ts'
export { forecastOf, type BudgetForecast, type BudgetUse } from './forecast.ts'
export { observedLimits, refusedBy, type ObservedLimit } from './limitHeaders.ts'
export { NO_WANTS } from './shares.ts'
export { HEARD_NOTHING, HOLDS_NOTHING, type HoldingGrant, type HoldingNow } from './ring.ts'
export { gridOf, HELD_MS, VALID_SLOTS, type Grid } from './slots.ts'
export { parseHttpDate, retryTime } from './retryAfter.ts'
export {
  earn,
  giveBack,
  newRetryBudget,
  RETRY_BUDGET,
  spend,
  type RetryBudget,
  type RetryBudgetPolicy,
} from './retryBudget.ts'
