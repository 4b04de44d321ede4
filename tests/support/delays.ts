import { asUnavailable } from '../../src/db/index.ts'

/**
 * Whether a fault says no more than that an answer of the database was too late for one of the product's limits, as
 * happens where this machine stands still for seconds. Such a fault mends itself.
 */
export function isDelay(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if (/time-?out/i.test(cause.message) && asUnavailable(error)) return true
  return false
}
