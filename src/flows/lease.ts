import type { Clock } from '../base/index.ts'

/**
 * Until when a node may be sure that nobody has taken its runs. It is extended by each heartbeat, from before the
 * heartbeat was sent, and is shorter than the time after which others take the node for dead. So a node that stood
 * still, or lost its database, sends nothing for runs that are others' by now, even where it was stopped between the
 * commit of an attempt's begin and the first byte of its request.
 */
export class Lease {
  readonly #clock: Clock
  readonly #ms: number
  #from: { readonly monotonic: number; readonly wall: number } | undefined

  /** `ms`: how long one heartbeat is good for. */
  constructor(clock: Clock, ms: number) {
    this.#clock = clock
    this.#ms = ms
  }

  /** The moment from which a heartbeat counts: take it before the heartbeat is sent. */
  moment(): { readonly monotonic: number; readonly wall: number } {
    return { monotonic: this.#clock.monotonic(), wall: this.#clock.now() }
  }

  /** The heartbeat sent at `from` was accepted. */
  extend(from: { readonly monotonic: number; readonly wall: number }): void {
    this.#from = from
  }

  /** For good: the node has signed off, or goes on under another id. */
  end(): void {
    this.#from = undefined
  }

  /** Asked right before a request is written. By both clocks: a machine that slept may have stopped the monotonic one. */
  readonly holds = (): boolean => {
    if (!this.#from) return false
    const { monotonic, wall } = this.moment()
    return monotonic - this.#from.monotonic < this.#ms && wall - this.#from.wall < this.#ms
  }
}
