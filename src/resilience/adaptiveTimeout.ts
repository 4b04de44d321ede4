import { MINUTE, SECOND } from '../base/index.ts'

/**
 * How long an operation's answers took lately: two generations of a histogram, so that what was usual five to ten
 * minutes ago is forgotten. Buckets grow by a quarter, from 10 ms to about 75 s.
 */
export interface Latencies {
  /** When the newer generation began, in milliseconds. */
  readonly since: number
  readonly newer: Histogram
  readonly older: Histogram
}

interface Histogram {
  readonly count: number
  readonly buckets: readonly number[]
}

const FIRST_MS = 10
const GROWTH = 1.25
const BUCKETS = 41
const GENERATION_MS = 5 * MINUTE
/** Fewer answers than this say nothing about what is usual. */
const ENOUGH = 100
/** No exchange is given less time than this, however fast the provider usually is. */
export const SHORTEST_TIMEOUT_MS = 2 * SECOND
/** How many times the usual (p99) an exchange may take. */
export const TIMEOUT_FACTOR = 4
/** No answer is slow that comes sooner than this. */
const SOONEST_SLOW_MS = SECOND
/** From how many times the middle (p50) an answer counts as slow: that does not move until half of them are. */
const SLOW_FACTOR = 5

const EMPTY: Histogram = { count: 0, buckets: [] }

export const noLatencies: Latencies = { since: 0, newer: EMPTY, older: EMPTY }

/** Adds how long one exchange took. */
export function measured(latencies: Latencies, ms: number, now: number): Latencies {
  const { since, newer, older } = turned(latencies, now)
  const bucket = Math.ceil(Math.log(Math.max(ms, FIRST_MS) / FIRST_MS) / Math.log(GROWTH))
  const buckets = newer.count === 0 ? Array.from({ length: BUCKETS }, () => 0) : [...newer.buckets]
  buckets[Math.min(bucket, BUCKETS - 1)]!++
  return { since, newer: { count: newer.count + 1, buckets }, older }
}

function turned(latencies: Latencies, now: number): Latencies {
  const age = now - latencies.since
  if (age >= 0 && age < GENERATION_MS) return latencies
  return { since: now, newer: EMPTY, older: age < 2 * GENERATION_MS && age >= 0 ? latencies.newer : EMPTY }
}

/** The time within which this share of exchanges ended lately, in milliseconds; `undefined` while too few are known. */
export function usualMs(latencies: Latencies, now: number, share = 0.99): number | undefined {
  const { newer, older } = turned(latencies, now)
  const count = newer.count + older.count
  if (count < ENOUGH) return undefined
  let beyond = count * (1 - share)
  for (let bucket = BUCKETS - 1; bucket > 0; bucket--) {
    beyond -= (newer.buckets[bucket] ?? 0) + (older.buckets[bucket] ?? 0)
    if (beyond < 0) return FIRST_MS * GROWTH ** bucket
  }
  return FIRST_MS
}

/**
 * How long an exchange may take now: four times the usual, at least {@link SHORTEST_TIMEOUT_MS}, never more than the
 * operation's own bound. Until enough is known: the bound.
 */
export function timeoutFor(latencies: Latencies, boundMs: number, now: number): number {
  const usual = usualMs(latencies, now)
  if (usual === undefined) return boundMs
  return Math.min(boundMs, Math.max(SHORTEST_TIMEOUT_MS, Math.round(usual * TIMEOUT_FACTOR)))
}

/** From how long an answer counts as slow: five times the middle, at least a second, at most half of the bound. */
export function slowFrom(latencies: Latencies, boundMs: number, now: number): number {
  const middle = usualMs(latencies, now, 0.5)
  const longest = boundMs / 2
  if (middle === undefined) return longest
  return Math.min(longest, Math.max(SOONEST_SLOW_MS, middle * SLOW_FACTOR))
}
