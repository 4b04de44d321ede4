import { textAt, type Classification, type ProviderAnswer } from 'trestle'

const MINUTE_MS = 60_000
/** How long somebody who signed up too often is left alone. The answer names no time; an hour is our guess. */
const SIGNUPS_WAIT_MS = 60 * MINUTE_MS

/**
 * What is special about Mailchimp's answers: problems (RFC 7807) without codes, whose titles are stable ("shouldn't
 * change based on the occurrence") and become ours: `Member In Compliance State` is `member_in_compliance_state`.
 * 408, 429 and 5xx are left to the defaults.
 * Source: https://mailchimp.com/developer/marketing/docs/errors/ and …/docs/fundamentals/, read 2026-11-23.
 */
export function classify(answer: ProviderAnswer, now: number): Classification | undefined {
  const { status } = answer
  if (status < 400 || status >= 500 || status === 408 || status === 429) return undefined
  const problem = problemOf(answer)
  if (status === 401)
    return { as: 'unauthorized', code: 'credential_refused', reason: withServer(problem.reason) }
  // "At exceptionally high volumes, you may receive an HTTP 429 or 403 without a JSON body."
  if (status === 403 && answer.json === undefined)
    return {
      as: 'retry',
      code: 'throttled',
      reason: 'Mailchimp answered 403 without a problem: too much is asked of it.',
      retryAt: now + MINUTE_MS,
    }
  if (status === 400 && /not allowing more signups for now/i.test(problem.reason))
    return { as: 'retry', code: 'signups_paused', reason: problem.reason, retryAt: now + SIGNUPS_WAIT_MS }
  return { as: 'failed', code: problem.code ?? `status_${status}`, reason: problem.reason }
}

/** A key is good at its own data centre only, so a wrong `server` looks like a wrong key. */
function withServer(reason: string): string {
  return `${reason} With an API key, the setting "server" must be what stands after its hyphen.`
}

/** `{ type, title, status, detail, instance, errors: [{ field, message }] }` as a code and a sentence. */
function problemOf({ json, status }: ProviderAnswer): { code: string | undefined; reason: string } {
  const title = textAt(json, 'title')
  const errors = json !== null && typeof json === 'object' && 'errors' in json ? json['errors'] : undefined
  const fields = Array.isArray(errors) ? errors.flatMap(fieldWords) : []
  const said = [textAt(json, 'detail') ?? title ?? `Mailchimp answered ${status}.`, ...fields].join(' ')
  return {
    code: title?.toLowerCase().replaceAll(/[^a-z0-9]+/g, '_'),
    reason: said.slice(0, 500),
  }
}

function fieldWords(error: unknown): string[] {
  const message = textAt(error, 'message')
  if (message === undefined) return []
  const field = textAt(error, 'field')
  return [field === undefined ? message : `${field}: ${message}`]
}
