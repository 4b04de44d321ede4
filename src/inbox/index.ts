/**
 * The one durable door for work: what was received becomes events, runs and wake-ups, in one transaction.
 *
 * Owns: deduplication, dispatching events to flows, places in lanes, the tables deliveries, events, event_keys
 * and event_fields, and the first row of every run.
 * Leaves to others: verifying (webhooks), executing (flows).
 *
 * Invariants
 * 1. `accept` answers only after the delivery, its events, their runs and wake-ups are committed.
 * 2. An event is dispatched once: its keys and its runs are written in one transaction.
 * 3. What cannot be read or trusted is kept, quarantined with its path and reason.
 */
export { createInbox, type Inbox, type InboxOptions } from './inbox.ts'
export type { AcceptResult, VerifiedDelivery } from './delivery.ts'
export { fieldValue } from './fields.ts'
export { createFlowTable, type FlowTable } from './flowTable.ts'
export { eventOf, openEvent, type StoredEvent } from './openEvent.ts'
export { knownEvents } from './knownEvents.ts'
export { insertRuns, WAKE_AGAIN_SECONDS, type NewRun } from './insertRuns.ts'
export { insertFields, type EventFields } from './insertFields.ts'
export { EVENTS_PER_DELIVERY, fieldsOf, newRun, summaryOf } from './prepare.ts'
