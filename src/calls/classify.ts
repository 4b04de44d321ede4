import { atPath } from '../base/index.ts'
import type {
  AnyConnector,
  AnyOperation,
  Classification,
  IdempotencyKind,
  LostExchange,
  LostMeaning,
  ProviderAnswer,
} from '../define/index.ts'
import type { EgressResult } from '../egress/index.ts'
import { retryTime, type HealthResult } from '../resilience/index.ts'

/** Whose rules an answer is judged by. */
export interface ClassifyContext {
  readonly operation: AnyOperation | undefined
  readonly connector: AnyConnector
  /** How the operation behaves when repeated now. A look-up is a read, and so `natural`. */
  readonly kind: IdempotencyKind
  readonly now: number
}

/**
 * What an answer means: the operation is asked, then the connector, then the defaults. A rule of theirs that throws
 * is taken as doubt.
 */
export function classify(answer: ProviderAnswer, context: ClassifyContext): Classification {
  const { operation, connector, kind, now } = context
  let own: Classification | undefined
  try {
    own = operation?.classify?.(answer, now) ?? connector.classify?.(answer, now)
  } catch (error) {
    return {
      as: 'in_doubt',
      code: 'classification_failed',
      reason: `The connector ${connector.name} could not tell what a ${answer.status} means: ${String(error).slice(0, 200)}`,
    }
  }
  return withRetryTime(own ?? (operation?.mail ? byReply(answer) : byStatus(answer, kind)), answer, now)
}

/** A wait that the provider asks for in its headers counts wherever the rule names none. */
function withRetryTime(meaning: Classification, answer: ProviderAnswer, now: number): Classification {
  if ((meaning.as !== 'retry' && meaning.as !== 'in_doubt') || meaning.retryAt !== undefined) return meaning
  const retryAt = retryTime(answer.headers['retry-after'], now)
  return retryAt === undefined ? meaning : { ...meaning, retryAt }
}

/**
 * What it means that no whole answer came: the operation is asked, then the connector, then the defaults. What was
 * not sent cannot have been done, whatever a rule says.
 */
export function classifyLost(lost: LostExchange, context: ClassifyContext): LostMeaning {
  const { operation, connector, kind, now } = context
  const { code, reason } = lost
  let own: LostMeaning | undefined
  try {
    own = operation?.classifyLost?.(lost, now) ?? connector.classifyLost?.(lost, now)
  } catch (error) {
    own = {
      as: 'in_doubt',
      code: 'classification_failed',
      reason: `The connector ${connector.name} could not tell what "${code}" means: ${String(error).slice(0, 200)}`,
    }
  }
  if (lost.phase === 'connecting')
    return own === undefined || own.as === 'in_doubt' ? { ...(own ?? { code, reason }), as: 'retry' } : own
  if (own !== undefined) return own
  if (kind !== 'natural') return { as: 'in_doubt', code, reason }
  return { as: code === 'answer_too_large' ? 'failed' : 'retry', code, reason }
}

/**
 * What a status means where nobody knows better (RFC 9110, 15).
 *
 * A 5xx, a 408 or a redirect of a POST does not tell whether the request was acted on: gateways send them for
 * requests that the server behind went on to finish. For what may be repeated that does not matter. For the rest
 * it is doubt, which the engine resolves by the key or a look-up. Nor is a 409 to a request with an idempotency key
 * a definite no: providers send it while an earlier request with the key is still being worked on
 * (draft-ietf-httpapi-idempotency-key-header-07, 2.6, 2025-10-15).
 */
export function byStatus(answer: ProviderAnswer, kind: IdempotencyKind): Classification {
  const { status } = answer
  const code = `status_${status}`
  const reason = `The provider answered ${status}${excerpt(answer)}`
  const unclear = kind === 'natural' ? 'retry' : 'in_doubt'
  if (status >= 200 && status < 300) return { as: 'succeeded' }
  if (status < 400) {
    const where =
      answer.headers['location'] === undefined ? '' : ` to ${answer.headers['location'].slice(0, 200)}`
    const redirect = `The provider redirects${where} (${status}). Redirects are not followed; check the base URL.`
    const acted = (status === 302 || status === 303) && kind !== 'natural'
    return { as: acted ? 'in_doubt' : 'failed', code: 'redirected', reason: redirect }
  }
  if (status === 401) return { as: 'unauthorized', code: 'credential_refused', reason }
  if (status === 429) return { as: 'retry', code: 'rate_limited', reason }
  if (status === 425) return { as: 'retry', code, reason } // RFC 8470, 5.2: not processed
  if (status === 408) return { as: unclear, code, reason }
  if (status === 409 && kind === 'key') return { as: 'in_doubt', code, reason }
  if (status < 500 || status === 501 || status === 505) return { as: 'failed', code, reason }
  return { as: unclear, code: 'provider_unavailable', reason }
}

/** Said by egress of every answer by SMTP: the command that was replied to. */
const SMTP_COMMAND = 'smtp-command'

/**
 * What a reply of a mail server means (RFC 5321, 4.2.1): 2yz done, 4yz not now, 5yz never, each for certain, as what
 * is in doubt gives no reply. A login that is refused for good (RFC 4954, 6), or that is asked for (530), is a person's
 * to mend. What is refused before the server was asked anything about the mail (a greeting or an EHLO with 5yz, as for
 * an address on a block list) says nothing about it, and is tried again.
 */
export function byReply(answer: ProviderAnswer): Classification {
  const { status } = answer
  const command = answer.headers[SMTP_COMMAND] ?? ''
  const said = atPath(answer.json, 'reply.text')
  const enhanced = atPath(answer.json, 'reply.enhanced')
  const code = `smtp_${status}`
  const reason = `The mail server answered ${status}${typeof enhanced === 'string' ? ` ${enhanced}` : ''} to ${command}: ${typeof said === 'string' ? said.slice(0, 200) : ''}`
  if (status >= 200 && status < 300) return { as: 'succeeded' }
  if (status === 421) return { as: 'retry', code: 'provider_unavailable', reason }
  if (status >= 400 && status < 500) return { as: 'retry', code, reason }
  if (status === 530 || (status >= 500 && command.startsWith('AUTH')))
    return { as: 'unauthorized', code: 'credential_refused', reason }
  if (status >= 500 && isOpening(command)) return { as: 'retry', code, reason }
  if (status >= 500) return { as: 'failed', code, reason }
  return { as: 'in_doubt', code, reason }
}

function isOpening(command: string): boolean {
  return command === 'CONN' || command === 'EHLO' || command === 'HELO'
}

/** What a reply says about the server's health: that it refuses this mail, or greylists it, is none of its troubles. */
function healthOfReply(status: number, command: string): Exclude<HealthResult, 'slow'> {
  if (status === 421 || (status >= 400 && isOpening(command))) return 'failure'
  return status >= 400 && (command.startsWith('AUTH') || status === 530) ? 'neutral' : 'success'
}

/** The beginning of a short answer in words; long ones and pages of HTML say nothing to an operator. */
function excerpt(answer: ProviderAnswer): string {
  const text = answer.text.trim()
  if (text === '' || text.startsWith('<')) return '.'
  return `: ${text.slice(0, 200)}${text.length > 200 ? '…' : ''}`
}

/** Reasons of ours why nothing was sent: they say nothing about the provider. */
const OURS: ReadonlySet<string> = new Set(['egress_denied', 'egress_busy', 'expired', 'withdrawn'])

/** What a result says about the provider's health, whatever it means for the step. */
export function healthOf(result: EgressResult, isMail = false): Exclude<HealthResult, 'slow'> {
  if (result.as === 'unknown') return result.code === 'too_large' ? 'success' : 'failure'
  if (result.as === 'not_sent') return OURS.has(result.code) ? 'neutral' : 'failure'
  if (isMail) return healthOfReply(result.status, result.headers[SMTP_COMMAND] ?? '')
  if (result.status === 401 || result.status === 403 || result.status === 429) return 'neutral'
  return result.status >= 500 && result.status !== 501 && result.status !== 505 ? 'failure' : 'success'
}
