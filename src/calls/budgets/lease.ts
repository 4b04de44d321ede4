import { SECOND } from '../../base/index.ts'
import { PRIORITIES, type LimitDefinition, type Priority } from '../../define/index.ts'
import {
  gridOf,
  HELD_MS,
  HOLDS_NOTHING,
  NO_WANTS,
  VALID_SLOTS,
  type BudgetAsk,
  type BudgetGrant,
  type Grid,
} from '../../resilience/index.ts'

import type { LimitAsk } from './authority.ts'
import { Holding, type Use } from './holding.ts'

/** Points of a long window. */
interface Slice {
  /** The slot that they count in. */
  readonly slot: number
  /** When they can no longer be used, on the authority's clock. */
  readonly until: number
  points: number
}

/** What a call took of one limit. */
export interface Taken {
  /** Of a short window. */
  readonly use: Use | undefined
  /** Of a long one: points by the slot that they count in. */
  readonly parts: readonly (readonly [slot: number, points: number])[]
}

/** What an answer said of the limit. */
interface Seen {
  readonly allowed?: number
  readonly remaining?: number
  /** What this node had used of the window, the call that was answered included. */
  readonly ours?: number
  readonly resetAt?: number
  readonly at: number
}

/** A node that had no call for so long gives back what it holds and asks no more. */
const IDLE_AFTER_MS = 2 * SECOND
/** Of how long ago arrivals are remembered, in the main. */
const MEMORY_MS = SECOND
/** How long the dearest call is remembered. */
const UNIT_MEMORY_MS = 5 * SECOND
/** Who wants more than it was given asks again no sooner. */
const ASK_AGAIN_MS = 100
/** What a node was held up for so long does not slow it down: it makes up for it at once. */
const MADE_UP_MS = 200
/** The same as a part of the window, at most. */
const MADE_UP = 0.1
/** Of what is held, the part that those who are not interactive leave when they come all at once. */
const LEFT_BY_NORMAL = 0.5

/** What this node holds of one limit. Times are of the authority's clock; `used` ones are never used again. */
export class LimitLease {
  readonly limit: LimitDefinition
  readonly #grid: Grid
  /** Of a short window. */
  readonly #holding: Holding | undefined
  /** Of a short window: points that its even pace has earned. */
  #credit = { points: 1, at: 0 }
  #slices: Slice[] = []
  #unused = new Map<number, number>()
  #inFlight = 0
  #places: number
  #blockedUntil = 0
  #blockTold = true
  #refused = false
  #seen: Seen | undefined
  readonly #rates: Record<Priority, { perSecond: number; at: number }> = {
    interactive: { perSecond: 0, at: 0 },
    normal: { perSecond: 0, at: 0 },
    bulk: { perSecond: 0, at: 0 },
  }
  #unit = { points: 1, at: 0 }
  #arrivedAt = Number.NEGATIVE_INFINITY
  #askedAt = Number.NEGATIVE_INFINITY
  #scarceUntil = 0
  #freeAt = 0
  #allowed: number
  #ours: number
  #nodes = 1
  #peak = 0

  constructor(limit: LimitDefinition) {
    this.limit = limit
    this.#grid = gridOf(limit.windowMs)
    this.#holding = this.#grid.paced ? new Holding(limit.windowMs) : undefined
    this.#allowed = limit.allowed
    this.#ours = limit.allowed
    this.#places = limit.concurrency === undefined ? Number.POSITIVE_INFINITY : 0
  }

  /** A call wants points of this limit. */
  arrived(priority: Priority, points: number, now: number): void {
    const rate = this.#rates[priority]
    rate.perSecond = faded(rate, now) + (points * SECOND) / MEMORY_MS
    rate.at = now
    this.#arrivedAt = now
    if (points >= this.#unit.points || now - this.#unit.at > UNIT_MEMORY_MS)
      this.#unit = { points: Math.max(1, points), at: now }
  }

  /**
   * Why a call of this many points cannot go now; `undefined`: it can. Of a short window bulk calls go at an even pace,
   * so that the others never find it used up; so do normal ones once half of it is used.
   */
  lacks(points: number, priority: Priority, now: number): 'points' | 'places' | undefined {
    if (now < this.#blockedUntil) return 'points'
    const wanted = this.#whole(points)
    const atHand = this.#atHand(now)
    if (atHand < wanted) return 'points'
    if (this.#holding !== undefined && priority !== 'interactive') {
      const total = this.#holding.total(now)
      const mayBurst = priority === 'normal' && atHand - wanted >= total * LEFT_BY_NORMAL
      if (!mayBurst && this.#earned(now) < Math.min(wanted, this.#mostEarned(now))) return 'points'
    }
    return this.#inFlight < this.#places ? undefined : 'places'
  }

  /** Takes the points, and a place. Only after {@link lacks} found nothing lacking. */
  take(points: number, now: number): Taken {
    this.#inFlight++
    let left = this.#whole(points)
    if (this.#holding !== undefined) {
      const total = this.#holding.total(now)
      this.#credit = { points: Math.max(-total / 2, this.#earned(now) - left), at: now }
      return { use: this.#holding.take(left, now), parts: [] }
    }
    const parts: [number, number][] = []
    for (const slice of this.#slices) {
      if (left === 0) break
      if (slice.until <= now || slice.points === 0) continue
      const taken = Math.min(left, slice.points)
      slice.points -= taken
      left -= taken
      parts.push([slice.slot, taken])
    }
    return { use: undefined, parts }
  }

  /**
   * Whether the call that took this may still leave; if so, it leaves now, and its points count from now on. It may not
   * when so much time has passed that others may have them.
   */
  leaves({ use, parts }: Taken, now: number): boolean {
    if (use !== undefined) return this.#holding!.leaves(use, now)
    return parts.every(([slot]) => now < (slot + VALID_SLOTS) * this.#grid.slotMs)
  }

  /** The answer to a call that took points is here, or none will come. */
  ended({ use }: Taken, now: number): void {
    if (use !== undefined) this.#holding?.ended(use, now)
  }

  /** A call that took points was not made after all. */
  notMade({ use, parts }: Taken): void {
    if (use !== undefined) this.#holding?.notMade(use)
    for (const [slot, points] of parts) this.#giveBack({ slot, points })
  }

  /** A call that took a place has ended. */
  freed(): void {
    this.#inFlight--
  }

  /** The provider wants nothing sent before this. */
  block(until: number): void {
    if (until <= this.#blockedUntil) return
    this.#blockedUntil = until
    this.#blockTold = false
  }

  /** What the provider said of the limit in its answer to a call that had taken this. */
  see(seen: Omit<Seen, 'at' | 'ours'>, { use }: Taken, now: number): void {
    const before = this.#seen
    // Of several answers the one that had least left tells most.
    const isLess =
      before?.remaining === undefined || (seen.remaining !== undefined && seen.remaining <= before.remaining)
    this.#seen =
      isLess || this.#holding === undefined
        ? { ...before, ...seen, at: now, ...(use && { ours: this.#holding?.usedAt(use) ?? 0 }) }
        : { ...before, ...(seen.allowed !== undefined && { allowed: seen.allowed }) }
  }

  /** The provider refused a call for want of points. */
  refuse(): void {
    this.#refused = true
  }

  /** The provider refused the call that had taken this, and did not count it. */
  uncounted({ use }: Taken): void {
    if (use !== undefined) this.#holding?.refused(use)
  }

  /** Whether there is something to ask or to tell. */
  isActive(now: number): boolean {
    this.#expire(now)
    const holds = this.#slices.length > 0 || (this.#holding?.total(now) ?? 0) > 0
    return now - this.#arrivedAt < IDLE_AFTER_MS || holds || this.#hasNews()
  }

  /** Whether a call that waits for points, and can wait for `soonMs`, should not wait for the next ask in its turn. */
  isUrgent(now: number, soonMs: number, priority: Priority): boolean {
    if (now < this.#blockedUntil || now < this.#scarceUntil) return false
    if (this.#inFlight >= this.#places) return now - this.#askedAt > ASK_AGAIN_MS
    if (this.#holding === undefined) return this.#atHand(now) === 0
    if (this.#holding.total(now) < this.#whole(this.#unit.points)) return true
    if (priority === 'bulk' || this.#holding.free(now) > 0) return false
    return (this.#holding.nextAt(now) ?? Number.POSITIVE_INFINITY) > now + soonMs
  }

  /** What is asked now; `waiting`: points of the calls that wait. What it tells is told once. */
  ask(waiting: BudgetAsk['waiting'], waitingCalls: number, now: number): Omit<BudgetAsk, 'node'> {
    this.#expire(now)
    this.#askedAt = now
    const idle = now - this.#arrivedAt >= IDLE_AFTER_MS
    if (idle) {
      for (const slice of this.#slices.splice(0)) this.#giveBack(slice)
      this.#holding?.handBack(now)
    }
    const unused = [...this.#unused]
    this.#unused = new Map()
    const seen = this.#seen
    this.#seen = undefined
    const refused = this.#refused
    this.#refused = false
    const blockMs = this.#blockTold ? 0 : Math.max(0, this.#blockedUntil - now)
    this.#blockTold = true
    return {
      wants: idle ? NO_WANTS : this.#wants(now),
      waiting,
      unit: this.#unit.points,
      holding: this.#holding?.tell(now) ?? HOLDS_NOTHING,
      held: this.#slices.reduce((sum, slice) => sum + slice.points, 0),
      unused,
      places: { inFlight: this.#inFlight, wanted: idle ? 0 : this.#inFlight + waitingCalls + 1 },
      ...(seen && { seen: seenOf(seen, now) }),
      refused,
      blockMs,
    }
  }

  /** The last ask of a node that stops: it gives back everything. */
  leave({ tenant, id }: { readonly tenant: string; readonly id: string }, now: number): LimitAsk {
    this.#arrivedAt = Number.NEGATIVE_INFINITY
    return { tenant, connectionId: id, limit: this.limit, ask: this.ask(NO_WANTS, 0, now) }
  }

  /** Takes in what was granted, at `grantedAt`: from then it counts, however long the answer was on its way. */
  granted(grant: BudgetGrant, asked: Omit<BudgetAsk, 'node'>, now: number, grantedAt = now): void {
    for (const { slot, points } of grant.slices)
      this.#slices.push({ slot, until: grantedAt + HELD_MS, points })
    this.#slices.sort((a, b) => a.until - b.until)
    if (this.#holding?.total(now) === 0) this.#credit = { points: this.#unit.points, at: now }
    this.#holding?.receive(grant.holding, now)
    this.#allowed = grant.allowed
    this.#ours = grant.ours
    this.#nodes = grant.nodes
    this.#peak = Math.max(this.#peak, grant.used / grant.allowed)
    this.#places = this.limit.concurrency === undefined ? Number.POSITIVE_INFINITY : grant.places
    this.#blockedUntil = Math.max(this.#blockedUntil, grant.blockedUntil)
    this.#freeAt = grant.freeAt
    const waiting = PRIORITIES.reduce((sum, priority) => sum + asked.waiting[priority], 0)
    if (this.#atHand(now) < waiting) this.#scarceUntil = now + ASK_AGAIN_MS
  }

  /** The authority's time is known so well, as far as this node can tell. */
  isSureWithin(errorMs: number): void {
    this.#holding?.isSureWithin(errorMs)
  }

  /** The authority's time was set: nothing that is held is worth anything, and neither are its times. */
  startAnew(now: number): void {
    this.#holding?.startAnew()
    this.#slices = []
    this.#credit = { points: 1, at: now }
    this.#scarceUntil = 0
    this.#blockedUntil = 0
  }

  /** When a call that waits may next find what it lacks; `undefined`: not before something is granted. */
  nextAt(now: number): number | undefined {
    if (now < this.#blockedUntil) return this.#blockedUntil
    if (this.#holding === undefined) return undefined
    const back = this.#holding.nextAt(now)
    const total = this.#holding.total(now)
    const missing = Math.min(this.#unit.points, this.#mostEarned(now)) - this.#earned(now)
    if (missing <= 0 || total === 0) return back
    const earned = now + Math.max(1, (missing * this.limit.windowMs) / total)
    return back === undefined ? earned : Math.min(back, earned)
  }

  /** Not before this is there any use in coming back, as far as is known. */
  notBefore(now: number): number {
    if (this.#atHand(now) > 0) return Math.max(now, this.#blockedUntil)
    return Math.max(now, this.#blockedUntil, this.#holding?.nextAt(now) ?? this.#freeAt)
  }

  /**
   * Milliseconds between two calls of this many points at this node's part of the pace. A long window that is not used
   * up sets none.
   */
  paceMs(points: number, of: 'allowed' | 'ours', now: number): number {
    const allowed = of === 'allowed' ? this.#allowed : this.#ours
    const places = this.limit.concurrency === undefined ? 0 : ASK_AGAIN_MS / this.limit.concurrency
    if (!this.#grid.paced && this.#freeAt <= now) return places
    return Math.max(places, ((this.limit.windowMs * this.#whole(points)) / allowed) * this.#nodes)
  }

  /** How full the fullest window was since this was last asked: 1 is the limit. */
  takePeak(): number {
    const peak = this.#peak
    this.#peak = 0
    return peak
  }

  #hasNews(): boolean {
    return this.#refused || !this.#blockTold || this.#unused.size > 0 || this.#holding?.hasNews === true
  }

  #wants(now: number): BudgetAsk['wants'] {
    return {
      interactive: faded(this.#rates.interactive, now),
      normal: faded(this.#rates.normal, now),
      bulk: faded(this.#rates.bulk, now),
    }
  }

  /** A call dearer than a whole window is taken as the whole window. */
  #whole(points: number): number {
    return Math.min(points, this.#ours)
  }

  #atHand(now: number): number {
    if (this.#holding !== undefined) return this.#holding.free(now)
    this.#expire(now)
    return this.#slices.reduce((sum, slice) => sum + slice.points, 0)
  }

  /** Points that the even pace has earned since the last call. */
  #earned(now: number): number {
    const { points, at } = this.#credit
    const perMs = (this.#holding?.total(now) ?? 0) / this.limit.windowMs
    return Math.min(this.#mostEarned(now), points + Math.max(0, now - at) * perMs)
  }

  #mostEarned(now: number): number {
    const part = Math.min(MADE_UP, MADE_UP_MS / this.limit.windowMs)
    return Math.max(1, this.#unit.points, (this.#holding?.total(now) ?? 0) * part)
  }

  #expire(now: number): void {
    while (this.#slices.length > 0 && (this.#slices[0]!.until <= now || this.#slices[0]!.points === 0))
      this.#giveBack(this.#slices.shift()!)
  }

  #giveBack({ slot, points }: Pick<Slice, 'slot' | 'points'>): void {
    if (points > 0) this.#unused.set(slot, (this.#unused.get(slot) ?? 0) + points)
  }
}

function faded(rate: { readonly perSecond: number; readonly at: number }, now: number): number {
  const left = rate.perSecond * Math.exp(-Math.max(0, now - rate.at) / MEMORY_MS)
  return left < 0.01 ? 0 : left
}

function seenOf(seen: Seen, now: number): NonNullable<BudgetAsk['seen']> {
  return {
    agoMs: Math.max(0, now - seen.at),
    ...(seen.allowed === undefined ? {} : { allowed: seen.allowed }),
    ...(seen.remaining === undefined ? {} : { remaining: seen.remaining }),
    ...(seen.ours === undefined ? {} : { ours: seen.ours }),
    ...(seen.resetAt === undefined ? {} : { resetInMs: seen.resetAt - seen.at }),
  }
}
