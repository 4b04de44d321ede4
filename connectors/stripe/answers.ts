import type { Classification, JsonValue, ProviderAnswer } from 'trestle'

/**
 * What Stripe's answers mean. Sources, read 2026-11-22: https://docs.stripe.com/error-low-level,
 * https://docs.stripe.com/error-codes, https://docs.stripe.com/rate-limits, and `_shouldRetry` of stripe 23.1.0.
 *
 * - 429: a limiter or a lock kept the request from running, so nothing was done.
 * - 409: another request with the same key is still running, or the object is being changed: what becomes of it is
 *   not known yet. The same key asks again.
 * - 400 `idempotency_error`: the key was used with other parameters, so something was done that we do not know.
 * - 402 and the other 4xx: refused; the same again would be refused again.
 * - 5xx: Stripe says to treat the outcome as indeterminate. A 500 is stored under the key and replayed with
 *   `Idempotent-Replayed: true`, which is told apart by the code `stored_error`.
 */
export function classify(answer: ProviderAnswer, now: number): Classification | undefined {
  if (answer.status >= 200 && answer.status < 300) return undefined
  const error = errorOf(answer.json)
  const code = error.code ?? error.type ?? `status_${answer.status}`
  const reason = reasonOf(answer, error)
  if (answer.status === 401) return { as: 'unauthorized', code: 'credential_refused', reason }
  if (answer.status === 429) return { as: 'retry', code, reason, ...retryAt(answer, now) }
  if (answer.status === 409 || error.type === 'idempotency_error') return { as: 'in_doubt', code, reason }
  if (answer.status === 424) return { as: 'in_doubt', code, reason }
  if (answer.status >= 500)
    return {
      as: 'in_doubt',
      code: answer.headers['idempotent-replayed'] === 'true' ? 'stored_error' : 'outcome_unknown',
      reason,
    }
  return { as: 'failed', code: error.decline_code ?? code, reason }
}

/** For reads, of which a failure leaves nothing behind: they are simply asked again. */
export function classifyRead(answer: ProviderAnswer, now: number): Classification | undefined {
  const meaning = classify(answer, now)
  if (meaning?.as !== 'in_doubt') return meaning
  return { as: 'retry', code: meaning.code, reason: meaning.reason, ...retryAt(answer, now) }
}

interface StripeError {
  readonly type?: string
  readonly code?: string
  readonly decline_code?: string
  readonly message?: string
  readonly param?: string
}

function errorOf(json: JsonValue | undefined): StripeError {
  if (json === null || typeof json !== 'object' || !('error' in json)) return {}
  const { error } = json
  if (error === null || typeof error !== 'object') return {}
  const fields = Object.entries(error).filter(([, value]) => typeof value === 'string')
  return Object.fromEntries(fields)
}

function reasonOf(answer: ProviderAnswer, error: StripeError): string {
  const said = error.message ?? (answer.text.slice(0, 200) || 'nothing')
  const about = error.param === undefined ? '' : ` (parameter ${error.param})`
  const request = answer.headers['request-id']
  return `Stripe answered ${answer.status}${about}: ${said}${request === undefined ? '' : ` [${request}]`}`
}

function retryAt(answer: ProviderAnswer, now: number): { retryAt?: number } {
  const seconds = Number(answer.headers['retry-after'])
  return Number.isFinite(seconds) && seconds > 0 ? { retryAt: now + seconds * 1000 } : {}
}
