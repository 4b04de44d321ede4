import { HOUR, type Clock } from '../../base/index.ts'

interface Timer {
  readonly owner: string
  readonly dueAt: number
  readonly forMs: number
  readonly order: number
  readonly wake: () => void
}

/** Timers that are armed for no longer than this are upkeep (heartbeats, sweeps): time does not stop for each of them. */
const UPKEEP_MS = HOUR

/**
 * A clock that stands still until it is moved. Each owner (a node, the providers) has a view of it; the timers of an
 * owner that is stopped do not fire, as in a process that was killed.
 */
export class SimulatedClock {
  readonly startMs: number
  readonly #timers = new Set<Timer>()
  readonly #stopped = new Set<string>()
  #elapsed = 0
  #order = 0

  /** Begins at `startMs`, in milliseconds since 1970. */
  constructor(startMs: number) {
    this.startMs = startMs
  }

  /** Milliseconds since it began. */
  get elapsed(): number {
    return this.#elapsed
  }

  now(): number {
    return this.startMs + this.#elapsed
  }

  view(owner: string): Clock {
    return {
      now: () => this.now(),
      monotonic: () => this.#elapsed,
      after: (ms, wake) => {
        const forMs = Math.max(0, ms)
        const timer = { owner, dueAt: this.#elapsed + forMs, forMs, order: this.#order++, wake }
        this.#timers.add(timer)
        return () => {
          this.#timers.delete(timer)
        }
      },
    }
  }

  /** Its timers do not fire any more. */
  stop(owner: string): void {
    this.#stopped.add(owner)
  }

  /** Its timers fire again, late. */
  resume(owner: string): void {
    this.#stopped.delete(owner)
  }

  /** When the next timer is due, in milliseconds since the beginning. Upkeep is not counted. */
  nextDue(): number | undefined {
    let next: number | undefined
    for (const timer of this.#timers) {
      if (this.#stopped.has(timer.owner) || timer.forMs <= UPKEEP_MS) continue
      if (next === undefined || timer.dueAt < next) next = timer.dueAt
    }
    return next
  }

  /**
   * Moves to this many milliseconds since the beginning and fires what is due, in the order of its times. A timer that
   * is armed anew meanwhile waits for the next move: however far that was, upkeep is done once. `only`: the others'
   * timers wait for a move to the same moment.
   */
  moveTo(elapsed: number, only?: string): void {
    this.#elapsed = Math.max(this.#elapsed, elapsed)
    const due = [...this.#timers]
      .filter((timer) => timer.dueAt <= this.#elapsed && !this.#stopped.has(timer.owner))
      .filter((timer) => only === undefined || timer.owner === only)
      .sort((a, b) => a.dueAt - b.dueAt || a.order - b.order)
    for (const timer of due) if (this.#timers.delete(timer)) timer.wake()
  }
}
