import type { Classification, LimitDefinition, LimitHeaders, ProviderAnswer } from 'trestle'
import { field, textOf } from './requests.ts'

const SOURCE =
  'https://developer.xero.com/documentation/guides/oauth2/limits, by https://www.maesn.com/blog/how-to-integrate-with-xero-api and https://blog.featherbear.cc/post/using-xero-from-a-developer-s-perspective, read 2026-11-22'

/** Xero's limits for one app and organisation. Over all organisations an app may make 10,000 requests a minute. */
export const limits: readonly LimitDefinition[] = [
  { name: 'minute', allowed: 60, windowMs: 60_000, concurrency: 5, source: SOURCE },
  // 1,000 for an app of the starter tier: Xero's own headers correct the count.
  { name: 'day', allowed: 5000, windowMs: 86_400_000, source: SOURCE },
]

/** What is left, in every answer. `X-Rate-Limit-Problem` says which limit a 429 is about. */
export const limitHeaders: readonly LimitHeaders[] = [
  {
    limit: 'minute',
    remaining: 'x-minlimit-remaining',
    refused: { header: 'x-rate-limit-problem', values: ['minute'] },
  },
  {
    limit: 'day',
    remaining: 'x-daylimit-remaining',
    refused: { header: 'x-rate-limit-problem', values: ['day'] },
  },
]

/** Where a 429 names no time, which is so for too many requests at once. */
const CONCURRENT_WAIT_MS = 5000

/**
 * What Xero's answers mean beyond the defaults. A refused write changed nothing: 400 names its faults in
 * `Elements[].ValidationErrors`, and has a `Type` that ends in `Exception`.
 * Sources, read 2026-11-22: https://developer.xero.com/documentation/api/accounting/responsecodes by
 * http://blog.xero.com/developer/api-overview/http-response-codes/, and https://github.com/XeroAPI/Xero-OpenAPI
 * (Error, Element, issue 461).
 */
export function classify(answer: ProviderAnswer, now: number): Classification | undefined {
  const { status } = answer
  const reason = reasonOf(answer)
  switch (status) {
    case 401:
      return { as: 'unauthorized', code: 'unauthorized', reason }
    case 403:
      // The token is good, and the organisation is not connected to the app (any more): only a person can help.
      return { as: 'unauthorized', code: 'tenant_not_connected', reason }
    case 409:
      // The first request with this key may still be under way.
      return { as: 'in_doubt', code: 'conflict', reason }
    case 429:
      return {
        as: 'retry',
        code: limitCodeOf(answer),
        reason,
        retryAt: retryAfter(answer, now) ?? now + CONCURRENT_WAIT_MS,
      }
    default:
      // 408 and 425 come from the way there; the defaults know how to take them.
      if (status >= 400 && status < 500 && status !== 408 && status !== 425)
        return { as: 'failed', code: codeOf(answer), reason }
      return undefined
  }
}

/** `ValidationException` is `validation`, `QueryParseException` is `query_parse`. */
function codeOf({ json, status }: ProviderAnswer): string {
  const type = textOf(json, 'Type').replace(/Exception$/, '')
  if (type === '') return `http_${status}`
  return type.replace(/(?<=[a-z])[A-Z]/g, '_$&').toLowerCase()
}

function limitCodeOf({ headers }: ProviderAnswer): string {
  const problem = headers['x-rate-limit-problem']?.trim().toLowerCase()
  return problem === undefined || !/^[a-z]+$/.test(problem) ? 'rate_limited' : `rate_limited_${problem}`
}

/** Every fault that Xero names, else its message, else the status. Problem bodies (401, 403) have `Detail`. */
function reasonOf({ json, status }: ProviderAnswer): string {
  const elements = field(json, 'Elements')
  const faults = (Array.isArray(elements) ? elements : [])
    .flatMap((element) => field(element, 'ValidationErrors') ?? [])
    .map((fault) => textOf(fault, 'Message'))
    .filter((message) => message !== '')
  if (faults.length > 0) return [...new Set(faults)].join(' ')
  const said = [textOf(json, 'Message'), textOf(json, 'Detail'), textOf(json, 'Title')]
  return said.find((text) => text !== '') ?? `Xero answered ${status}.`
}

/** `Retry-After` (RFC 9110, 10.2.3); Xero writes seconds. */
function retryAfter({ headers }: ProviderAnswer, now: number): number | undefined {
  const value = headers['retry-after']?.trim() ?? ''
  if (/^\d{1,9}$/.test(value)) return now + Number(value) * 1000
  const date = Date.parse(value)
  return Number.isNaN(date) ? undefined : date
}
