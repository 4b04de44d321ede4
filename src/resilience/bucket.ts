import type { LimitDefinition } from '../define/index.ts'

/**
 * What was used of each limit of one connection. A window is cut into {@link SLOTS} slots; the newest and the
 * {@link SLOTS} before it are counted together. Any window, wherever it begins, lies within that many slots, so
 * keeping their sum below the limit keeps every window below it. The whole allowance may go out at once; used
 * steadily, at least 10/11 of it goes out.
 */
export interface Budget {
  readonly [limit: string]: Usage | undefined
}

interface Usage {
  /** Number of the newest slot since 1970. */
  readonly slot: number
  /** Used in the newest slot and those before it. */
  readonly used: readonly number[]
  /** Nothing is admitted before this time: the provider said so. */
  readonly blockedUntil: number
  /** The time that the next one who has to wait is given. */
  readonly nextTurn: number
  readonly inFlight: number
}

/** Slots that a window is cut into. */
const SLOTS = 10
/** How soon to ask again for a place in flight: places get free without notice. */
const PLACE_RECHECK_MS = 100

export type Admission =
  | { readonly as: 'admitted'; readonly budget: Budget }
  | {
      readonly as: 'deferred'
      /** When to ask again, in milliseconds since 1970. Those who wait get different times. */
      readonly until: number
      /** The limit that has no room. */
      readonly limit: string
      /** Whether it is the number in flight, and not the number in a window, that is used up. */
      readonly concurrency: boolean
      readonly budget: Budget
    }

export const emptyBudget: Budget = {}

/**
 * Admits a call if every limit has room for `cost`, and counts it against all of them; else counts it against none.
 * A cost above what a whole window allows is taken as the whole window.
 */
export function admit(budget: Budget, limits: readonly LimitDefinition[], now: number, cost = 1): Admission {
  const usages = limits.map((limit) => current(budget[limit.name], limit, now))
  let longest: Wait | undefined
  for (const [i, limit] of limits.entries()) {
    const wait = waitFor(usages[i]!, limit, Math.min(cost, limit.allowed), now)
    if (wait !== undefined && (longest === undefined || wait.earliest > longest.earliest)) longest = wait
  }
  if (longest !== undefined) return deferred(budget, longest)
  const after: Record<string, Usage | undefined> = { ...budget }
  for (const [i, limit] of limits.entries()) {
    const usage = usages[i]!
    const [newest = 0, ...before] = usage.used
    after[limit.name] = {
      ...usage,
      used: [newest + Math.min(cost, limit.allowed), ...before],
      inFlight: usage.inFlight + 1,
    }
  }
  return { as: 'admitted', budget: after }
}

/** A call that was admitted is over. */
export function release(budget: Budget, limits: readonly LimitDefinition[]): Budget {
  const after: Record<string, Usage | undefined> = { ...budget }
  for (const limit of limits) {
    const usage = budget[limit.name]
    if (usage !== undefined) after[limit.name] = { ...usage, inFlight: Math.max(0, usage.inFlight - 1) }
  }
  return after
}

/** Admits nothing under this limit before `until`. An earlier block that reaches further stays. */
export function blockUntil(budget: Budget, limit: LimitDefinition, until: number, now: number): Budget {
  const usage = current(budget[limit.name], limit, now)
  return { ...budget, [limit.name]: { ...usage, blockedUntil: Math.max(usage.blockedUntil, until) } }
}

interface Wait {
  readonly limit: LimitDefinition
  readonly usage: Usage
  readonly earliest: number
  /** Milliseconds between two who wait. */
  readonly pace: number
  readonly concurrency: boolean
}

function waitFor(usage: Usage, limit: LimitDefinition, cost: number, now: number): Wait | undefined {
  const earliest = freeAt(usage, limit, cost, now)
  if (earliest > now)
    return { limit, usage, earliest, pace: (limit.windowMs / limit.allowed) * cost, concurrency: false }
  if (limit.concurrency === undefined || usage.inFlight < limit.concurrency) return undefined
  const pace = PLACE_RECHECK_MS / limit.concurrency
  return { limit, usage, earliest: now + PLACE_RECHECK_MS, pace, concurrency: true }
}

function deferred(budget: Budget, wait: Wait): Admission {
  const { limit, usage, concurrency } = wait
  const until = Math.max(wait.earliest, usage.nextTurn)
  return {
    as: 'deferred',
    until: Math.ceil(until),
    limit: limit.name,
    concurrency,
    budget: { ...budget, [limit.name]: { ...usage, nextTurn: until + wait.pace } },
  }
}

/** The usage moved to the slot of now. */
function current(usage: Usage | undefined, limit: LimitDefinition, now: number): Usage {
  const slot = Math.floor(now / (limit.windowMs / SLOTS))
  if (usage === undefined) return { slot, used: [0], blockedUntil: 0, nextTurn: 0, inFlight: 0 }
  // A clock that was set back by more than the window must not block for the difference.
  if (slot < usage.slot - SLOTS) return { ...usage, slot, used: [0], blockedUntil: 0, nextTurn: 0 }
  const moved = Math.min(slot - usage.slot, SLOTS + 1)
  if (moved <= 0) return usage
  const used = [...Array.from({ length: moved }, () => 0), ...usage.used].slice(0, SLOTS + 1)
  return { ...usage, slot, used }
}

/** The earliest time at which there is room for `cost`. */
function freeAt(usage: Usage, limit: LimitDefinition, cost: number, now: number): number {
  const width = limit.windowMs / SLOTS
  let over = usage.used.reduce((sum, used) => sum + used, 0) + cost - limit.allowed
  let free = now
  for (let age = usage.used.length - 1; over > 0 && age >= 0; age--) {
    over -= usage.used[age]!
    // The slot of this age is no longer counted once the newest is SLOTS + 1 after it.
    if (usage.used[age]! > 0) free = Math.max(now, (usage.slot - age + SLOTS + 1) * width)
  }
  return Math.max(free, usage.blockedUntil)
}
