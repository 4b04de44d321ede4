/**
 * One limit that a provider sets per credential; several may apply to one call at once. All nodes and flows share it:
 * it is counted once per connection.
 */
export interface LimitDefinition {
  /** Unique in the connector: `'second'`, `'search'`, `'day'`. */
  readonly name: string
  /** Calls (or points) allowed in each window. */
  readonly allowed: number
  readonly windowMs: number
  /** Calls in flight at once, over all nodes. Default: no limit of this kind. */
  readonly concurrency?: number
  /** What is counted: only operations that read, or only those that write. Default: both. A look-up reads. */
  readonly appliesTo?: 'read' | 'write'
  /** Points that a call of an operation costs, by the operation's dotted name. Default: 1 each. */
  readonly cost?: Readonly<Record<string, number>>
  /** Where it is documented, and when it was read. */
  readonly source: string
}

/**
 * A provider's own headers about one of its limits, read besides those that every provider may send (`RateLimit`,
 * `X-RateLimit-*`). Names in lower case; values are whole numbers.
 */
export interface LimitHeaders {
  /** Name of the {@link LimitDefinition} that they are about. */
  readonly limit: string
  /** What is left in the window. */
  readonly remaining?: string
  /** What was used of the window; with `allowed` as good as `remaining`. */
  readonly used?: string
  /** What a window allows. */
  readonly allowed?: string
  /** When the count begins anew, and how that is written. */
  readonly reset?: {
    readonly header: string
    readonly as: 'seconds' | 'milliseconds' | 'unix-seconds' | 'unix-milliseconds'
  }
  /** The header of a 429, and its values that say that it was this limit. Other values: it was none of this kind. */
  readonly refused?: { readonly header: string; readonly values: readonly string[] }
}

/** How urgent a flow's calls are where a budget is short. */
export const PRIORITIES = ['interactive', 'normal', 'bulk'] as const
export type Priority = (typeof PRIORITIES)[number]
