/**
 * What a connection may still spend of its provider's limits, shared by all nodes and flows.
 *
 * Owns: what this node holds of each budget, who waits for it and who goes first, what is asked for and given back,
 * what the provider's answers say of its limits, who spends what.
 * Leaves to others: how a budget is granted (resilience), what a deferred call's run does meanwhile (flows).
 *
 * Invariants
 * 1. A call goes only on points that this node holds and whose time has not passed: whatever becomes of another node,
 *    or of this one, no window of a limit holds more than it allows.
 * 2. A call that finds its points at hand asks nobody. One that does not waits for a moment in memory, with few
 *    others, or is deferred to a time of its own.
 * 3. What is told to the authority may be lost on the way, and so may its answer: then points come back later, never
 *    sooner.
 * 4. The points of a call count from when its first byte leaves. Where it was held up for so long on its way there that
 *    others may have them, it does not leave. What is sent twice, with another credential, counts twice.
 * 5. A call that waited for its points is sent only if its breaker is closed still.
 */
export { createMemoryAuthority } from './authority.ts'
export { Budgets, type BudgetTicket } from './budgets.ts'
export { forgetSpending } from './record.ts'
export { reportBudgets, type BudgetReport } from './report.ts'
export { startSharedBudgets } from './shared.ts'
