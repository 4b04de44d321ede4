import type { OutputOf, Schema } from './schema.ts'

/** The contract of one event type. */
export interface EventDefinition<Data = unknown> {
  /** Shape of the event's data. What fails it is quarantined with its path. */
  readonly schema: Schema<Data>
  /** What happened, in business words: `'payment succeeded'`. */
  readonly summary: string
  /** Dotted paths below `event` that `waitFor` may match on, such as `'data.customer'`. Each is indexed. */
  readonly match?: readonly string[]
  /**
   * Dotted path below `event` to when the provider says that it happened, or to a version that rises with each change:
   * `'occurredAt'`, `'data.updated_at'`. ISO 8601 text or a number. It tells which of two events about one subject is
   * the newer one, in whatever order they come. Equal ones are taken in the order of arrival.
   */
  readonly datedBy?: string
  /** Dotted paths below `event` whose values together say what the event is about, such as `'data.id'`. Default: the run's lane. */
  readonly subject?: string | readonly string[]
  /** One event in business words: `'payment of $19.99 by ada@example.com'`. Never put a secret in it. */
  describe?(data: Data): string
}

// oxlint-disable-next-line typescript/no-explicit-any -- a map of events of any data
export type EventMap = Readonly<Record<string, EventDefinition<any>>>

/** Declares an event type; the type of its data comes from the schema. */
export function defineEvent<S extends Schema>(
  definition: Omit<EventDefinition<OutputOf<S>>, 'schema'> & { readonly schema: S },
): EventDefinition<OutputOf<S>> {
  return definition
}

/** What a flow receives. */
export interface FlowEvent<Data = unknown> {
  /** Our id, `evt_…`. */
  readonly id: string
  readonly type: string
  /** The name of the connection that it came over. */
  readonly connection: string
  /** When it happened, by the provider; else when it was received. ISO 8601. */
  readonly occurredAt: string
  readonly receivedAt: string
  readonly data: Data
}

/** What a flow starts on, or waits for. */
export interface EventTrigger<Data = unknown> {
  readonly kind: 'event'
  /** Name of the connector. */
  readonly connector: string
  readonly type: string
  /** Only from this connection; by default from every connection of the connector. */
  readonly connection?: string
  readonly definition: EventDefinition<Data>
}
