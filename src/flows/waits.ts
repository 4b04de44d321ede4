import type { EventId } from '../base/index.ts'
import { transaction, type Database, type Queryable } from '../db/index.ts'
import type { AnyConnector, FlowEvent } from '../define/index.ts'
import type { RunRef } from '../dispatch/index.ts'
import { eventOf, WAKE_AGAIN_SECONDS, type StoredEvent } from '../inbox/index.ts'
import type { ClaimedRun, PendingStep } from './run.ts'

type Wait = Extract<PendingStep, { kind: 'wait' }>

/** The first event since the run began that the wait is for, and that the run has not consumed. */
export async function findAwaitedEvent(
  client: Queryable,
  run: Pick<ClaimedRun, 'tenant' | 'createdAt'> & { readonly event: { readonly event_id: EventId } },
  wait: Wait,
  consumed: readonly string[],
  connectorNamed: (name: string) => AnyConnector | undefined,
): Promise<FlowEvent | undefined> {
  const { rows } = await client.query<StoredEvent>({
    name: 'find_awaited_event',
    text: `select e.id as event_id, e.type, e.occurred_at, e.received_at, e.data_at, d.content_type, d.body, n.name as connection_name
      from event_fields f
      join events e on e.tenant = f.tenant and e.id = f.event_id
      join deliveries d on d.tenant = e.tenant and d.id = e.delivery_id
      join connections n on n.tenant = e.tenant and n.id = e.connection_id
      where f.tenant = $1 and f.connector = $2 and f.type = $3 and f.field = $4 and f.value = $5
        and f.received_at >= $6 and f.event_id <> all($7::text[]) and ($8::text is null or n.name = $8)
      order by f.received_at, f.event_id limit 1`,
    values: [
      run.tenant,
      wait.connector,
      wait.type,
      wait.field,
      wait.value,
      new Date(run.createdAt),
      [run.event.event_id, ...consumed],
      wait.connection ?? null,
    ],
  })
  const stored = rows[0]
  const connector = connectorNamed(wait.connector)
  return stored && connector ? eventOf(stored, connector) : undefined
}

/** What arrived: a committed event's fields, or `undefined` for every wait that began lately. */
export interface Arrival {
  readonly tenant: string
  readonly connector: string
  readonly type: string
  readonly fields: readonly (readonly [field: string, value: string])[]
}

export interface WaitDeps {
  readonly database: Database
  readonly wake: (client: Queryable, runs: readonly RunRef[]) => Promise<void>
}

/**
 * Makes ready the suspended runs that wait for these events. Called after the events are committed; a run that is
 * suspended meanwhile looks for the event itself after its own commit.
 */
export async function wakeWaiting(arrivals: readonly Arrival[], { database, wake }: WaitDeps): Promise<void> {
  const keys = arrivals.flatMap(({ tenant, connector, type, fields }) =>
    fields.map(([field, value]) => ({ tenant, connector, type, field, value })),
  )
  if (keys.length === 0) return
  const found = await database.pool.query<RunRef>({
    name: 'find_waiting',
    text: `select distinct w.tenant, w.run_id as id from waits w
      join unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) as k(tenant, connector, type, field, value)
        using (tenant, connector, type, field, value)`,
    values: [
      keys.map((key) => key.tenant),
      keys.map((key) => key.connector),
      keys.map((key) => key.type),
      keys.map((key) => key.field),
      keys.map((key) => key.value),
    ],
  })
  if (found.rows.length > 0) await makeReady(found.rows, { database, wake })
}

/** Runs that are woken at once. */
const WAKE_AT_ONCE = 500

const WAITS = `from waits w
      join runs r on r.tenant = w.tenant and r.id = w.run_id and r.state in ('waiting', 'parked') and r.node_id is null
      join event_fields f on f.tenant = w.tenant and f.connector = w.connector and f.type = w.type and f.field = w.field and f.value = w.value
        and f.received_at >= r.created_at and f.event_id <> r.event_id
      join connections n on n.tenant = f.tenant and n.id = f.connection_id and (w.connection_id is null or w.connection_id = n.name)`
const NOT_CONSUMED = `not exists (select 1 from journal j where j.tenant = w.tenant and j.run_id = w.run_id and j.kind = 'wait' and position(f.event_id in convert_from(j.result, 'UTF8')) > 0)`

/**
 * Waits that began lately and events that came lately, each by its index on time: asked every second, it must not grow
 * with the runs that wait, nor with the events that are kept.
 */
export const FIND_MISSED = `select w.tenant, w.run_id as id ${WAITS}
      where w.created_at > now() - $1 * interval '1 millisecond' and ${NOT_CONSUMED}
    union
    select w.tenant, w.run_id as id ${WAITS}
      where f.received_at > now() - $1 * interval '1 millisecond' and ${NOT_CONSUMED}
    limit $2`

/**
 * Wakes runs whose awaited event came while they were being suspended, or whose waking was cut short by a crash.
 * Answers whether there may be more.
 */
export async function wakeMissed({ database, wake }: WaitDeps, lookBackMs: number): Promise<boolean> {
  // Without a name: it is planned for how far it looks back.
  const { rows } = await database.pool.query<RunRef>(FIND_MISSED, [lookBackMs, WAKE_AT_ONCE])
  if (rows.length > 0) await makeReady(rows, { database, wake })
  return rows.length === WAKE_AT_ONCE
}

async function makeReady(runs: readonly RunRef[], { database, wake }: WaitDeps): Promise<void> {
  await transaction(database.pool, async (client) => {
    const { rows } = await client.query<RunRef>(
      `update runs r set state = 'queued', due_at = now() + interval '${WAKE_AGAIN_SECONDS} seconds', updated_at = now()
       from (select r.tenant, r.id from runs r where (r.tenant, r.id) in (select * from unnest($1::text[], $2::text[]))
               and r.state in ('waiting', 'parked') and r.node_id is null order by r.tenant, r.id for no key update of r) ready
       where r.tenant = ready.tenant and r.id = ready.id returning r.tenant, r.id`,
      [runs.map((run) => run.tenant), runs.map((run) => run.id)],
    )
    await wake(client, rows)
  })
}
