import { crashPoint, type Clock } from '../base/index.ts'
import { createGroupCommit, tenantsApart, transaction, type Database, type Queryable } from '../db/index.ts'
import type { RunRef } from '../dispatch/index.ts'
import type { LedgerEntry } from '../ledger/index.ts'
import type { AcceptResult, VerifiedDelivery } from './delivery.ts'
import { storable } from './fields.ts'
import type { FlowTable } from './flowTable.ts'
import { insertRuns } from './insertRuns.ts'
import { prepareDelivery, type PreparedDelivery, type PreparedEvent } from './prepare.ts'

export interface Inbox {
  /**
   * Resolves once the delivery is committed. Rejects with a RetryableError where the database is away or too many
   * wait: then whether it was committed may be unknown, and the sender's repetition is absorbed by its keys.
   */
  accept(delivery: VerifiedDelivery): Promise<AcceptResult>
  /**
   * Writes a delivery in the caller's transaction, so that it is committed with what the caller writes: a schedule's
   * next time, a poll's cursor. Nobody who waits is told of its fields: those who wait look for themselves.
   */
  acceptWithin(client: Queryable, delivery: VerifiedDelivery): Promise<AcceptResult>
  /** Resolves when everything under way has been answered. */
  drain(): Promise<void>
}

export interface InboxOptions {
  readonly database: Database
  readonly clock: Clock
  readonly flows: FlowTable
  readonly wake: (client: Queryable, runs: readonly RunRef[]) => Promise<void>
  readonly writeEntries: (client: Queryable, entries: readonly LedgerEntry[]) => Promise<void>
  /** Called after the commit of events that runs may be waiting for. */
  readonly onEvents?: (events: readonly ArrivedEvent[]) => void
}

/** A committed event with fields that `waitFor` may match on. */
export interface ArrivedEvent {
  readonly tenant: string
  readonly connector: string
  readonly connectionId: string
  readonly type: string
  readonly fields: readonly (readonly [field: string, value: string])[]
}

interface Written extends AcceptResult {
  readonly fresh: readonly PreparedEvent[]
}

export function createInbox(options: InboxOptions): Inbox {
  const commit = createGroupCommit<PreparedDelivery, Written>({
    // In the order of arrival, which is the order of places in a lane; each statement sorts what it locks itself.
    key: () => '',
    apart: tenantsApart(options.database, (prepared) => prepared.delivery.tenant),
    bytes: (prepared) => prepared.delivery.body.length,
    flush: (batch) => transaction(options.database.pool, (client) => writeBatch(client, batch, options)),
  })
  return {
    async accept(delivery) {
      const written = await commit.add(prepareDelivery(delivery, options.flows))
      crashPoint('inbox.committed')
      announce(delivery, written.fresh, options.onEvents)
      return { state: written.state, deliveryId: written.deliveryId }
    },
    async acceptWithin(client, delivery) {
      const [written] = await writeBatch(client, [prepareDelivery(delivery, options.flows)], options)
      return { state: written!.state, deliveryId: written!.deliveryId }
    },
    drain: () => commit.drain(),
  }
}

function announce(
  delivery: VerifiedDelivery,
  fresh: readonly PreparedEvent[],
  onEvents: InboxOptions['onEvents'],
): void {
  const arrived = fresh
    .filter((event) => event.fields.length > 0)
    .map((event) => ({
      tenant: delivery.tenant,
      connector: delivery.connector.name,
      connectionId: delivery.connectionId,
      type: event.type,
      fields: event.fields,
    }))
  if (arrived.length > 0) onEvents?.(arrived)
}

/** One transaction: keys → deliveries → events → fields → quarantine → runs → wake-ups → ledger. */
async function writeBatch(
  client: Queryable,
  batch: readonly PreparedDelivery[],
  options: InboxOptions,
): Promise<Written[]> {
  crashPoint('inbox.before_keys')
  const taken = await takeKeys(client, batch)
  const written = batch.map((prepared) => decide(prepared, taken))
  const fresh = batch.flatMap((prepared, i) =>
    written[i]!.fresh.map((event) => ({ delivery: prepared, event })),
  )
  const runs = fresh.flatMap(({ event }) => event.runs)
  await Promise.all([
    insertDeliveries(client, batch, written),
    insertEvents(client, fresh),
    insertFields(client, fresh),
    insertQuarantine(client, fresh),
    insertRuns(client, runs),
    options.wake(client, runs),
    options.writeEntries(
      client,
      batch.map((prepared, i) => entryOf(prepared, written[i]!)),
    ),
  ])
  crashPoint('inbox.before_commit')
  return written
}

/** Takes the events' keys; answers which event owns each key that was free. */
async function takeKeys(client: Queryable, batch: readonly PreparedDelivery[]): Promise<ReadonlySet<string>> {
  const keys = batch.flatMap(({ delivery, events }) =>
    events.flatMap((event) =>
      event.keys.map((key) => ({
        tenant: delivery.tenant,
        connection: delivery.connectionId,
        event: event.id,
        ...key,
      })),
    ),
  )
  if (keys.length === 0) return new Set()
  keys.sort((a, b) => Buffer.compare(a.hash, b.hash))
  const { rows } = await client.query<{ event_id: string; kind: string }>({
    name: 'take_keys',
    text: `insert into event_keys (tenant, connection_id, key_hash, kind, event_id)
      select * from unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::text[])
      on conflict do nothing returning event_id, kind`,
    values: [
      keys.map((key) => key.tenant),
      keys.map((key) => key.connection),
      keys.map((key) => key.hash),
      keys.map((key) => key.kind),
      keys.map((key) => key.event),
    ],
  })
  return new Set(rows.map((row) => `${row.event_id} ${row.kind}`))
}

/** What a delivery turned out to be: a duplicate where every one of its events was known already. */
function decide(prepared: PreparedDelivery, taken: ReadonlySet<string>): Written & { reason?: string } {
  const fresh = prepared.events.filter((event) =>
    event.keys.every((key) => taken.has(`${event.id} ${key.kind}`)),
  )
  if (fresh.length > 0 || prepared.events.length === 0)
    return { state: 'accepted', deliveryId: prepared.id, fresh }
  const byContent = prepared.events.every((event) =>
    event.keys.every((key) => key.kind === 'content' || taken.has(`${event.id} ${key.kind}`)),
  )
  return { state: 'duplicate', deliveryId: prepared.id, fresh, reason: byContent ? 'content' : 'id' }
}

async function insertDeliveries(
  client: Queryable,
  batch: readonly PreparedDelivery[],
  written: readonly (Written & { reason?: string })[],
): Promise<void> {
  await client.query({
    name: 'insert_deliveries',
    text: `insert into deliveries (tenant, id, endpoint_id, connection_id, state, reason, headers, content_type, body, event_count, received_at)
      select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::text[], $9::bytea[], $10::int[], $11::timestamptz[])`,
    values: [
      batch.map(({ delivery }) => delivery.tenant),
      batch.map(({ id }) => id),
      batch.map(({ delivery }) => delivery.endpointId ?? null),
      batch.map(({ delivery }) => delivery.connectionId),
      written.map(({ state }) => state),
      written.map(({ reason }) => reason ?? null),
      batch.map(({ delivery }) => Buffer.from(JSON.stringify(delivery.headers))),
      batch.map(({ delivery }) => delivery.contentType),
      batch.map(({ delivery }) => delivery.body),
      batch.map(({ events }) => events.length),
      batch.map(({ delivery }) => new Date(delivery.receivedAt)),
    ],
  })
}

type FreshEvent = { readonly delivery: PreparedDelivery; readonly event: PreparedEvent }

async function insertEvents(client: Queryable, fresh: readonly FreshEvent[]): Promise<void> {
  if (fresh.length === 0) return
  await client.query({
    name: 'insert_events',
    text: `insert into events (tenant, id, connection_id, delivery_id, type, provider_event_id, state, reason, reason_path, data_at, summary, occurred_at, received_at)
      select u.*, now() from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::timestamptz[]) as u`,
    values: [
      fresh.map(({ delivery }) => delivery.delivery.tenant),
      fresh.map(({ event }) => event.id),
      fresh.map(({ delivery }) => delivery.delivery.connectionId),
      fresh.map(({ delivery }) => delivery.id),
      fresh.map(({ event }) => event.type),
      fresh.map(({ event }) => event.providerEventId ?? null),
      fresh.map(({ event }) => event.state),
      fresh.map(({ event }) => (event.reason === undefined ? null : storable(event.reason))),
      fresh.map(({ event }) => (event.reasonPath === undefined ? null : storable(event.reasonPath))),
      fresh.map(({ event }) => event.dataAt),
      fresh.map(({ event }) => event.summary ?? null),
      fresh.map(({ event }) => event.occurredAt ?? null),
    ],
  })
}

async function insertFields(client: Queryable, fresh: readonly FreshEvent[]): Promise<void> {
  const fields = fresh.flatMap(({ delivery, event }) =>
    event.fields.map(([field, value]) => ({ delivery: delivery.delivery, event, field, value })),
  )
  if (fields.length === 0) return
  await client.query({
    name: 'insert_fields',
    text: `insert into event_fields (tenant, connector, type, field, value, event_id, connection_id)
      select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])`,
    values: [
      fields.map(({ delivery }) => delivery.tenant),
      fields.map(({ delivery }) => delivery.connector.name),
      fields.map(({ event }) => event.type),
      fields.map(({ field }) => field),
      fields.map(({ value }) => value),
      fields.map(({ event }) => event.id),
      fields.map(({ delivery }) => delivery.connectionId),
    ],
  })
}

async function insertQuarantine(client: Queryable, fresh: readonly FreshEvent[]): Promise<void> {
  const kept = fresh.filter(({ event }) => event.state === 'quarantined')
  if (kept.length === 0) return
  await client.query({
    name: 'insert_quarantined_events',
    text: `insert into quarantine (tenant, id, kind, connection_id, event_id, path, reason)
      select u.tenant, 'qrn' || substr(u.event, 4), 'event', u.connection, u.event, u.path, u.reason
      from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) as u(tenant, connection, event, path, reason)`,
    values: [
      kept.map(({ delivery }) => delivery.delivery.tenant),
      kept.map(({ delivery }) => delivery.delivery.connectionId),
      kept.map(({ event }) => event.id),
      kept.map(({ event }) => storable(event.reasonPath ?? '')),
      kept.map(({ event }) => storable(event.reason ?? '')),
    ],
  })
}

function entryOf({ id, delivery }: PreparedDelivery, written: Written & { reason?: string }): LedgerEntry {
  return {
    tenant: delivery.tenant,
    at: delivery.receivedAt,
    actor: delivery.actor ?? `provider:${delivery.connectionName}`,
    action: written.state === 'accepted' ? 'delivery.accepted' : 'delivery.duplicated',
    target: id,
    outcome: written.state,
    connectionId: delivery.connectionId,
    detail: {
      bytes: delivery.body.length,
      ...(written.reason === undefined ? {} : { reason: written.reason }),
      events: written.fresh.map((event) => ({
        id: event.id,
        type: event.type,
        state: event.state,
        ...(event.runs.length > 0
          ? { runs: event.runs.map((run) => run.id), flows: event.runs.map((run) => run.flow) }
          : {}),
      })),
    },
  }
}
