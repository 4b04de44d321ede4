import { DAY, SECOND, type LimitDefinition } from 'trestle'

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

/** The limits that an operation counts against. */
export function limitsOf(endpoint: (typeof ENDPOINTS)[number] | 'customers.search'): readonly string[] {
  return ['account', endpoint]
}
