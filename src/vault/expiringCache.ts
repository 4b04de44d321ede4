import type { Clock } from '../base/index.ts'

export interface ExpiringCacheOptions {
  readonly clock: Clock
  /** How long a value is kept, counted from the begin of its load. */
  readonly keepMs: number
  /** Most values at once; the oldest goes first. */
  readonly most: number
}

export interface ExpiringCache<Value> {
  /** The kept value, or what `load` gives. Callers at the same time share one load. A failed load is not kept. */
  get(key: string, load: () => Promise<Value>): Promise<Value>
  /** Drops a value. A load that began before is not handed to later callers. */
  forget(key: string): void
  readonly size: number
}

/** Keeps opened secrets for a few seconds, so that a call does not pay for a query and a decryption. */
export function createExpiringCache<Value>(options: ExpiringCacheOptions): ExpiringCache<Value> {
  const { clock, keepMs, most } = options
  const kept = new Map<string, { readonly value: Promise<Value>; readonly cancel: () => void }>()

  function forget(key: string): void {
    kept.get(key)?.cancel()
    kept.delete(key)
  }

  function get(key: string, load: () => Promise<Value>): Promise<Value> {
    const found = kept.get(key)
    if (found) return found.value
    const value = load()
    const entry = { value, cancel: clock.after(keepMs, () => drop()) }
    const drop = (): void => {
      if (kept.get(key) === entry) forget(key)
    }
    if (kept.size >= most) forget(kept.keys().next().value!)
    kept.set(key, entry)
    value.catch(drop)
    return value
  }

  return {
    get,
    forget,
    get size() {
      return kept.size
    },
  }
}

/**
 * Callers at the same time share one read, yet nobody is given what was read before they asked: a caller that comes
 * while a read is under way waits for the next one.
 */
export function createSharedRead<Value>(): (key: string, read: () => Promise<Value>) => Promise<Value> {
  const underWay = new Map<string, { readonly current: Promise<Value>; next?: Promise<Value> }>()

  function start(key: string, read: () => Promise<Value>): Promise<Value> {
    const slot: { readonly current: Promise<Value>; next?: Promise<Value> } = { current: read() }
    underWay.set(key, slot)
    const finish = (): void => {
      if (slot.next === undefined) underWay.delete(key)
    }
    slot.current.then(finish, finish)
    return slot.current
  }

  return (key, read) => {
    const slot = underWay.get(key)
    if (slot === undefined) return start(key, read)
    const startNext = (): Promise<Value> => start(key, read)
    return (slot.next ??= slot.current.then(startNext, startNext))
  }
}
