/**
 * What people do to runs and quarantined things: one path for the command line, the API and the screens.
 *
 * Owns: retry, replay, cancel, settle, release, discard and hold, each one transaction with its ledger entry.
 * Leaves to others: executing what it makes ready (flows).
 *
 * Invariants
 * 1. Every action is in the ledger with its actor, in the transaction that does it.
 * 2. An action that does not fit the run's state changes nothing and says what would fit.
 */
export { createOperator, type Operator, type OperatorDeps } from './operator.ts'
export { lookAtRunsInFlight, type FlowInFlight, type InFlightDeps } from './inFlight.ts'
export type { RepeatedEffect } from './effects.ts'
export { beginHold, HOLD_KINDS, readHolds, type Hold, type HoldsRead } from './hold.ts'
export { reportHold, type HoldReport } from './holdReport.ts'
