import { DAY, SECOND } from '../base/index.ts'

/** Steps that one run may ask for. */
export const STEPS_PER_RUN = 10_000
/** Steps of one run that may be under way at once; more wait their turn. */
export const STEPS_AT_ONCE = 50
/** Characters of a step's name. */
export const STEP_NAME_LIMIT = 200
/** The longest sleep, and the longest wait for an event. */
export const LONGEST_WAIT_MS = 3_650 * DAY
/** Bytes that a local step may return, as JSON. */
export const RESULT_LIMIT_BYTES = 1_048_576
/**
 * Bytes of results in one run's journal, which is read whole each time that the run goes on. Beyond it no further step
 * is begun; what is under way is still journaled.
 */
export const JOURNAL_LIMIT_BYTES = 33_554_432
/** When only waits have remained for this long, the execution ends and the run's row waits. */
export const SUSPEND_AFTER_MS = 100
/** How long the flow's code may await something that is no step. */
export const OUTSIDE_LIMIT_MS = 10 * SECOND
/** How long the flow's code may take to ask for what its journal holds. */
export const REPLAY_LIMIT_MS = SECOND
