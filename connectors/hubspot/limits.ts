import type { Classification, LimitDefinition, ProviderAnswer } from 'trestle'

const READ = 'read 2026-11-22'

/**
 * HubSpot's limits for one account and app. The burst is that of the smallest plan (100 in 10 s for a private app of
 * a Free or Starter account); OAuth apps may make 110, Professional and Enterprise accounts 190. OAuth apps have no
 * daily limit; that of private apps is the account's smallest, 250,000.
 */
export const limits: readonly LimitDefinition[] = [
  {
    name: 'burst',
    allowed: 100,
    windowMs: 10_000,
    source: `https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines and https://developers.hubspot.com/changelog/increasing-our-api-limits, ${READ}`,
  },
  {
    name: 'day',
    allowed: 250_000,
    windowMs: 86_400_000,
    source: `https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines, ${READ}`,
  },
  {
    name: 'search',
    allowed: 5,
    windowMs: 1000,
    source: `https://developers.hubspot.com/changelog/increasing-our-api-limits (five searches a second and account), ${READ}`,
  },
]

/** Limits of everything but searches. */
export const ORDINARY = ['burst', 'day'] as const

/** Never retried sooner than this where HubSpot names no time: 423 asks for at least 2 s. */
const LOCKED_WAIT_MS = 2000
/** The rolling window of the burst limit. */
const BURST_WAIT_MS = 10_000
/** The day ends at midnight of the account's time zone, which we do not know; an hour later is early enough to ask. */
const DAY_WAIT_MS = 3_600_000

/**
 * What HubSpot's answers mean beyond the defaults.
 * Source: https://developers.hubspot.com/docs/api-reference/error-handling, read 2026-11-22: 423 asks to wait 2 s,
 * 477 names the time in Retry-After, 521 and 523 mean that nothing reached HubSpot's application, 429 carries
 * `policyName`, 207 has an error for each input that failed. All fields of an error body are optional.
 */
export function classify(answer: ProviderAnswer, now: number): Classification | undefined {
  switch (answer.status) {
    case 207:
      return multiStatus(answer)
    case 401:
      return { as: 'unauthorized', code: codeOf(answer, 'unauthorized'), reason: reasonOf(answer) }
    case 423:
      return later(answer, 'locked', now + LOCKED_WAIT_MS, now)
    case 429:
      return rateLimited(answer, now)
    case 477:
      return later(answer, 'account_migrating', now + DAY_WAIT_MS, now)
    case 521:
    case 523:
      return later(answer, 'unreachable', undefined, now)
    default:
      // 408 and 425 come from the way there; the defaults know how to take them.
      if (answer.status >= 400 && answer.status < 500 && answer.status !== 408 && answer.status !== 425)
        return { as: 'failed', code: codeOf(answer, `http_${answer.status}`), reason: reasonOf(answer) }
      return undefined
  }
}

/** A batch of one: what failed is in `errors`, and the whole call failed with it. */
function multiStatus(answer: ProviderAnswer): Classification | undefined {
  const first = at(at(answer.json, 'errors'), 0)
  if (first === undefined) return undefined
  const category = at(first, 'category')
  const message = at(first, 'message')
  return {
    as: 'failed',
    code: typeof category === 'string' ? category.toLowerCase() : 'batch_failed',
    reason: typeof message === 'string' ? message : 'HubSpot refused the input without saying why.',
  }
}

function rateLimited(answer: ProviderAnswer, now: number): Classification {
  const policy = at(answer.json, 'policyName')
  const daily = policy === 'DAILY'
  return later(
    answer,
    daily ? 'daily_limit_reached' : 'rate_limited',
    now + (daily ? DAY_WAIT_MS : BURST_WAIT_MS),
    now,
  )
}

function later(
  answer: ProviderAnswer,
  code: string,
  otherwise: number | undefined,
  now: number,
): Classification {
  const retryAt = retryAfter(answer, now) ?? otherwise
  return { as: 'retry', code, reason: reasonOf(answer), ...(retryAt === undefined ? {} : { retryAt }) }
}

/** `Retry-After` (RFC 9110, 10.2.3): seconds or a date. */
function retryAfter(answer: ProviderAnswer, now: number): number | undefined {
  const text = answer.headers['retry-after']?.trim()
  if (text === undefined) return undefined
  if (/^\d{1,9}$/.test(text)) return now + Number(text) * 1000
  const date = Date.parse(text)
  return Number.isNaN(date) ? undefined : date
}

function codeOf(answer: ProviderAnswer, otherwise: string): string {
  const category = at(answer.json, 'category')
  return typeof category === 'string' ? category.toLowerCase() : otherwise
}

/** HubSpot's own words and its correlation id, which its support asks for. */
function reasonOf(answer: ProviderAnswer): string {
  const message = at(answer.json, 'message')
  const correlation = at(answer.json, 'correlationId')
  const words = typeof message === 'string' ? message : `HubSpot answered ${answer.status}.`
  return typeof correlation === 'string' ? `${words} (correlation id ${correlation})` : words
}

function at(value: unknown, key: string | number): unknown {
  if (value === null || typeof value !== 'object') return undefined
  return (value as Record<string | number, unknown>)[key]
}
