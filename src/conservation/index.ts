/**
 * Conservation: nothing is dropped silently.
 *
 * Owns: the counts of events and runs per connection, flow and day; what they must be by the ledger, which is written in
 * the same transaction but is another table, append-only and signed; the check that runs by itself.
 * Leaves to others: writing events and runs (inbox, flows, operator), their entries (whoever writes them), telling
 * somebody (incidents).
 *
 * Invariants
 * 1. events = dispatched + unmatched + quarantined + discarded, and runs = queued + running + waiting + parked + held +
 *    undoing + succeeded + undone + dead_lettered + cancelled, each as many as the ledger says came to be.
 * 2. Both sides of a comparison know the same transactions, so what comes in meanwhile never makes it fail.
 * 3. An entry is added once: what was added and how far the ledger was read are one transaction.
 * 4. A turn reads what is new, and counts one hour by the indexes on ids.
 */
export { listBalances, brokenBalances, type Balance } from './store.ts'
export { lookBack, type Imbalance, type LookedBack } from './check.ts'
export { keepConservation } from './keep.ts'
