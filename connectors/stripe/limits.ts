import { DAY, SECOND, type LimitDefinition, type LimitHeaders } from 'trestle'

/** Stripe may forget a key once it is 24 hours old. Source: https://docs.stripe.com/api/idempotent_requests, read 2026-11-22. */
export const KEY_LIFETIME_MS = DAY

const RATE_LIMITS = 'https://docs.stripe.com/rate-limits, read 2026-11-22'

/** Operations, each of which Stripe counts as an endpoint of its own. */
const ENDPOINTS = [
  'customers.retrieve',
  'customers.create',
  'customers.update',
  'customers.list',
  'paymentIntents.retrieve',
  'paymentIntents.list',
  'charges.retrieve',
  'refunds.retrieve',
  'refunds.create',
  'subscriptions.retrieve',
  'invoices.retrieve',
  'disputes.retrieve',
  'disputes.update',
] as const

export const limits: readonly LimitDefinition[] = [
  {
    name: 'account',
    allowed: 100,
    windowMs: SECOND,
    source: `${RATE_LIMITS}: 100 requests a second in live mode; a sandbox allows 25`,
  },
  {
    name: 'customers.search',
    allowed: 20,
    windowMs: SECOND,
    source: 'https://docs.stripe.com/search, read 2026-11-22: 20 reads a second over all search endpoints',
  },
  ...ENDPOINTS.map((name) => ({
    name,
    allowed: 25,
    windowMs: SECOND,
    source: `${RATE_LIMITS}: 25 requests a second for each endpoint without a limit of its own`,
  })),
]

/**
 * A 429 says which limiter refused: that of the account's rate, of the endpoint's, or one of those for calls in flight
 * or for single objects, which these limits do not count. Source: https://docs.stripe.com/rate-limits, read 2026-11-22.
 */
export const limitHeaders: readonly LimitHeaders[] = limits.map(({ name }) => ({
  limit: name,
  refused: {
    header: 'stripe-rate-limited-reason',
    values: [name === 'account' ? 'global-rate' : 'endpoint-rate'],
  },
}))

/** The limits that an operation counts against. */
export function limitsOf(endpoint: (typeof ENDPOINTS)[number] | 'customers.search'): readonly string[] {
  return ['account', endpoint]
}
