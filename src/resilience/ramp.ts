import { SECOND } from '../base/index.ts'

/** How those who waited for a provider are let go when it is back. */
export interface RampPolicy {
  /** Calls in the first second. Default 1. */
  readonly firstPerSecond: number
  /** The pace doubles in this time, until it is what the budget allows. Default 1 s. */
  readonly doublesMs: number
  /** The pace that is enough where the provider declares no limit; it grows on slowly from there. Default 100. */
  readonly unlimitedPerSecond: number
}

export const RAMP_POLICY: RampPolicy = { firstPerSecond: 1, doublesMs: SECOND, unlimitedPerSecond: 100 }

/** Beyond {@link RampPolicy.unlimitedPerSecond}, a provider without limits is given this many more each second. */
const UNLIMITED_GROWTH = 10
/** However late it is asked again, no more than this much of the pace goes at once, so that nobody is hammered. */
const LONGEST_BURST_MS = SECOND
/** Let go and not yet done: at most as many as the pace brings in this time. */
const UNDER_WAY_MS = 2 * SECOND

export interface RampState {
  /** When a probe found the provider back, in milliseconds. */
  readonly returnedAt: number
  /** Up to when the pace was used, in milliseconds. */
  readonly usedUntil: number
  /** Let go since then. */
  readonly released: number
}

/** How many go now, and the state after. */
export interface Release {
  readonly count: number
  readonly usedUntil: number
  /** Whether the ramp is over: the pace is what the budget allows. */
  readonly full: boolean
}

/** Calls in a second, `sinceMs` after the provider came back. `budget`: what its limits allow; `undefined`: it has none; 0: it wants nothing sent. */
export function paceAt(policy: RampPolicy, sinceMs: number, budget: number | undefined): number {
  const ramped = policy.firstPerSecond * 2 ** Math.min(60, Math.max(0, sinceMs) / policy.doublesMs)
  const most = budget ?? policy.unlimitedPerSecond + (UNLIMITED_GROWTH * Math.max(0, sinceMs)) / SECOND
  return Math.min(ramped, most)
}

/**
 * How many of those who wait are let go now. The first goes alone, and no more go than came through before it: a
 * provider that does not stand it is asked only that often. From there at the pace of the ramp, then of the budget.
 * `underWay`: those let go that are not done yet.
 */
export function releaseNow(
  policy: RampPolicy,
  state: RampState,
  given: { readonly now: number; readonly underWay: number; readonly budget: number | undefined },
): Release {
  const { now, underWay, budget } = given
  const sinceMs = now - state.returnedAt
  const pace = paceAt(policy, sinceMs, budget)
  if (pace <= 0) return { count: 0, usedUntil: now, full: false }
  const from = Math.max(state.usedUntil, now - Math.max(LONGEST_BURST_MS, (2 * SECOND) / pace))
  const due = state.released === 0 ? 1 : Math.floor(((now - from) * pace) / SECOND)
  const through = Math.max(0, state.released - underWay)
  const room =
    Math.min(Math.max(1, through), Math.max(1, Math.ceil((pace * UNDER_WAY_MS) / SECOND))) - underWay
  const count = Math.max(0, Math.min(due, room))
  return {
    count,
    // What was due and found no room is not saved up.
    usedUntil: count < due ? now : Math.min(now, from + (count * SECOND) / pace),
    full: budget === undefined ? pace >= policy.unlimitedPerSecond : pace >= budget,
  }
}
