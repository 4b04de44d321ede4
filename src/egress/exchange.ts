import type { Dispatcher } from 'undici'
import { reasonOf, type Clock } from '../base/index.ts'
import { DENIED } from './dial.ts'
import type { EgressPolicy } from './policy.ts'

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
  | 'expired'
  | 'withdrawn'

/** Bytes may have reached the other side, and no complete answer came back. */
export interface Unknown {
  readonly as: 'unknown'
  /** `reset`: closed before a status line; `truncated`: the answer ended or cannot be read; `too_large`: over a limit. */
  readonly code: 'reset' | 'timeout' | 'truncated' | 'too_large'
  readonly reason: string
  /** The status line, where one came. */
  readonly status?: number
}

/** An answer as it came, its body still encoded. */
interface RawAnswer {
  readonly as: 'answered'
  readonly status: number
  readonly headers: Record<string, string>
  readonly body: Buffer
}

export type ExchangeResult = RawAnswer | NotSent | Unknown

export interface ExchangeOptions {
  readonly clock: Clock
  readonly policy: EgressPolicy
  /** For the whole exchange, from `begunAt` on. */
  readonly timeoutMs: number
  /** On the monotonic clock. */
  readonly begunAt: number
  /** `false` right before the first byte is written: it is not. */
  readonly mayLeave: (() => boolean) | undefined
  /** Told once, right before the first byte is written. */
  readonly onSent: (() => void) | undefined
}

/**
 * One request on its way through undici, as a small state machine. undici tells it, synchronously and before the
 * first byte is written, that a socket was chosen (`onRequestStart`). That moment divides the outcomes: what fails
 * before is `not_sent`; what fails after is `unknown`, even where a socket kept alive was closed just then, since
 * nothing can show that the other side had not read the request.
 */
export class Exchange implements Dispatcher.DispatchHandler {
  readonly done: Promise<ExchangeResult>
  readonly #options: ExchangeOptions
  #state: 'waiting' | 'sent' | 'answering' | 'ended' = 'waiting'
  #settle!: (result: ExchangeResult) => void
  #cancelTimer: () => void
  #controller: Dispatcher.DispatchController | undefined
  #status: number | undefined
  #headers: Record<string, string> = {}
  #chunks: Buffer[] = []
  #size = 0
  constructor(options: ExchangeOptions) {
    this.#options = options
    this.done = new Promise((resolve) => {
      this.#settle = resolve
    })
    const { connectTimeoutMs } = options.policy
    this.#cancelTimer = options.clock.after(Math.min(connectTimeoutMs, options.timeoutMs), () =>
      this.#end({
        as: 'not_sent',
        code: 'connect_timeout',
        reason: `No connection was ready within ${Math.min(connectTimeoutMs, options.timeoutMs)} ms, so nothing was sent.`,
      }),
    )
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.#state !== 'waiting') {
      // Given up while it waited for a socket, or undici would send it a second time. Neither may be written.
      controller.abort(new Error('This exchange has ended.'))
      if (this.#state !== 'ended')
        this.#end(
          this.#unknown('reset', 'The connection was lost, and the request was not sent a second time.'),
        )
      return
    }
    const { clock, timeoutMs, begunAt, mayLeave } = this.#options
    const left = timeoutMs - (clock.monotonic() - begunAt)
    // Others may count on it that an exchange is over when its time is: none begins after that.
    const refusal =
      left <= 0
        ? notSentBecause('expired', `It could not be sent within its ${timeoutMs} ms, so nothing was sent.`)
        : mayLeave?.() === false
          ? notSentBecause('withdrawn', 'It was withdrawn before it was sent.')
          : undefined
    if (refusal) {
      this.#end(refusal)
      controller.abort(new Error('This exchange has ended.'))
      return
    }
    this.#state = 'sent'
    this.#controller = controller
    this.#cancelTimer()
    this.#cancelTimer = clock.after(left, () => this.#timeOut())
    this.#options.onSent?.()
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: RawHeaders): void {
    if (status < 200 || this.#state !== 'sent') return // 1xx: the answer proper follows (RFC 9110, 15.2)
    this.#state = 'answering'
    this.#status = status
    this.#headers = joinHeaders(headers)
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#state !== 'answering') return
    this.#size += chunk.length
    if (this.#size > this.#options.policy.maxBodyBytes)
      this.#abandon(
        this.#unknown(
          'too_large',
          `The answer's body is over ${this.#options.policy.maxBodyBytes} bytes. Ask for less, in pages.`,
        ),
      )
    else this.#chunks.push(chunk)
  }

  onResponseEnd(): void {
    if (this.#state !== 'answering') return
    const body = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks, this.#size)
    this.#end({ as: 'answered', status: this.#status!, headers: this.#headers, body })
  }

  onResponseError(_: unknown, error: Error): void {
    if (this.#state === 'ended') return
    this.#end(this.#state === 'waiting' ? notSent(error) : this.#lost(error))
  }

  #timeOut(): void {
    const { timeoutMs } = this.#options
    this.#abandon(
      this.#unknown(
        'timeout',
        this.#state === 'sent'
          ? `No answer came within ${timeoutMs} ms.`
          : `The answer was not complete within ${timeoutMs} ms.`,
      ),
    )
  }

  #lost(error: Error): Unknown {
    const code = (error as NodeJS.ErrnoException).code ?? ''
    if (code === 'UND_ERR_HEADERS_OVERFLOW')
      return this.#unknown(
        'too_large',
        `The answer's headers are over ${this.#options.policy.maxHeaderBytes} bytes.`,
      )
    if (error.name === 'HTTPParserError')
      return this.#unknown('truncated', `The answer is not valid HTTP: ${reasonOf(error)}`)
    if (this.#state === 'answering')
      return this.#unknown(
        'truncated',
        `The connection was lost after ${this.#size} bytes of the answer's body (${code || reasonOf(error)}).`,
      )
    return this.#unknown(
      'reset',
      `The connection was lost after the request was sent and before an answer (${code || reasonOf(error)}).`,
    )
  }

  #unknown(code: Unknown['code'], reason: string): Unknown {
    return { as: 'unknown', code, reason, ...(this.#status === undefined ? {} : { status: this.#status }) }
  }

  /** Ends it and closes the socket, on which the rest of the answer would still come. */
  #abandon(result: ExchangeResult): void {
    this.#end(result)
    this.#controller?.abort(new Error('This exchange has ended.'))
  }

  #end(result: ExchangeResult): void {
    if (this.#state === 'ended') return
    this.#state = 'ended'
    this.#cancelTimer()
    this.#chunks = []
    this.#settle(result)
  }
}

type RawHeaders = Readonly<Record<string, string | string[] | undefined>>

function joinHeaders(headers: RawHeaders): Record<string, string> {
  const joined: Record<string, string> = {}
  for (const name in headers) {
    const value = headers[name]
    if (typeof value === 'string') joined[name] = value
    else if (Array.isArray(value)) joined[name] = value.join(', ')
  }
  return joined
}

const INVALID_REQUEST: ReadonlySet<string> = new Set([
  'UND_ERR_INVALID_ARG',
  'UND_ERR_NOT_SUPPORTED',
  'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH',
])
const TLS_CODES =
  /^(ERR_TLS_|ERR_SSL_|EPROTO$|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_)/
const DNS_CODES = /^(ENOTFOUND|EAI_|ENODATA|ESERVFAIL)/

function notSentBecause(code: NotSentCode, reason: string): NotSent {
  return { as: 'not_sent', code, reason }
}

/** Names the reason why no socket could be had. */
function notSent(error: Error): NotSent {
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
  if (code === 'UND_ERR_CONNECT_TIMEOUT' || code === 'ETIMEDOUT')
    return { as, code: 'connect_timeout', reason: 'The host did not answer in time, so nothing was sent.' }
  if (TLS_CODES.test(code) || text.includes('before secure TLS connection'))
    return { as, code: 'tls_failed', reason: `No secure connection could be made (${code}): ${text}` }
  return {
    as,
    code: 'connect_refused',
    reason: `No connection could be made (${code || text}), so nothing was sent.`,
  }
}
