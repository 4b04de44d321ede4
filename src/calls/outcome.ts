import type { RedactedExchange } from '../ledger/index.ts'
import type { OutageRef } from './outages/index.ts'

/**
 * What an attempt came to. Exactly one of:
 * - `succeeded`: done, and the answer fits its contract.
 * - `not_found`: the answer to a look-up; for certain not done.
 * - `deferred`: not attempted; ask again at `until`. Costs no attempt.
 * - `parked`: for certain not done, and it will not be before a person acts on the connection, or its outage is over.
 * - `failed`: for certain not done, or harmless to repeat. `newKey`: the next attempt needs a new idempotency key,
 *   since the provider would answer the old one with the stored error.
 * - `in_doubt`: it may have been done.
 * - `quarantined`: done, and the answer does not fit its contract. `payload` is the answer's body as it came.
 */
export type CallOutcome =
  | {
      readonly as: 'succeeded'
      readonly output: unknown
      /** In business words, where the operation says it. */
      readonly summary: string | undefined
      readonly exchange: Exchange
      /** The answer's body as it came. */
      readonly body?: Buffer
    }
  | { readonly as: 'not_found'; readonly exchange: Exchange }
  | { readonly as: 'deferred'; readonly until: number; readonly code: string; readonly reason: string }
  | {
      readonly as: 'parked'
      readonly code: string
      readonly reason: string
      readonly exchange?: Exchange
      /** Where it is the provider's outage: nothing was sent, and it goes on when that is over. */
      readonly outage?: OutageRef
      /** Where it is the credential. */
      readonly credential?: CredentialRef
    }
  | {
      readonly as: 'failed'
      readonly retryable: boolean
      /** Earliest time for the next attempt, in milliseconds since 1970, where the provider named one. */
      readonly retryAt?: number
      readonly newKey: boolean
      readonly code: string
      readonly reason: string
      readonly exchange?: Exchange
    }
  | {
      readonly as: 'in_doubt'
      /** Earliest time at which the provider wants to be asked again, in milliseconds since 1970, where it named one. */
      readonly retryAt?: number
      readonly code: string
      readonly reason: string
      readonly exchange?: Exchange
    }
  | {
      readonly as: 'quarantined'
      readonly path: string
      readonly reason: string
      readonly payload: Buffer
      readonly exchange: Exchange
    }

/**
 * The credential that a call waits for. `missing`: there is none to be used before a person authorizes. `refused`: it
 * was not accepted, or cannot be had; whether that still is so shows when it is tried again.
 */
export interface CredentialRef {
  readonly connectionId: string
  readonly as: 'missing' | 'refused'
}

/** As the run's row keeps it, to be found by; told from what `parkedFor` gives by its beginning. */
export function parkedForCredential({ connectionId, as }: CredentialRef): string {
  return `${as}/${connectionId}`
}

/** What was exchanged, redacted, for the ledger. */
export interface Exchange extends RedactedExchange {
  /** The answer's status; absent where none came. */
  readonly status?: number
  /** Milliseconds from sending to the whole answer. */
  readonly ms: number
}

/** For certain not done, and no use to try again; callers widen it. */
export function notDone(code: string, reason: string): Extract<CallOutcome, { as: 'failed' }> {
  return { as: 'failed', retryable: false, newKey: false, code, reason }
}
