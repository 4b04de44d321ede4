/**
 * One outbound attempt: prepare → admit → authorize → begin → send → judge.
 *
 * Owns: the pipeline, what an answer or a broken connection means for a step, budgets (`budgets/`), and the breakers
 * and outages of connections, shared by all nodes (`outages/`).
 * Leaves to others: whether and when there is another attempt (flows), credentials (vault), sockets (egress),
 * shapes (contracts), how secrets are recognised (ledger), recording (flows).
 *
 * Invariants
 * 1. A call ends in exactly one {@link CallOutcome}. It never retries; after a 401, which was not acted on, it sends
 *    once more with another credential.
 * 2. `begin` is awaited after everything else is ready and before the first byte leaves. So a begun attempt means
 *    that something may have left, and what is deferred or parked has not begun.
 * 3. `failed` is said of what was definitely not done, or may harmlessly be done again. Everything else without a
 *    definite answer is `in_doubt`.
 * 4. `newKey` is said only after a definite answer that it was not done, never after doubt.
 * 5. No credential stands in an exchange or a reason, also where a provider gives it back. Only the payload of a
 *    quarantined answer is kept as it came.
 * 6. A breaker or a budget that says wait costs no attempt and sends nothing.
 */
export {
  Budgets,
  forgetSpending,
  reportBudgets,
  startSharedBudgets,
  type BudgetReport,
} from './budgets/index.ts'
export { createCalls, type Calls, type CallsOptions } from './calls.ts'
export {
  budgetPerSecond,
  closeBreaker,
  drainMs,
  groupsOf,
  isolateByHand,
  OutageBoard,
  OutageKeeper,
  parkedFor,
  readCorrectedLimits,
  readOutages,
  readWaiting,
  releaseByHand,
  WHOLE,
  type BreakerKey,
  type ByHand,
  type OutageRecord,
  type OutageRef,
  type SharedBreaker,
  type WaitingRuns,
} from './outages/index.ts'
export { parkedForCredential, type CallOutcome, type CredentialRef, type Exchange } from './outcome.ts'
export {
  decodeRecorded,
  encodeRecorded,
  type CallConnection,
  type CallRequest,
  type RecordedRequest,
} from './request.ts'
