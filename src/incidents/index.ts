/**
 * Incidents: what a person should know about, and the telling of it.
 *
 * Owns: what is looked for (a table of detectors), one incident for each thing that is wrong, its alerts by e-mail and
 * signed webhook, acknowledgement.
 * Leaves to others: the facts (ledger, runs, connections, outages, counts, nodes), sockets (egress), the secrets of
 * alerts (the vault), the repair.
 *
 * Invariants
 * 1. One incident for one condition: opened when it is found, kept up to date, resolved when it is found no more.
 * 2. An incident's change, its alerts and its ledger entry are one transaction.
 * 3. An alert is sent at least once to each channel, under the same id, the opening before the end; it is given up only
 *    after three days or where the other side wants no more.
 * 4. One node looks at a time, and any can: what it has read and what it has found are one transaction.
 * 5. What keeps alerts from going out shows at start; while the database is away they go out all the same.
 * 6. A look reads what is new and what is indexed; no statement of it grows with what is kept.
 */
export { acknowledgeIncident } from './acknowledge.ts'
export { createChannels } from './alerts/channels.ts'
export { alertConnections } from './alerts/connections.ts'
export { roomOnDisk } from './detectors/disk.ts'
export {
  ALERT_CHANGES,
  ALERT_STATES,
  INCIDENT_KINDS,
  INCIDENT_STATES,
  type AlertChange,
  type IncidentState,
} from './incident.ts'
export { INCIDENT_COLUMNS, type IncidentRow } from './store.ts'
export { Watch, type WatchOptions } from './watch.ts'
