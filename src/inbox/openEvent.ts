import {
  atPointer,
  FORM_CONTENT_TYPE,
  parseForm,
  parseJson,
  PermanentError,
  type EventId,
  type JsonValue,
} from '../base/index.ts'
import { checkEvent } from '../contracts/index.ts'
import type { AnyConnector, EventDefinition, FlowEvent } from '../define/index.ts'

/** An event's row together with the body of the delivery that reported it. */
export interface StoredEvent {
  readonly event_id: EventId
  readonly type: string
  readonly connection_name: string
  readonly occurred_at: Date | null
  readonly received_at: Date
  readonly data_at: string
  readonly content_type: string
  readonly body: Buffer
}

/** Reads a stored event's body again. The raw bytes are the truth; the event is a pointer into them. */
export function openEvent(stored: StoredEvent): JsonValue | undefined {
  const body = stored.content_type === FORM_CONTENT_TYPE ? parseForm(stored.body) : parseJson(stored.body)
  return atPointer(body, stored.data_at)
}

/** The event as its flow receives it. Throws `contract_broken` where today's contract refuses what was accepted. */
export function eventOf(stored: StoredEvent, connector: AnyConnector): FlowEvent {
  const definition = connector.events[stored.type] as EventDefinition | undefined
  if (!definition)
    throw new PermanentError(
      'event_unknown',
      `The connector ${connector.name} no longer declares the event "${stored.type}".`,
    )
  const checked = checkEvent(definition.schema, openEvent(stored))
  if (checked.as === 'broken')
    throw new PermanentError(
      'contract_broken',
      `The stored event no longer fits its contract at ${checked.path}: ${checked.reason}`,
    )
  return {
    id: stored.event_id,
    type: stored.type,
    connection: stored.connection_name,
    occurredAt: (stored.occurred_at ?? stored.received_at).toISOString(),
    receivedAt: stored.received_at.toISOString(),
    data: checked.value,
  }
}
