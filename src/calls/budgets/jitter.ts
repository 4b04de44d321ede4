import { SECOND } from '../../base/index.ts'

/** A call is taken to have reached the provider no later than this part of a window after the quickest would have. */
const MOST_OF_WINDOW = 0.25
const MOST_MS = 2 * SECOND
/** No more than this part of a window is lost to it in the mean. */
const LOST_OF_WINDOW = 0.03
/** How much one call counts in the mean. */
const WEIGHT = 0.05
/** Before so many calls nobody knows how long the quickest takes: it may have been counted as late as it was answered. */
const FEWEST = 20
/** How quickly the quickest is forgotten. */
const FORGETTING = 0.005

/**
 * How much later than usual calls may have reached the provider, by how long they took. Two calls that left a window
 * apart reach it less far apart where the first was late. A provider whose answers take now short now long counts a
 * call when it comes in, most likely: there only a part of the difference is taken.
 */
export class Jitter {
  readonly #windowMs: number
  readonly #mostMs: number
  #quickestMs: number | undefined
  #meanMs = 0
  #calls = 0

  constructor(windowMs: number) {
    this.#windowMs = windowMs
    this.#mostMs = Math.min(MOST_MS, windowMs * MOST_OF_WINDOW)
  }

  /** Takes in how long a call took; gives how much later than usual it may have come. */
  lateMs(tookMs: number): number {
    const quickest = Math.min(tookMs, this.#quickestMs ?? tookMs)
    const isKnown = ++this.#calls > FEWEST
    const late = Math.min(this.#mostMs, isKnown ? tookMs - quickest : tookMs)
    this.#quickestMs = quickest + FORGETTING * (tookMs - quickest)
    if (isKnown) this.#meanMs += WEIGHT * (late - this.#meanMs)
    return late * this.#part()
  }

  /**
   * How late a call is taken to be at most that has no answer yet. Where the quickest takes longer than a window, that
   * says nothing, and the mean is taken.
   */
  mostLateMs(): number {
    const says = (this.#quickestMs ?? 0) < this.#windowMs
    return says ? this.#mostMs : this.#meanMs * this.#part()
  }

  #part(): number {
    const lost = this.#windowMs * LOST_OF_WINDOW
    return this.#meanMs <= lost ? 1 : lost / this.#meanMs
  }
}
