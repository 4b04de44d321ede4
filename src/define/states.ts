/**
 * The closed sets of states and the moves between them. The tables are the rule: code that moves a run asks
 * {@link mayMove}, and docs/states.md is generated from them.
 */
export type DeliveryState = 'accepted' | 'duplicate' | 'rejected'
export type EventState = 'dispatched' | 'unmatched' | 'quarantined' | 'discarded'
export type AttemptState = 'succeeded' | 'failed' | 'in_doubt' | 'quarantined'
export type ConnectionState = 'active' | 'needs_reauthorization' | 'revoked'
export type BreakerState = 'closed' | 'open' | 'half_open' | 'isolated'

export type RunState =
  | 'queued'
  | 'running'
  | 'waiting'
  | 'parked'
  | 'held'
  | 'undoing'
  | 'succeeded'
  | 'undone'
  | 'dead_lettered'
  | 'cancelled'

/** Where a run may go from each state. `undoing` is both a state and a mode: an undoing run that waits stays `undoing`. */
export const RUN_MOVES: Readonly<Record<RunState, readonly RunState[]>> = {
  queued: ['running', 'undoing', 'cancelled', 'dead_lettered'],
  running: [
    'queued',
    'waiting',
    'parked',
    'held',
    'undoing',
    'succeeded',
    'undone',
    'dead_lettered',
    'cancelled',
  ],
  waiting: ['running', 'queued', 'undoing', 'cancelled'],
  parked: ['queued', 'running', 'undoing', 'cancelled'],
  held: ['queued', 'running', 'undoing', 'cancelled', 'dead_lettered'],
  undoing: ['undoing', 'undone', 'cancelled', 'held', 'dead_lettered'],
  succeeded: [],
  undone: [],
  dead_lettered: ['queued', 'cancelled', 'undoing'],
  cancelled: [],
}

/** States in which a run is over. A dead letter may still be retried by a person. */
export const RUN_ENDED: ReadonlySet<RunState> = new Set<RunState>([
  'succeeded',
  'undone',
  'dead_lettered',
  'cancelled',
])

export function mayMove(from: RunState, to: RunState): boolean {
  return RUN_MOVES[from].includes(to)
}

export const EVENT_MOVES: Readonly<Record<EventState, readonly EventState[]>> = {
  dispatched: [],
  unmatched: ['dispatched', 'discarded'],
  quarantined: ['dispatched', 'unmatched', 'discarded'],
  discarded: [],
}
