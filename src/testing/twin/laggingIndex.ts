import type { Clock } from '../../base/index.ts'

/** A search index that lags behind what was written, as HubSpot's and Stripe's do. */
export interface LaggingIndex<T> {
  /** Writes a copy of the record; searches see it `lagMs` later. */
  put(id: string, record: T): void
  /** Deletes a record; searches see it for another `lagMs`. */
  delete(id: string): void
  /** Records as they were `lagMs` ago, in the order in which they were first written. */
  search(matches?: (record: T) => boolean): T[]
}

export function createLaggingIndex<T>(options: { clock: Clock; lagMs: number }): LaggingIndex<T> {
  const versions = new Map<string, { at: number; record: T | undefined }[]>()
  const write = (id: string, record: T | undefined): void => {
    const list = versions.get(id) ?? []
    const horizon = options.clock.now() - options.lagMs
    // Of the versions that are visible already only the newest is still needed.
    const firstNeeded = Math.max(
      0,
      list.findLastIndex(({ at }) => at <= horizon),
    )
    versions.set(id, [
      ...list.slice(firstNeeded),
      { at: options.clock.now(), record: structuredClone(record) },
    ])
  }
  return {
    put: write,
    delete: (id) => write(id, undefined),
    search(matches = () => true) {
      const horizon = options.clock.now() - options.lagMs
      const found: T[] = []
      for (const list of versions.values()) {
        const record = list.findLast(({ at }) => at <= horizon)?.record
        if (record !== undefined && matches(record)) found.push(record)
      }
      return found
    },
  }
}
