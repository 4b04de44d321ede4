import { DAY } from '../base/index.ts'

/** Where a budget is going, as far as its use so far tells. Both are straight lines, and no more than that. */
export interface BudgetForecast {
  /** At this rate the window's allowance is gone then, in milliseconds since 1970; `undefined`: it will not be. */
  readonly goneAt: number | undefined
  /** At this growth the fullest window of a day reaches the limit then; `undefined`: not within two years. */
  readonly reachedAt: number | undefined
}

export interface BudgetUse {
  readonly allowed: number
  readonly used: number
  readonly windowMs: number
  /** Points in a millisecond, of late. */
  readonly rate: number
  /** How full the fullest window of each day was, oldest first: 1 is the limit. */
  readonly peaks: readonly { readonly day: number; readonly peak: number }[]
  readonly now: number
}

/** Fewer days tell nothing of growth. */
const FEWEST_DAYS = 7
/** Growth of less than this part of the limit in a day is none. */
const LEAST_GROWTH = 0.0005
const FURTHEST_MS = 730 * DAY

export function forecastOf(use: BudgetUse): BudgetForecast {
  return { goneAt: goneAt(use), reachedAt: reachedAt(use) }
}

function goneAt({ allowed, used, rate, windowMs, now }: BudgetUse): number | undefined {
  if (used >= allowed) return now
  // At a rate that a window bears, what is used goes out of it again.
  if (rate * windowMs <= allowed) return undefined
  return now + (allowed - used) / rate
}

/** Least squares over the days' peaks. */
function reachedAt({ peaks, now }: BudgetUse): number | undefined {
  if (peaks.length < FEWEST_DAYS) return undefined
  const x = peaks.map(({ day }) => (day - now) / DAY)
  const meanX = mean(x)
  const meanY = mean(peaks.map(({ peak }) => peak))
  let covariance = 0
  let variance = 0
  for (const [i, { peak }] of peaks.entries()) {
    covariance += (x[i]! - meanX) * (peak - meanY)
    variance += (x[i]! - meanX) ** 2
  }
  const growth = covariance / variance
  if (!(growth >= LEAST_GROWTH)) return undefined
  const days = Math.max(0, meanX + (1 - meanY) / growth)
  return days * DAY > FURTHEST_MS ? undefined : now + days * DAY
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
