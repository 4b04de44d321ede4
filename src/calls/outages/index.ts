/**
 * Outages of providers: breakers that all nodes share, the probes that end them, and one record for each.
 *
 * Owns: the tables `breakers` and `outages`, what a node knows of them, probing.
 * Leaves to others: what counts as failing (resilience), which runs wait and letting them go (flows).
 *
 * Invariants
 * 1. A breaker that is open or isolated is so on every node within a second, and after every restart.
 * 2. A call asks no database: the board answers from memory.
 * 3. Of all nodes one at a time probes a breaker, at the times that the policy says, by the connector's own check.
 * 4. A provider's failures count together, whichever nodes saw them: within a second all nodes know of them.
 * 5. Every opening, half-opening, closing, isolation and release is in the ledger, in the transaction that does it.
 */
export { OutageBoard } from './board.ts'
export { groupOf, groupsOf, parkedFor, WHOLE, type OutageRef } from './group.ts'
export type { GroupHealth } from './health.ts'
export { OutageKeeper } from './keeper.ts'
export { budgetPerSecond, drainMs, readCorrectedLimits } from './pace.ts'
export { readOutages, readWaiting, type OutageRecord, type WaitingRuns } from './records.ts'
export {
  closeBreaker,
  isolateByHand,
  releaseByHand,
  type BreakerKey,
  type ByHand,
  type SharedBreaker,
  type StoreDeps,
} from './store.ts'
