import { turn, type Clock } from '../base/index.ts'

/** A clock that stands still until a test moves it. */
export interface FakeClock extends Clock {
  /**
   * Moves `ms` milliseconds forward. Everything that was due on the way fires in order, each at its own time,
   * with turns of the event loop in between, so that what a callback starts can finish before the next fires.
   */
  advance(ms: number): Promise<void>
  /** Sets the wall clock, forwards or backwards, as a bad time server would. Timers keep their remaining time. */
  set(ms: number): void
  /** How many timers wait. */
  pending(): number
}

interface Timer {
  readonly dueAt: number
  readonly order: number
  readonly wake: () => void
}

/** Turns of the event loop given to what a timer woke, before the next timer fires. */
const TURNS_BETWEEN_TIMERS = 5

/** A fake clock that begins at `startMs` (milliseconds since 1970). Default: 2026-11-22T09:00:00Z. */
export function createFakeClock(startMs = 1_795_338_000_000): FakeClock {
  let elapsed = 0
  let wallOffset = startMs
  let order = 0
  const timers = new Set<Timer>()

  const nextDue = (until: number): Timer | undefined => {
    let next: Timer | undefined
    for (const timer of timers) {
      if (timer.dueAt > until) continue
      if (!next || timer.dueAt < next.dueAt || (timer.dueAt === next.dueAt && timer.order < next.order))
        next = timer
    }
    return next
  }

  return {
    now: () => wallOffset + elapsed,
    monotonic: () => elapsed,
    after(ms, wake) {
      const timer: Timer = { dueAt: elapsed + Math.max(0, ms), order: order++, wake }
      timers.add(timer)
      return () => {
        timers.delete(timer)
      }
    },
    async advance(ms) {
      const until = elapsed + ms
      await turns(TURNS_BETWEEN_TIMERS)
      for (let timer = nextDue(until); timer; timer = nextDue(until)) {
        timers.delete(timer)
        elapsed = Math.max(elapsed, timer.dueAt)
        timer.wake()
        await turns(TURNS_BETWEEN_TIMERS)
      }
      elapsed = until
      await turns(TURNS_BETWEEN_TIMERS)
    },
    set(ms) {
      wallOffset = ms - elapsed
    },
    pending: () => timers.size,
  }
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await turn()
}
