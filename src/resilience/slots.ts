import { MINUTE, SECOND } from '../base/index.ts'

/**
 * A long window's time, cut into slots; a short one is handed round point by point (ring.ts). Whatever is granted for a slot may be used until {@link VALID_SLOTS} have passed, so
 * any window, wherever it begins, holds uses of what was granted for `span` slots in a row: keeping their sum below
 * the limit keeps every window below it.
 */
export interface Grid {
  readonly slotMs: number
  /** Slots that one window's uses can have been granted for. */
  readonly span: number
  /** Whether calls are spread evenly over the window. In long windows only the sum counts. */
  readonly paced: boolean
}

/** Slots in which what was granted for the first of them may be used. */
export const VALID_SLOTS = 2
const MOST_SLOTS = 200
/** What is granted of a long window may be used for so long: no longer than a slot, so that it ends in the next. */
export const HELD_MS = 2 * SECOND
/** Longer windows are not paced: a day's allowance need not last the day, it must only not be exceeded. */
const LONGEST_PACED_MS = MINUTE

export function gridOf(windowMs: number): Grid {
  const slots = Math.max(1, Math.min(MOST_SLOTS, Math.floor(windowMs / HELD_MS)))
  return {
    slotMs: windowMs / slots,
    span: slots + VALID_SLOTS,
    paced: windowMs <= LONGEST_PACED_MS,
  }
}

/** What was granted, by slot: `counts[0]` is of the slot numbered `first` since 1970. */
export interface Counts {
  readonly first: number
  readonly counts: readonly number[]
}

export const NO_COUNTS: Counts = { first: 0, counts: [] }

/** Without the slots that count in no window any more. A clock set back by more than a window begins anew. */
export function pruned(counts: Counts, grid: Grid, slot: number): Counts {
  const last = counts.first + counts.counts.length - 1
  const furthest = slot + grid.span
  if (counts.counts.length === 0 || last > furthest) return { first: slot, counts: [] }
  const oldest = slot - grid.span + 1
  if (counts.first >= oldest) return counts
  const kept = counts.counts.slice(oldest - counts.first)
  return { first: kept.length === 0 ? slot : oldest, counts: kept }
}

/** With `points` more in a slot; less where it is negative, but never below none. */
export function added(counts: Counts, slot: number, points: number): Counts {
  if (counts.counts.length === 0) return { first: slot, counts: [Math.max(0, points)] }
  const first = Math.min(counts.first, slot)
  const length = Math.max(counts.first + counts.counts.length, slot + 1) - first
  const after = Array.from({ length }, (_, i) => counts.counts[first + i - counts.first] ?? 0)
  after[slot - first] = Math.max(0, after[slot - first]! + points)
  return { first, counts: after }
}

/** The sum over the slots `from` to `to`. */
export function sumOf(counts: Counts, from: number, to: number): number {
  let sum = 0
  const end = Math.min(to - counts.first, counts.counts.length - 1)
  for (let i = Math.max(0, from - counts.first); i <= end; i++) sum += counts.counts[i]!
  return sum
}

/** The fullest of all spans that hold this slot: what more is granted for it counts in each of them. */
export function fullest(counts: Counts, grid: Grid, slot: number): number {
  const last = counts.first + counts.counts.length - 1
  let sum = sumOf(counts, slot - grid.span + 1, slot)
  let most = sum
  for (let end = slot + 1; end <= Math.min(last, slot + grid.span - 1); end++) {
    sum += (counts.counts[end - counts.first] ?? 0) - (counts.counts[end - grid.span - counts.first] ?? 0)
    most = Math.max(most, sum)
  }
  return most
}
