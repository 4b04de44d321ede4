import type { Classification, ProviderAnswer } from 'trestle'

/**
 * What the app's answers mean, by the contract in README.md. A 503 says "not now, and nothing was done"; a 409 says
 * that the `webhook-id` came before with another body, so something was done that we do not know; a 410 says that
 * nothing is wanted here any more (Standard Webhooks). Errors are `application/problem+json` (RFC 9457).
 */
export function classify(answer: ProviderAnswer, now: number): Classification | undefined {
  const reason = `The app answered ${answer.status}: ${detailOf(answer)}`
  switch (answer.status) {
    case 401:
      return { as: 'unauthorized', code: 'signature_refused', reason }
    case 409:
      return { as: 'in_doubt', code: 'key_reused', reason }
    case 410:
      return { as: 'failed', code: 'gone', reason }
    case 429:
    case 503:
      return {
        as: 'retry',
        code: answer.status === 429 ? 'rate_limited' : 'unavailable',
        reason,
        ...retryAt(answer, now),
      }
    default:
      return undefined
  }
}

function detailOf({ json, text }: ProviderAnswer): string {
  if (json !== null && typeof json === 'object' && 'detail' in json && typeof json.detail === 'string')
    return json.detail
  return text.slice(0, 200) || 'nothing'
}

/** `Retry-After` in seconds or as a date (RFC 9110, 10.2.3). */
function retryAt({ headers }: ProviderAnswer, now: number): { retryAt?: number } {
  const value = headers['retry-after']
  if (value === undefined) return {}
  const at = /^\d+$/.test(value) ? now + Number(value) * 1000 : Date.parse(value)
  return Number.isFinite(at) ? { retryAt: at } : {}
}
