/**
 * Durable flows: a run is its flow's function, called again from the top with its journal.
 *
 * Owns: claiming runs, executing them, their journal and attempts, retries, waits, lanes, undo, rescue.
 * Leaves to others: the first row of a run (inbox), one attempt at a provider (calls), what people do to runs (operator).
 *
 * Invariants
 * 1. A step found in the journal is answered from it; its result was committed before anybody heard of it.
 * 2. Every write of an execution carries its fence: what was taken from a node cannot be written by it.
 * 3. Retries have one owner: `retry.ts` decides, nobody else.
 * 4. Waiting is a row, never a sleeping promise beyond a moment.
 * 5. Results reach the flow's code one at a time, in the order of their journal sequence.
 */
export { bringForward } from './bringForward.ts'
export { Engine, type EngineOptions } from './engine.ts'
export { DEAD_AFTER_MS } from './nodes.ts'
export { checkFit, type Fit } from './fit.ts'
export { loadRun, loadRunsInFlight } from './claim.ts'
export { notTried, RETRY_DEFAULTS } from './retry.ts'
export { STEPS_AT_ONCE, STEPS_PER_RUN, OUTSIDE_LIMIT_MS } from './runLimits.ts'
export { wakeWaiting, type Arrival } from './waits.ts'
export type { LostTime } from './restored.ts'
export type { ClaimedRun, PendingStep, RunMove } from './run.ts'
