import type { EventId } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'

/** An event's values that `waitFor` may match on. */
export interface EventFields {
  readonly tenant: string
  readonly connector: string
  readonly connectionId: string
  readonly type: string
  readonly eventId: EventId
  readonly fields: readonly (readonly [field: string, value: string])[]
}

/** Makes the event findable by its values, from now on. */
export async function insertFields(client: Queryable, event: EventFields): Promise<void> {
  if (event.fields.length === 0) return
  await client.query(
    `insert into event_fields (tenant, connector, type, field, value, event_id, connection_id)
     select $1, $2, $3, f.field, f.value, $4, $5 from unnest($6::text[], $7::text[]) as f(field, value) on conflict do nothing`,
    [
      event.tenant,
      event.connector,
      event.type,
      event.eventId,
      event.connectionId,
      event.fields.map(([field]) => field),
      event.fields.map(([, value]) => value),
    ],
  )
}
