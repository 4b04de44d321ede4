/** One limit that a provider sets per credential; several may apply to one call at once. */
export interface LimitDefinition {
  /** Unique in the connector: `'second'`, `'search'`, `'day'`. */
  readonly name: string
  /** Calls (or points) allowed in each window. */
  readonly allowed: number
  readonly windowMs: number
  /** Calls in flight at once. Default: no limit of this kind. */
  readonly concurrency?: number
  /** Where it is documented, and when it was read. */
  readonly source: string
}
