import { NotFoundError, type EventId } from '../base/index.ts'
import type { EventState } from '../define/index.ts'
import type { StoredEvent } from '../inbox/index.ts'
import type { ActionContext } from './operator.ts'

export interface LockedEvent extends StoredEvent {
  readonly state: EventState
  readonly reason: string | null
  readonly connector: string
  readonly connection_id: string
}

/** Locks the event for the rest of the transaction: two people do not dispatch it at once. Throws {@link NotFoundError}. */
export async function lockEvent(id: EventId, { client, tenant }: ActionContext): Promise<LockedEvent> {
  const { rows } = await client.query<LockedEvent>(
    `select e.id as event_id, e.type, e.state, e.reason, e.occurred_at, e.received_at, e.data_at, e.connection_id, d.content_type, d.body, n.name as connection_name, n.connector
     from events e join deliveries d on d.tenant = e.tenant and d.id = e.delivery_id join connections n on n.tenant = e.tenant and n.id = e.connection_id
     where e.tenant = $1 and e.id = $2 for no key update of e`,
    [tenant, id],
  )
  if (!rows[0]) throw new NotFoundError('event', id, 'List them with: trestle events')
  return rows[0]
}
