import { reasonOf } from '../base/index.ts'
import { DENIED, PHASE_TIMEOUT } from './dial.ts'

/** Nothing left us, for certain. */
export interface NotSent {
  readonly as: 'not_sent'
  readonly code: NotSentCode
  readonly reason: string
}

/**
 * - `dns_failed`: the name has no address, or the resolver failed.
 * - `connect_refused`: no connection could be made (refused, unreachable, closed while connecting).
 * - `connect_timeout`: no socket was ready within the policy's time.
 * - `tls_failed`: the certificate or the handshake.
 * - `egress_denied`: the policy, or a request that is not valid HTTP. The same again fails again.
 * - `egress_busy`: a limit on exchanges or origins was reached.
 * - `mail_not_ended`: a mail server was lost, or took too long, before the line that ends the mail.
 * - `expired`: the time that it had was over before a byte was written, as after the process had stood still.
 * - `withdrawn`: whoever asked for it had no right to it any more when its turn came.
 */
type NotSentCode =
  | 'dns_failed'
  | 'connect_refused'
  | 'connect_timeout'
  | 'tls_failed'
  | 'egress_denied'
  | 'egress_busy'
  | 'mail_not_ended'
  | 'expired'
  | 'withdrawn'

const INVALID_REQUEST: ReadonlySet<string> = new Set([
  'UND_ERR_INVALID_ARG',
  'UND_ERR_NOT_SUPPORTED',
  'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH',
])
const TLS_CODES =
  /^(ERR_TLS_|ERR_SSL_|EPROTO$|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_)/
const DNS_CODES = /^(ENOTFOUND|EAI_|ENODATA|ESERVFAIL)/

export function notSentBecause(code: NotSentCode, reason: string): NotSent {
  return { as: 'not_sent', code, reason }
}

/** Whether an error is one of a certificate or a TLS handshake. */
export function isTlsFault(code: string, text: string): boolean {
  return TLS_CODES.test(code) || text.includes('before secure TLS connection')
}

/** Names the reason why no socket could be had. */
export function notSent(error: Error): NotSent {
  const code = (error as NodeJS.ErrnoException).code ?? ''
  const text = reasonOf(error)
  const as = 'not_sent'
  if (code === DENIED) return { as, code: 'egress_denied', reason: text }
  if (INVALID_REQUEST.has(code))
    return { as, code: 'egress_denied', reason: `The request is not valid HTTP: ${text}.` }
  if (code === 'UND_ERR_MAX_ORIGINS_REACHED')
    return { as, code: 'egress_busy', reason: 'Too many origins are being called at once. Try again later.' }
  if (DNS_CODES.test(code))
    return {
      as,
      code: 'dns_failed',
      reason: `The host name could not be resolved (${code}). Check the base URL.`,
    }
  if (code === PHASE_TIMEOUT.name)
    return { as, code: 'dns_failed', reason: `${text} Nothing was sent. Check the machine's resolver.` }
  if (code === PHASE_TIMEOUT.tls) return { as, code: 'tls_failed', reason: `${text} Nothing was sent.` }
  if (code === PHASE_TIMEOUT.connect)
    return { as, code: 'connect_timeout', reason: 'The host did not answer in time, so nothing was sent.' }
  if (isTlsFault(code, text))
    return { as, code: 'tls_failed', reason: `No secure connection could be made (${code}): ${text}` }
  return {
    as,
    code: 'connect_refused',
    reason: `No connection could be made (${code || text}), so nothing was sent.`,
  }
}
