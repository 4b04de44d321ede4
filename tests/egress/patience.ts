import type { EgressPolicy } from '../../src/egress/policy.ts'

/** For tests of what is refused, not of how long it takes: a machine that stands still for seconds changes no outcome. */
export const PATIENCE = {
  connectTimeoutMs: 60_000,
  nameTimeoutMs: 60_000,
  tcpTimeoutMs: 60_000,
  tlsTimeoutMs: 60_000,
} satisfies Partial<EgressPolicy>

/** Milliseconds for a whole exchange. */
export const PATIENT_MS = 90_000
