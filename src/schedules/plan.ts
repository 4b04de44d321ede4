import { MINUTE } from '../base/index.ts'
import type { MissedPolicy } from '../define/index.ts'
import type { Occurrences } from './occurrences.ts'

/** One time at which a schedule runs. Milliseconds since 1970. */
export interface Firing {
  readonly scheduledFor: number
  /** The due time before it that ran. */
  readonly previous: number | undefined
}

/** Times that passed and do not run, both ends included. */
export interface Skipped {
  readonly from: number
  readonly to: number
  /** How many; where there are more than {@link COUNTED}, that number. */
  readonly count: number
  readonly exact: boolean
}

export interface FiringPlan {
  readonly firings: readonly Firing[]
  readonly skipped: Skipped | undefined
  readonly nextDueAt: number
}

/** Times that one transaction fires; more of them wait for the next, at once. */
export const FIRINGS_AT_ONCE = 50
/** With `missed: 'skip'` a time that is later than this is skipped. */
export const SKIP_AFTER_MS = MINUTE
/** Skipped times are counted up to here. */
const COUNTED = 1_000

/** What to do about a schedule that is due: which times run, which are skipped, and when it is due next. */
export function planFirings(state: {
  readonly occurrences: Occurrences
  readonly missed: MissedPolicy
  /** The oldest time that neither ran nor was skipped; at or before `now`. */
  readonly dueAt: number
  readonly previous: number | undefined
  readonly now: number
}): FiringPlan {
  const { occurrences, missed, dueAt, previous, now } = state
  if (missed === 'all') return all(state)
  const last = occurrences.lastUpTo(now, dueAt)
  const runs = missed === 'last' || now - last <= SKIP_AFTER_MS
  return {
    firings: runs ? [{ scheduledFor: last, previous }] : [],
    skipped: skippedFrom(occurrences, dueAt, last, !runs),
    nextDueAt: occurrences.after(last),
  }
}

function all({ occurrences, dueAt, previous, now }: Parameters<typeof planFirings>[0]): FiringPlan {
  const firings: Firing[] = []
  let due = dueAt
  for (let before = previous; due <= now && firings.length < FIRINGS_AT_ONCE; due = occurrences.after(due)) {
    firings.push({ scheduledFor: due, previous: before })
    before = due
  }
  return { firings, skipped: undefined, nextDueAt: due }
}

function skippedFrom(
  { after }: Occurrences,
  from: number,
  last: number,
  lastToo: boolean,
): Skipped | undefined {
  let count = 0
  let to = from
  for (let at = from; lastToo ? at <= last : at < last; at = after(at)) {
    to = at
    if (++count > COUNTED) return { from, to: last, count: COUNTED, exact: false }
  }
  return count === 0 ? undefined : { from, to, count, exact: true }
}
