/**
 * Cal.com: appointments, by API v2 and webhooks.
 *
 * Owns: what the API and the webhooks look like, which operations may be repeated, the documented limits.
 * Leaves to others: sending, signatures, retries. The stand-in for tests is `trestle/connectors/calcom/twin`.
 */
import { defineConnector, type Classification, type ProviderAnswer } from 'trestle'
import { operations } from './operations.ts'
import { events, webhooks } from './webhooks.ts'

export const calcom = defineConnector({
  name: 'calcom',
  title: 'Cal.com',
  baseUrl: 'https://api.cal.com',
  auth: { kind: 'bearer' },
  operations,
  events,
  webhooks,
  classify,
  limits: [
    {
      name: 'minute',
      allowed: 120,
      windowMs: 60_000,
      source:
        'Default per API key, apps/api/v2/src/lib/throttler-guard.ts of the open source and https://mintlify.com/calcom/cal.com/api/rate-limits (read 2026-11-22)',
    },
  ],
  check: { operation: 'me.retrieve', input: {} },
})

/**
 * What is special about Cal.com's answers: 429 names the wait in `X-RateLimit-Reset-<Name>`, and a seated booking is
 * refused with 401 to somebody who is no host of it, which says nothing about the key.
 */
function classify(answer: ProviderAnswer, now: number): Classification | undefined {
  const reason = reasonOf(answer)
  if (answer.status === 429) {
    const retryAt = resetTime(answer.headers, now)
    return { as: 'retry', code: 'rate_limited', reason, ...(retryAt === undefined ? {} : { retryAt }) }
  }
  if (answer.status === 401 && /not a host/i.test(reason)) return { as: 'failed', code: 'not_a_host', reason }
  return undefined
}

/** `{ status: 'error', error: { code, message } }` as a sentence. */
function reasonOf(answer: ProviderAnswer): string {
  const error = (answer.json as { error?: { message?: unknown } } | null | undefined)?.error
  return typeof error?.message === 'string' ? error.message : `Cal.com answered ${answer.status}`
}

/** Times later than this are seconds since 1970, others are seconds from now: Cal.com's documents say both. */
const EPOCH_SECONDS = 1_000_000_000

function resetTime(headers: Readonly<Record<string, string>>, now: number): number | undefined {
  const retryAfter = Number(headers['retry-after'])
  if (retryAfter > 0) return now + retryAfter * 1000
  const resets = Object.entries(headers)
    .filter(([name]) => name.startsWith('x-ratelimit-reset'))
    .map(([, value]) => Number(value))
    .filter((seconds) => seconds > 0)
  if (resets.length === 0) return undefined
  const last = Math.max(...resets)
  return last > EPOCH_SECONDS ? last * 1000 : now + last * 1000
}
