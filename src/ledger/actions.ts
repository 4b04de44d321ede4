/**
 * Everything that the ledger can say was done: `subject.verb_past`, as in the glossary. Closed, so that a reader
 * can rely on the list; a new action is added here and nowhere else.
 */
export type LedgerAction =
  // What came in.
  | 'delivery.accepted'
  | 'delivery.duplicated'
  | 'delivery.rejected'
  | 'event.emitted'
  | 'event.dispatched'
  | 'event.unmatched'
  | 'event.quarantined'
  | 'event.discarded'
  // Runs and their steps.
  | 'run.queued'
  | 'run.started'
  | 'run.waited'
  | 'run.parked'
  | 'run.resumed'
  | 'run.held'
  | 'run.released'
  | 'run.rescued'
  | 'run.gave_up'
  | 'run.undone'
  | 'run.succeeded'
  | 'run.dead_lettered'
  | 'run.retried'
  | 'run.replayed'
  | 'run.cancelled'
  | 'step.succeeded'
  | 'step.failed'
  | 'step.skipped'
  | 'step.undone'
  | 'step.resolved'
  // What went out. A call ends in exactly one of these.
  | 'call.succeeded'
  | 'call.deferred'
  | 'call.failed'
  | 'call.in_doubt'
  | 'call.looked_up'
  | 'call.quarantined'
  // What was kept back.
  | 'quarantine.released'
  | 'quarantine.discarded'
  // Connections and their secrets.
  | 'connection.added'
  | 'connection.changed'
  | 'connection.tested'
  | 'connection.suspended'
  | 'connection.reauthorized'
  | 'connection.removed'
  | 'credential.added'
  | 'credential.refreshed'
  | 'credential.rotated'
  | 'credential.revoked'
  | 'credential.refused'
  | 'breaker.opened'
  | 'breaker.half_opened'
  | 'breaker.closed'
  | 'breaker.isolated'
  | 'breaker.released'
  | 'contract.changed'
  // The installation and its people.
  | 'token.created'
  | 'token.revoked'
  | 'flow.paused'
  | 'flow.resumed'
  | 'incident.opened'
  | 'incident.acknowledged'
  | 'incident.resolved'
  | 'reconciliation.completed'
  | 'schedule.fired'
  | 'node.started'
  | 'node.stopped'
  | 'node.declared_dead'
  | 'ledger.expired'

/**
 * Who did it: the platform itself, a provider (by connector name), an API token (by id), a person at the command
 * line (by account name), the business's own app, or a flow.
 */
export type Actor = 'system' | `${'provider' | 'token' | 'operator' | 'app' | 'flow'}:${string}`
  | 'database.restored'
  | 'hold.begun'
  | 'hold.released'
