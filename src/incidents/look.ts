import { SECOND, type Clock } from '../base/index.ts'
import { transaction, type Database, type Queryable } from '../db/index.ts'
import { endTurn, takeTurn, writeEntries, type LedgerEntry } from '../ledger/index.ts'
import type { Detector } from './detectors/detector.ts'
import type { AlertPayload, IncidentKind, OpenIncident } from './incident.ts'
import { LEFT_OUT_OVER, leftOutCondition } from './leftOut.ts'
import { planChanges, type Changes } from './plan.ts'
import {
  connectionNames,
  incidentEntry,
  insertAlerts,
  insertIncident,
  markResolved,
  readOpen,
  takeOverIncident,
  updateIncident,
} from './store.ts'
import { foldCalls, forgetCovered } from './streaks.ts'

export interface LookOptions {
  readonly database: Pick<Database, 'pool'>
  readonly clock: Clock
  readonly tenant: string
  readonly detectors: readonly Detector[]
  /** Names of the channels that alerts go to. */
  readonly channels: readonly string[]
}

/** How often somebody looks; each node tries as often, and those that come too early leave it. */
export const LOOK_EVERY_MS = SECOND
/** Entries of the ledger that one look reads, about; the next goes on where it ended. */
export const ENTRIES_PER_LOOK = 20_000
/** The name under which incidents read the ledger. */
export const READER = 'incidents'

/**
 * - `looked`: this node looked; `more`: there is more to read at once; `changed`: how many alerts were decided.
 * - `elsewhere`: another node looks now, or has just looked.
 */
export type Looked =
  | { readonly as: 'looked'; readonly more: boolean; readonly alerts: number }
  | { readonly as: 'elsewhere' }

/**
 * Looks once for what is wrong, in one transaction: reads what is new in the ledger, asks the detectors, compares with
 * the incidents that are open, and writes what changed with its alerts and its ledger entries.
 */
export function lookOnce(options: LookOptions, everyMs = LOOK_EVERY_MS / 2): Promise<Looked> {
  const { database, clock, tenant, detectors } = options
  const reader = { tenant, name: READER }
  return transaction(database.pool, async (client) => {
    const now = clock.now()
    const turn = await takeTurn(client, reader, { now, everyMs, atMost: ENTRIES_PER_LOOK })
    if (!turn) return { as: 'elsewhere' }
    await foldCalls(client, turn, now)
    const conditions = []
    const looked = new Set<IncidentKind>()
    for (const detector of detectors) {
      const found = await detector.lookWhole({ client, tenant, now })
      conditions.push(...found.conditions)
      if (found.whole) looked.add(detector.kind)
    }
    const open = await readOpen(client, tenant)
    const unread = detectors.flatMap(({ kind }) => (looked.has(kind) ? [] : [kind]))
    const noRoom = planChanges(open, conditions, looked).leftOut
    const leftOut = leftOutCondition({ unread, noRoom }, now)
    const changes = planChanges(open, leftOut ? [...conditions, leftOut] : conditions, looked.add('left_out'))
    const alerts = await writeChanges(client, changes, options, now)
    for (const { covers } of conditions) if (covers) await forgetCovered(client, tenant, covers)
    await endTurn(client, reader, turn, now)
    return { as: 'looked', more: turn.more, alerts }
  })
}

/** Writes what changed; gives how many alerts were decided. */
async function writeChanges(
  client: Queryable,
  changes: Changes,
  { tenant, detectors, channels }: LookOptions,
  now: number,
): Promise<number> {
  for (const { incident, now: condition } of changes.update)
    await updateIncident(client, tenant, incident.id, condition, now)
  const reminders = changes.update.filter(
    ({ incident, now: condition }) => condition.toldAgain === true && condition.holdsUp !== incident.holdsUp,
  )
  for (const { incident, now: condition } of changes.takeOver) {
    await takeOverIncident(client, tenant, incident.id, condition, now)
    await writeEntries(client, [incidentEntry(tenant, { ...incident, ...condition }, 'changed', now)])
  }
  const told = [...changes.open, ...changes.resolve, ...reminders.map(({ incident }) => incident)]
  if (told.length === 0) return 0
  const names = await connectionNames(
    client,
    tenant,
    told.flatMap(({ connectionId }) => connectionId ?? []),
  )
  const entries: LedgerEntry[] = []
  const tell = async (payload: AlertPayload, entry: LedgerEntry): Promise<void> => {
    entries.push(entry)
    await insertAlerts(client, tenant, payload, channels, now)
  }
  for (const condition of changes.open) {
    const incident = await insertIncident(client, tenant, condition, now)
    await tell(
      payloadOf(incident, 'opened', null, names, now),
      incidentEntry(tenant, incident, 'opened', now),
    )
  }
  for (const { incident, now: condition } of reminders) {
    const { what, holdsUp, todo } = condition
    const again = { ...incident, what, holdsUp, todo }
    await tell(payloadOf(again, 'reminded', null, names, now), incidentEntry(tenant, again, 'changed', now))
  }
  for (const incident of changes.resolve) {
    const over = overOf(incident, detectors)
    await markResolved(client, tenant, incident.id, over, now)
    await tell(
      payloadOf(incident, 'resolved', over, names, now),
      incidentEntry(tenant, incident, 'resolved', now),
    )
  }
  await writeEntries(client, entries)
  return told.length * channels.length
}

function overOf({ kind }: OpenIncident, detectors: readonly Detector[]): string {
  if (kind === 'left_out') return LEFT_OUT_OVER
  return detectors.find((detector) => detector.kind === kind)?.over ?? 'It is over.'
}

function payloadOf(
  incident: OpenIncident,
  change: AlertPayload['change'],
  resolution: string | null,
  names: ReadonlyMap<string, string>,
  now: number,
): AlertPayload {
  return {
    incident: incident.id,
    kind: incident.kind,
    change,
    title: incident.title,
    what: incident.what,
    since: new Date(incident.since).toISOString(),
    holdsUp: incident.holdsUp,
    todo: incident.todo,
    connection: names.get(incident.connectionId ?? '') ?? null,
    flow: incident.flow ?? null,
    at: new Date(now).toISOString(),
    resolution,
  }
}
