import type { Duration } from '../base/index.ts'
import type { Classification } from './operation.ts'

/**
 * How failed attempts of a step are retried. Each field is taken from the step, else from its flow, else from the
 * operation, else it has its default.
 */
export interface RetryPolicy {
  /** Wait before the second attempt; doubles from there, with full jitter. Default 1 s. */
  readonly first?: Duration
  /** Longest wait between attempts. Default 15 min. */
  readonly cap?: Duration
  /** How long attempts go on; the time stands still while a run is deferred or parked. Default 72 h. */
  readonly horizon?: Duration
  /** Most attempts. Default: as many as the horizon allows. */
  readonly attempts?: number
}

/**
 * An exchange of which no whole answer came.
 * - `connecting`: nothing was sent, for certain (name, connection, TLS, a limit of ours); of a mail, its end was not.
 * - `waiting`: sent, and no status line came.
 * - `reading`: a status line came, and the rest did not, or was too large.
 */
export interface LostExchange {
  readonly phase: 'connecting' | 'waiting' | 'reading'
  /**
   * `dns_failed`, `connect_refused`, `connect_timeout`, `tls_failed`, `egress_busy`, `mail_not_ended` while connecting; else
   * `connection_lost`, `timed_out`, `answer_truncated`, `answer_too_large`.
   */
  readonly code: string
  readonly reason: string
  /** The status line, where one came. */
  readonly status?: number
}

/** What a lost exchange may mean: for certain not done (`retry`, `failed`), or nobody knows. */
export type LostMeaning = Extract<Classification, { readonly as: 'retry' | 'failed' | 'in_doubt' }>
