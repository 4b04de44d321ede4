import { SECOND, type Clock } from '../../base/index.ts'

/** A reading counts for so long, unless a surer one comes. */
const READING_LASTS_MS = 30 * SECOND
/** So much is corrected in each millisecond, at most: a window that this node measures becomes shorter by it. */
export const CORRECTED = 0.001
/** More than this is corrected at once: somebody has set a clock. */
const SET_MS = 500

/**
 * The authority's time, by this node's monotonic clock and what the authority's answers say. It goes on evenly: a surer
 * reading moves it little by little.
 */
export class AuthorityTime {
  readonly #clock: Pick<Clock, 'now' | 'monotonic'>
  /** The authority's time less the monotonic clock's, and how sure that is. */
  #reading: { readonly ms: number; readonly errorMs: number; readonly at: number } | undefined
  #applied = { ms: 0, at: 0 }

  constructor(clock: Pick<Clock, 'now' | 'monotonic'>) {
    this.#clock = clock
  }

  /**
   * The authority read its clock between these two times of the monotonic one. Answers whether the time was set: then
   * what was measured by it before means nothing any more.
   */
  read(authority: number, began: number, ended: number): boolean {
    const reading = { ms: authority - (began + ended) / 2, errorMs: (ended - began) / 2, at: ended }
    const known = this.#reading
    if (known === undefined || reading.errorMs <= known.errorMs || ended - known.at > READING_LASTS_MS)
      this.#reading = reading
    if (known === undefined || Math.abs(this.#missing()) > SET_MS) {
      this.#applied = { ms: this.#reading!.ms, at: ended }
      return known !== undefined
    }
    return false
  }

  /** How far {@link now} may be from the authority's time, in milliseconds. */
  get errorMs(): number {
    return this.#reading === undefined ? 0 : this.#reading.errorMs + Math.abs(this.#missing())
  }

  now(): number {
    if (this.#reading === undefined) return this.#clock.now()
    const at = this.#clock.monotonic()
    const most = Math.max(0, at - this.#applied.at) * CORRECTED
    const step = Math.max(-most, Math.min(most, this.#missing()))
    this.#applied = { ms: this.#applied.ms + step, at }
    return at + this.#applied.ms
  }

  #missing(): number {
    return (this.#reading?.ms ?? 0) - this.#applied.ms
  }
}
