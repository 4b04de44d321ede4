import { durationMs, MINUTE, reasonOf, SECOND, UsageError, type Duration } from '../../base/index.ts'
import type { AnyConnector } from '../connector.ts'
import type { EventDefinition } from '../events.ts'
import type { AnyOperation, Operation } from '../operation.ts'
import type { Schema } from '../schema.ts'

/** Where the next page is, in the provider's own terms: a token, an offset, a page number. */
export type PageToken = string | number

/** What a page is asked for. */
export interface PollAsk {
  /** Items that changed at this time or later, ISO 8601 in UTC; `undefined`: from the beginning. Ask inclusively. */
  readonly since: string | undefined
  /** What {@link PollSource.next} gave for the page before; `undefined`: the first page. */
  readonly after: PageToken | undefined
}

/** A list of a provider's that can be read again and again for what is new: a connector's part of a poll. */
export interface PollSource<Item = unknown, Input = unknown, Output = unknown> {
  /** What an item means, in business words: `'an invoice changed'`. */
  readonly summary: string
  /** One of the connector's operations; it must be harmless to repeat (`natural`) and answer in JSON. */
  readonly operation: Operation<Input, Output>
  /** The operation's input for a page. */
  readonly input: (ask: PollAsk) => Input
  /** JSON Pointer (RFC 6901) to the list of items in the answer's body. Nothing there: an empty page. */
  readonly items: string
  /** The contract of one item. An item that fails it is quarantined with its path; the others go on. */
  readonly item: Schema<Item>
  /** The provider's id of the item. */
  readonly id: (item: Item) => string
  /** What changes with each change of the item, such as a version number or the time of the change. */
  readonly version?: (item: Item) => string
  /** When it last changed, by the provider, ISO 8601. Absent: the list only grows, and `after` alone is the cursor. */
  readonly changedAt?: (item: Item) => string
  /**
   * The order of the pages. `'changedAt'`: the longest unchanged first, so that the cursor moves with each page, and
   * items that move while they are read are not missed; a page in another order is refused. `'any'` (default): the
   * cursor moves when the last page was read.
   */
  readonly order?: 'changedAt' | 'any'
  /** Where the next page is; `undefined`: this was the last. `count`: items on this page. */
  readonly next: (page: Output, ask: PollAsk, count: number) => PageToken | undefined
  /**
   * How far before the cursor each poll begins, for items that appear late: an index that lags, a clock that is off.
   * What was seen before makes no second event. Default 5 minutes.
   */
  readonly overlap?: Duration
  /** One item in business words. Never put a secret in it. */
  readonly describe?: (item: Item) => string
}

// oxlint-disable-next-line typescript/no-explicit-any -- a source of items of any kind
export type AnyPollSource = PollSource<any, any, any>

export interface PollOptions {
  /** From the end of one poll to the beginning of the next; at least 10 s. */
  readonly every: Duration
  /** The connection to ask over, where there are several of the connector. */
  readonly connection?: string
  /**
   * What the first poll begins with: `'now'` (default), what changes from then on (and within the overlap before);
   * `'beginning'`, everything that there is.
   */
  readonly from?: 'now' | 'beginning'
  /** Whether a change of an item is an event of its own. Default true; false: one event for each item, for ever. */
  readonly changes?: boolean
  /** Another overlap than the source's. */
  readonly overlap?: Duration
}

/** A flow starts on it for each item of a list that is new or changed. It cannot be waited for. */
export interface PollTrigger<Item = unknown> {
  readonly kind: 'poll'
  /** Name of the connector. */
  readonly connector: string
  /** `poll.<flow>`, once a flow has it. */
  readonly type: string
  readonly connection?: string
  readonly definition: EventDefinition<Item>
  readonly source: AnyPollSource
  /** Dotted name of the operation within the connector. */
  readonly operationName: string
  readonly everyMs: number
  readonly overlapMs: number
  readonly from: 'now' | 'beginning'
  readonly changes: boolean
}

/** Polls are no closer together than this. */
export const SHORTEST_POLL_MS = 10 * SECOND
const DEFAULT_OVERLAP_MS = 5 * MINUTE

/** Declares a list that flows can poll; types come from the operation and the item's schema. */
export function definePollSource<Item, Input, Output>(
  source: PollSource<Item, Input, Output>,
): PollSource<Item, Input, Output> {
  return source
}

/**
 * Starts a flow for each item of a list that is new or changed, for providers without webhooks for it. The cursor is
 * kept in the database and moves in the transaction of the events that it covers. Throws a {@link UsageError}
 * `poll_invalid` that names the mistake.
 */
export function poll<Item, Input, Output>(
  connector: AnyConnector,
  source: PollSource<Item, Input, Output>,
  options: PollOptions,
): PollTrigger<Item> {
  const operationName = nameOf(connector, source?.operation as AnyOperation)
  if (source.operation.idempotency.kind !== 'natural')
    throw invalid(connector, `"${operationName}" is not harmless to repeat (idempotency "natural").`)
  if (source.items !== '' && !source.items.startsWith('/'))
    throw invalid(connector, `"items" is "${source.items}"; write a JSON Pointer such as '/results'.`)
  const { from = 'now', changes = true, connection } = options
  if (from !== 'now' && from !== 'beginning')
    throw invalid(connector, `"from" is "${String(from)}"; write 'now' or 'beginning'.`)
  if (source.changedAt === undefined) {
    if (from === 'now')
      throw invalid(
        connector,
        `items of "${operationName}" say no time, so it cannot begin with now. Write from: 'beginning'.`,
      )
    if (source.order === 'changedAt')
      throw invalid(connector, '"order" is "changedAt", and there is no "changedAt".')
  }
  const everyMs = msOf(connector, 'every', options.every)
  if (everyMs < SHORTEST_POLL_MS)
    throw invalid(
      connector,
      `"every" is ${String(options.every)}; polls are at least ${SHORTEST_POLL_MS / SECOND} s apart.`,
    )
  return {
    kind: 'poll',
    connector: connector.name,
    type: '',
    definition: {
      schema: source.item,
      summary: source.summary,
      ...(source.describe && { describe: source.describe }),
      ...(source.changedAt && { datedBy: 'occurredAt' }),
    },
    source,
    operationName,
    everyMs,
    overlapMs: msOf(connector, 'overlap', options.overlap ?? source.overlap ?? DEFAULT_OVERLAP_MS),
    from,
    changes,
    ...(connection === undefined ? {} : { connection }),
  }
}

function nameOf(connector: AnyConnector, operation: AnyOperation | undefined): string {
  for (const [name, one] of connector.operationsByName) if (one === operation) return name
  throw invalid(
    connector,
    `the source's operation is none of the connector's. It has: ${[...connector.operationsByName.keys()].join(', ')}.`,
  )
}

function msOf(connector: AnyConnector, name: string, duration: Duration): number {
  try {
    return durationMs(duration)
  } catch (error) {
    throw invalid(connector, `"${name}": ${reasonOf(error)}`)
  }
}

function invalid(connector: AnyConnector | undefined, what: string): UsageError {
  return new UsageError('poll_invalid', `poll of ${connector?.title ?? 'nothing'}: ${what}`)
}
