/**
 * The only place that reads the time. Everything that depends on time takes a {@link Clock}, so that a test
 * can move three days forward without waiting for them.
 */
export interface Clock {
  /** Milliseconds since 1970-01-01T00:00:00Z. */
  now(): number
  /** Monotonic milliseconds, for measuring how long something took. Never compare it between processes. */
  monotonic(): number
  /**
   * Calls `wake` once after `ms` milliseconds; the returned function cancels. The timer keeps no process alive,
   * unless `keepAlive` is true: for a wait that the process must not end under.
   */
  after(ms: number, wake: () => void, options?: { keepAlive?: boolean }): () => void
}

/** The longest delay a Node timer takes; longer ones would fire at once. */
const LONGEST_TIMER_MS = 2_147_483_647

/** The machine's own clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, wake, options) {
    const timer = setTimeout(wake, Math.min(Math.max(0, ms), LONGEST_TIMER_MS))
    if (!options?.keepAlive) timer.unref()
    return () => clearTimeout(timer)
  },
}

/** Resolves after `ms` milliseconds of the given clock. `keepAlive` as in {@link Clock.after}. */
export function pause(clock: Clock, ms: number, options?: { keepAlive?: boolean }): Promise<void> {
  return new Promise((resolve) => {
    clock.after(ms, resolve, options)
  })
}

/**
 * Resolves when the work has settled, well or not, and at the latest after `ms` milliseconds. The process does not end
 * under it, and is not kept alive by it any longer.
 */
export async function settledWithin(clock: Clock, ms: number, work: Promise<unknown>): Promise<void> {
  let cancel: () => void = () => {}
  const over = new Promise<void>((resolve) => {
    cancel = clock.after(ms, resolve, { keepAlive: true })
  })
  await Promise.race([Promise.allSettled([work]), over])
  cancel()
}

/** Resolves after one turn of the event loop, when everything that was already due has run. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
