import { SECOND } from '../../base/index.ts'
import { PRIORITIES, type LimitDefinition, type Priority } from '../../define/index.ts'
import {
  AHEAD_MS,
  gridOf,
  HELD_MS,
  NO_WANTS,
  VALID_SLOTS,
  type BudgetAsk,
  type BudgetGrant,
  type Grid,
} from '../../resilience/index.ts'

import type { LimitAsk } from './authority.ts'

interface Slice {
  readonly slot: number
  /** Used from here until there, on the authority's clock. */
  readonly from: number
  readonly until: number
  points: number
}

/** A node that had no call for so long gives back what it holds and asks no more. */
const IDLE_AFTER_MS = 2 * SECOND
/** Of how long ago arrivals are remembered, in the main. */
const MEMORY_MS = SECOND
/** How long the dearest call is remembered. */
const UNIT_MEMORY_MS = 5 * SECOND
/** Who wants more than it was given asks again no sooner. */
const ASK_AGAIN_MS = 100
/** Points that may be used sooner are kept while others are asked for: the answer takes a moment. */
const KEPT_MS = 50
/** Points that may be used so soon are as good as at hand. */
const SOON_MS = 20

/** What this node holds of one limit. Times are of the authority's clock; `used` ones are never used again. */
export class LimitLease {
  readonly limit: LimitDefinition
  readonly #grid: Grid
  #slices: Slice[] = []
  #unused = new Map<number, number>()
  #inFlight = 0
  #places: number
  #blockedUntil = 0
  #blockTold = true
  #refused = false
  #seen: { allowed?: number; remaining?: number; resetAt?: number; at: number } | undefined
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

  /** Why a call of this many points cannot go now; `undefined`: it can. */
  lacks(points: number, now: number): 'points' | 'places' | undefined {
    if (now < this.#blockedUntil) return 'points'
    if (this.#atHand(now) < this.#whole(points)) return 'points'
    return this.#inFlight < this.#places ? undefined : 'places'
  }

  /** Takes the points, of those that end soonest, and a place. Only after {@link lacks} found nothing lacking. */
  take(points: number, now: number): void {
    let left = this.#whole(points)
    for (const slice of this.#slices) {
      if (left === 0) break
      if (slice.from > now || slice.until <= now) continue
      const taken = Math.min(left, slice.points)
      slice.points -= taken
      left -= taken
    }
    this.#inFlight++
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

  /** What the provider said of the limit. */
  see(seen: { allowed?: number; remaining?: number; resetAt?: number }, now: number): void {
    this.#seen = { ...seen, at: now }
  }

  /** The provider refused a call for want of points. */
  refuse(): void {
    this.#refused = true
  }

  /** Whether there is something to ask or to tell. */
  isActive(now: number): boolean {
    this.#expire(now)
    return now - this.#arrivedAt < IDLE_AFTER_MS || this.#slices.length > 0 || this.#hasNews()
  }

  /**
   * Whether a call that waits for points, and can wait for `soonMs`, should not wait for the next ask in its turn. Bulk
   * waits for what is spread over the time to come.
   */
  isUrgent(now: number, soonMs: number, priority: Priority): boolean {
    if (now < this.#blockedUntil || now < this.#scarceUntil) return false
    if (this.#inFlight >= this.#places) return now - this.#askedAt > ASK_AGAIN_MS
    if (priority === 'bulk') return !this.#slices.some((slice) => slice.points > 0 && slice.until > now)
    return !this.#slices.some((slice) => slice.points > 0 && slice.until > now && slice.from <= now + soonMs)
  }

  /** What is asked now; `waiting`: points of the calls that wait. What it tells is told once. */
  ask(waiting: BudgetAsk['waiting'], waitingCalls: number, now: number): Omit<BudgetAsk, 'node'> {
    this.#expire(now)
    this.#askedAt = now
    const idle = now - this.#arrivedAt >= IDLE_AFTER_MS
    if (idle) this.#giveBackFrom(Number.NEGATIVE_INFINITY)
    // Who waits for a burst would rather have now what was spread over the time to come.
    const sooner = this.#grid.paced && waiting.interactive + waiting.normal > 0
    if (sooner) this.#giveBackFrom(now + KEPT_MS)
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
      held: this.#slices.reduce((sum, slice) => sum + slice.points, 0),
      unused,
      ...(sooner && { upTo: Math.floor((now + KEPT_MS) / this.#grid.slotMs) }),
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

  /** Takes in what was granted. */
  granted(grant: BudgetGrant, asked: Omit<BudgetAsk, 'node'>, now: number): void {
    const { slotMs, paced } = this.#grid
    for (const { slot, points } of grant.slices) {
      const from = paced ? slot * slotMs : now
      const until = paced ? (slot + VALID_SLOTS) * slotMs : now + HELD_MS
      this.#slices.push({ slot, from, until, points })
    }
    this.#slices.sort((a, b) => a.until - b.until)
    this.#allowed = grant.allowed
    this.#ours = grant.ours
    this.#nodes = grant.nodes
    this.#peak = Math.max(this.#peak, grant.used / grant.allowed)
    this.#places = this.limit.concurrency === undefined ? Number.POSITIVE_INFINITY : grant.places
    this.#blockedUntil = Math.max(this.#blockedUntil, grant.blockedUntil)
    this.#freeAt = grant.freeAt
    const waiting = PRIORITIES.reduce((sum, priority) => sum + asked.waiting[priority], 0)
    const got = grant.slices.reduce(
      (sum, slice) => sum + (slice.slot * slotMs <= now + SOON_MS ? slice.points : 0),
      0,
    )
    if (got < Math.max(1, waiting))
      this.#scarceUntil = now + (this.#slices.length > 0 ? AHEAD_MS / 2 : ASK_AGAIN_MS)
  }

  /** When points that are held next become usable; `undefined`: none are. */
  nextAt(now: number): number | undefined {
    if (now < this.#blockedUntil) return this.#blockedUntil
    let next: number | undefined
    for (const { from, points } of this.#slices)
      if (points > 0 && from > now && (next === undefined || from < next)) next = from
    return next
  }

  /** Not before this is there any use in coming back, as far as is known. */
  notBefore(now: number): number {
    return Math.max(now, this.#blockedUntil, this.#atHand(now) > 0 ? 0 : this.#freeAt)
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

  /** Gives back what may be used only after this. */
  #giveBackFrom(time: number): void {
    for (const slice of this.#slices) if (slice.from > time) this.#giveBack(slice)
    this.#slices = this.#slices.filter((slice) => slice.from <= time)
  }

  #hasNews(): boolean {
    return this.#refused || !this.#blockTold || this.#unused.size > 0
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
    this.#expire(now)
    let points = 0
    for (const slice of this.#slices) if (slice.from <= now) points += slice.points
    return points
  }

  #expire(now: number): void {
    while (this.#slices.length > 0 && (this.#slices[0]!.until <= now || this.#slices[0]!.points === 0))
      this.#giveBack(this.#slices.shift()!)
  }

  #giveBack({ slot, points }: Slice): void {
    if (points > 0) this.#unused.set(slot, (this.#unused.get(slot) ?? 0) + points)
  }
}

function faded(rate: { readonly perSecond: number; readonly at: number }, now: number): number {
  const left = rate.perSecond * Math.exp(-Math.max(0, now - rate.at) / MEMORY_MS)
  return left < 0.01 ? 0 : left
}

function seenOf(
  seen: { allowed?: number; remaining?: number; resetAt?: number; at: number },
  now: number,
): NonNullable<BudgetAsk['seen']> {
  return {
    agoMs: Math.max(0, now - seen.at),
    ...(seen.allowed === undefined ? {} : { allowed: seen.allowed }),
    ...(seen.remaining === undefined ? {} : { remaining: seen.remaining }),
    ...(seen.resetAt === undefined ? {} : { resetInMs: seen.resetAt - seen.at }),
  }
}
