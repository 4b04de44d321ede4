import { HEARD_NOTHING, type HoldingGrant, type HoldingNow } from '../../resilience/index.ts'
import { CORRECTED } from './authorityTime.ts'
import { Jitter } from './jitter.ts'

/** Points that a call took. */
export interface Use {
  /** When it left; until then, when it took them. */
  at: number
  readonly points: number
  /** What this node had used of the window then, these included. */
  inWindow: number
  /** Of all that this node had used, how much had been refused by then. */
  refusedBefore: number
  hasEnded: boolean
}

/**
 * What passes from one node to another comes back so much later, and by what either may be wrong about the authority's
 * time.
 */
const CLOCKS_DIFFER_MS = 20
/**
 * How long the quickest call takes is an estimate, and a window that is full to the last point forgives no
 * millisecond: so much, of a window below a second this part of it, is left between a point's return and its next use.
 */
const EDGE_MS = 4
const EDGE_OF_WINDOW = 0.004
/** What this node's reading of the authority's time may be set forward within a window. */
const SET_FORWARD = CORRECTED

interface Stretch {
  readonly at: number
  readonly points: number
}

/**
 * The points of a short window that this node holds. Each is free, taken by a call that has not left yet or by one
 * under way, or on its way back: a window after its call left, and later by as much as the call took longer than the
 * quickest, for the provider may have counted it so much later. Times are the authority's.
 */
export class Holding {
  readonly #windowMs: number
  /** From a point's use to its return. */
  readonly #awayMs: number
  readonly #jitter: Jitter
  #until = 0
  #share = 0
  #total = 0
  #free = 0
  /** Soonest first. */
  #onTheWay: Stretch[] = []
  /** Of calls that are being made ready: a credential, a commit or a socket may take long. They leave by `#until`. */
  readonly #atTheDoor = new Set<Use>()
  /** In the order in which they left. */
  readonly #underWay = new Set<Use>()
  /** Of the window that ends now, oldest first. */
  #taken: Stretch[] = []
  #inWindow = 0
  #refused = 0
  /** Handed back, and not yet taken in by the authority as far as is known. */
  #back: (readonly [at: number, points: number])[] = []
  #told = 0
  #heard = HEARD_NOTHING
  /** How far the times that it is given may be from the authority's. */
  #errorMs = 0

  constructor(windowMs: number) {
    this.#windowMs = windowMs
    this.#awayMs = windowMs * (1 + SET_FORWARD) + Math.min(EDGE_MS, windowMs * EDGE_OF_WINDOW)
    this.#jitter = new Jitter(windowMs)
  }

  /** All that it holds, free or not. */
  total(now: number): number {
    this.#update(now)
    return this.#total
  }

  /** Points that a call may take now. */
  free(now: number): number {
    this.#update(now)
    return this.#free
  }

  /** Used of the window that ends now. */
  used(now: number): number {
    this.#update(now)
    return this.#inWindow
  }

  /** Points that were handed back and that the authority has not been told of. */
  get hasNews(): boolean {
    return this.#back.length > 0
  }

  /** Takes points of those that are free. */
  take(points: number, now: number): Use {
    this.#update(now)
    this.#free -= points
    this.#inWindow += points
    this.#taken.push({ at: now, points })
    const use: Use = {
      at: now,
      points,
      inWindow: this.#inWindow,
      refusedBefore: this.#refused,
      hasEnded: false,
    }
    this.#atTheDoor.add(use)
    return use
  }

  /** Whether the call may leave now; if so, it is taken to do so. It may not when what it took is no longer held here. */
  leaves(use: Use, now: number): boolean {
    this.#update(now)
    if (!this.#atTheDoor.delete(use)) return false
    this.#underWay.add(use)
    if (use.at === now) return true
    this.#forgetTaken(use)
    this.#inWindow += use.points
    this.#taken.push({ at: now, points: use.points })
    use.at = now
    use.inWindow = this.#inWindow
    use.refusedBefore = this.#refused
    return true
  }

  /** The call's answer is here, or none will come. */
  ended(use: Use, now: number): void {
    if (use.hasEnded) return
    use.hasEnded = true
    const lateMs = this.#jitter.lateMs(now - use.at)
    if (this.#underWay.delete(use) || this.#atTheDoor.delete(use))
      this.#returnAt(use.at + this.#awayMs + lateMs, use.points)
  }

  /** The provider refused the call: it did not count it. */
  refused(use: Use): void {
    this.#refused += use.points
    this.#forgetTaken(use)
  }

  #forgetTaken(use: Use): void {
    const at = this.#taken.findLastIndex((taken) => taken.at === use.at && taken.points === use.points)
    if (at === -1) return
    this.#taken.splice(at, 1)
    this.#inWindow -= use.points
  }

  /** What this node had used of the window when this was taken, as far as the provider counted it. */
  usedAt(use: Use): number {
    return Math.max(0, use.inWindow - (this.#refused - use.refusedBefore))
  }

  /** The call was not made after all. */
  notMade(use: Use): void {
    if (this.#underWay.delete(use) || this.#atTheDoor.delete(use)) this.#free += use.points
    this.refused(use)
  }

  /** When more of it is free; `undefined`: none is on its way. */
  nextAt(now: number): number | undefined {
    this.#update(now)
    const [onTheWay] = this.#onTheWay
    const [underWay] = this.#underWay
    const times = [
      ...(onTheWay === undefined ? [] : [onTheWay.at]),
      ...(underWay === undefined ? [] : [this.#surelyBack(underWay)]),
      ...(this.#atTheDoor.size === 0 ? [] : [now + this.#awayMs]),
    ]
    return times.length === 0 ? undefined : Math.min(...times)
  }

  /** Hands everything back. */
  handBack(now: number): void {
    this.#update(now)
    this.#share = 0
    this.#shed(now)
  }

  /** What the authority is told. */
  tell(now: number): HoldingNow {
    this.#update(now)
    this.#told = this.#back.length
    return { points: this.#total, back: [...this.#back], heard: this.#heard, used: this.#inWindow }
  }

  /** Its times may be so far from the authority's. */
  isSureWithin(errorMs: number): void {
    this.#errorMs = errorMs
  }

  /** Its times mean nothing any more: as if it had never been given anything. */
  startAnew(): void {
    this.#forget()
    this.#taken = []
    this.#inWindow = 0
    this.#told = 0
    this.#until = 0
    this.#share = 0
    this.#heard = HEARD_NOTHING
  }

  /** What it answered. */
  receive({ fresh, more, share, until, answer }: HoldingGrant, now: number): void {
    this.#heard = answer
    this.#back = this.#back.slice(this.#told)
    this.#told = 0
    if (fresh) this.#forget()
    this.#until = until
    this.#share = share
    for (const [at, points] of more) {
      this.#total += points
      this.#returnAt(at <= now ? at : at + this.#errorMs, points)
    }
    this.#update(now)
  }

  #update(now: number): void {
    for (const use of this.#underWay) {
      if (this.#surelyBack(use) > now) break
      this.#underWay.delete(use)
      this.#free += use.points
    }
    let back = 0
    for (const { at, points } of this.#onTheWay) {
      if (at > now) break
      this.#free += points
      back++
    }
    if (back > 0) this.#onTheWay.splice(0, back)
    let over = 0
    for (const { at, points } of this.#taken) {
      if (at > now - this.#windowMs) break
      this.#inWindow -= points
      over++
    }
    if (over > 0) this.#taken.splice(0, over)
    if (now >= this.#until) this.#lapse()
    if (this.#total > this.#share) this.#shed(now)
  }

  /** Nothing is its own any more, and no call leaves that has not left: from now on others may use these points. */
  #lapse(): void {
    this.#share = 0
    for (const use of this.#atTheDoor) this.#free += use.points
    this.#turnAway()
  }

  #turnAway(): void {
    for (const use of this.#atTheDoor) {
      use.hasEnded = true
      this.#forgetTaken(use)
    }
    this.#atTheDoor.clear()
  }

  /** Hands back what is not its own any more: free ones first, then those that return soonest. */
  #shed(now: number): void {
    const hand = (at: number, points: number): void => {
      if (points <= 0) return
      this.#back.push([at, points])
      this.#total -= points
    }
    const apart = CLOCKS_DIFFER_MS + this.#errorMs
    const free = Math.min(this.#free, this.#total - this.#share)
    this.#free -= free
    hand(now, free)
    while (this.#onTheWay.length > 0 && this.#total > this.#share) {
      const first = this.#onTheWay.shift()!
      const points = Math.min(first.points, this.#total - this.#share)
      hand(first.at + apart, points)
      if (points < first.points) this.#onTheWay.unshift({ at: first.at, points: first.points - points })
    }
    // All of it is wanted back: of calls under way too, by when they surely are. Those at the door keep theirs.
    if (this.#share > 0) return
    for (const use of this.#underWay) hand(this.#surelyBack(use) + apart, use.points)
    this.#underWay.clear()
  }

  #surelyBack(use: Use): number {
    return use.at + this.#awayMs + this.#jitter.mostLateMs()
  }

  #returnAt(at: number, points: number): void {
    let place = this.#onTheWay.length
    while (place > 0 && this.#onTheWay[place - 1]!.at > at) place--
    this.#onTheWay.splice(place, 0, { at, points })
  }

  #forget(): void {
    this.#total = 0
    this.#free = 0
    this.#onTheWay = []
    this.#turnAway()
    this.#underWay.clear()
    this.#back = []
  }
}
