import { systemClock, type Clock } from '../../src/base/index.ts'

/** A clock that runs faster than the machine's, and can be put forward. */
export interface TimeLapse extends Clock {
  /** Timers keep what is left of them; only `now` jumps. */
  jump(ms: number): void
}

export function createTimeLapse(speed: number): TimeLapse {
  const start = systemClock.now()
  const from = systemClock.monotonic()
  let ahead = 0
  const passed = (): number => (systemClock.monotonic() - from) * speed
  return {
    now: () => Math.round(start + passed() + ahead),
    monotonic: () => passed() + ahead,
    after: (ms, wake, options) => systemClock.after(ms / speed, wake, options),
    jump(ms) {
      ahead += ms
    },
  }
}

/** The clock as one node sees it: when the node has died, nothing of it is woken any more. */
export function mortal(clock: Clock, dead: () => boolean): Clock {
  return {
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    after: (ms, wake, options) =>
      clock.after(
        ms,
        () => {
          if (!dead()) wake()
        },
        options,
      ),
  }
}
