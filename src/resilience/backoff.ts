import { HOUR, type Random } from '../base/index.ts'

/** A wait that the provider asks for is honoured up to this; beyond it the run is parked. */
export const LONGEST_RETRY_AFTER_MS = 24 * HOUR

/** Where a step stands after an attempt that failed and may be made again. */
export interface NextAttemptContext {
  /** Number of the attempt that failed, from 1. */
  readonly attempt: number
  /** All in milliseconds; see `RetryPolicy` for their meaning. */
  readonly policy: {
    readonly first: number
    readonly cap: number
    readonly horizon: number
    readonly attempts: number
  }
  /** Milliseconds since the first attempt, without those in which the run was deferred or parked. */
  readonly elapsedMs: number
  /** The time that the provider named, in milliseconds since 1970. */
  readonly retryAt?: number | undefined
  readonly now: number
  readonly random: Pick<Random, 'next'>
}

type NextAttempt =
  /** Attempt again at this time, in milliseconds since 1970. */
  | { readonly as: 'retry'; readonly at: number }
  /** The attempts or the horizon are used up. */
  | { readonly as: 'exhausted' }
  /** The provider asks for a longer wait than is waited for. */
  | { readonly as: 'park'; readonly reason: string }

/**
 * When to attempt again. The wait is uniformly random from 0 to a ceiling (full jitter), so that many that failed
 * together do not come back together; the ceiling begins at `first`, doubles with each attempt and ends at `cap`.
 * A time that the provider named is the earliest, with a little jitter behind it.
 */
export function nextAttempt(context: NextAttemptContext): NextAttempt {
  const { attempt, policy, elapsedMs, now, random } = context
  if (attempt >= policy.attempts) return { as: 'exhausted' }
  const asked = Math.max(0, (context.retryAt ?? now) - now)
  if (asked > LONGEST_RETRY_AFTER_MS)
    return {
      as: 'park',
      reason: `The provider asks to wait until ${timeText(context.retryAt!)}, which is more than ${LONGEST_RETRY_AFTER_MS / HOUR} hours away.`,
    }
  const ceiling = Math.min(policy.cap, policy.first * 2 ** Math.min(attempt - 1, 52))
  const spread = asked === 0 ? ceiling : Math.min(ceiling, Math.max(policy.first, asked / 10))
  const wait = asked + Math.floor(random.next() * spread)
  if (elapsedMs + wait > policy.horizon) return { as: 'exhausted' }
  return { as: 'retry', at: now + wait }
}

function timeText(ms: number): string {
  const time = new Date(ms)
  return Number.isNaN(time.getTime()) ? 'a time that no calendar has' : time.toISOString()
}
