import { SECOND, type Clock } from '../../base/index.ts'

/** A reading counts for so long, unless a surer one comes. */
const READING_LASTS_MS = 30 * SECOND
/** So much is corrected in each millisecond: a window that this node measures must not become shorter by it. */
const CORRECTED = 0.001
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

  /** The authority read its clock between these two times of the monotonic one. */
  read(authority: number, began: number, ended: number): void {
    const reading = { ms: authority - (began + ended) / 2, errorMs: (ended - began) / 2, at: ended }
    const known = this.#reading
    if (known === undefined) this.#applied = { ms: reading.ms, at: ended }
    if (known === undefined || reading.errorMs <= known.errorMs || ended - known.at > READING_LASTS_MS)
      this.#reading = reading
  }

  now(): number {
    if (this.#reading === undefined) return this.#clock.now()
    const at = this.#clock.monotonic()
    const missing = this.#reading.ms - this.#applied.ms
    const most = Math.max(0, at - this.#applied.at) * CORRECTED
    const step = Math.abs(missing) > SET_MS ? missing : Math.max(-most, Math.min(most, missing))
    this.#applied = { ms: this.#applied.ms + step, at }
    return at + this.#applied.ms
  }
}
