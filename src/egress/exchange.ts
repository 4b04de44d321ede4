import type { Dispatcher } from 'undici'
import { reasonOf, type Clock } from '../base/index.ts'
import { notSent, notSentBecause, type NotSent } from './notSent.ts'
import type { EgressPolicy } from './policy.ts'

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
  #cancelPhase: () => void = () => undefined
  #heardAt = 0
  #informational = 0
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
    const { clock, policy, timeoutMs, begunAt, mayLeave } = this.#options
    const { firstByteTimeoutMs } = policy
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
    if (firstByteTimeoutMs < left)
      this.#cancelPhase = clock.after(firstByteTimeoutMs, () => this.#abandonAsSlow(firstByteTimeoutMs))
    this.#options.onSent?.()
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: RawHeaders): void {
    if (this.#state !== 'sent') return
    const { clock, policy } = this.#options
    // 1xx: the answer proper follows (RFC 9110, 15.2), if it ever does.
    if (status < 200) {
      this.#informational++
      if (this.#informational > policy.maxInformational)
        this.#abandon(
          this.#unknown('truncated', `More than ${policy.maxInformational} informational answers came.`),
        )
      return
    }
    this.#state = 'answering'
    this.#status = status
    if (countHeaders(headers) > policy.maxHeaders) {
      this.#abandon(
        this.#unknown(
          'too_large',
          `The answer has over ${policy.maxHeaders} header fields, which is refused.`,
        ),
      )
      return
    }
    this.#headers = joinHeaders(headers)
    this.#cancelPhase()
    this.#heardAt = clock.monotonic()
    this.#watchSilence(policy.idleTimeoutMs)
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#state !== 'answering') return
    this.#heardAt = this.#options.clock.monotonic()
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
    this.#abandonAsSlow(this.#options.timeoutMs)
  }

  #abandonAsSlow(limitMs: number): void {
    this.#abandon(
      this.#unknown(
        'timeout',
        this.#state === 'sent'
          ? `No answer came within ${limitMs} ms.`
          : `The answer was not complete within ${limitMs} ms.`,
      ),
    )
  }

  /** Looks once per limit instead of once per piece, so that a body in many pieces costs no timer for each. */
  #watchSilence(ms: number): void {
    const { clock, policy } = this.#options
    this.#cancelPhase = clock.after(ms, () => {
      const left = policy.idleTimeoutMs - (clock.monotonic() - this.#heardAt)
      if (left > 0) this.#watchSilence(left)
      else
        this.#abandon(
          this.#unknown('timeout', `Nothing more of the answer came for ${policy.idleTimeoutMs} ms.`),
        )
    })
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
    this.#cancelPhase()
    this.#chunks = []
    this.#settle(result)
  }
}

type RawHeaders = Readonly<Record<string, string | string[] | undefined>>

function countHeaders(headers: RawHeaders): number {
  let fields = 0
  for (const name in headers) {
    const value = headers[name]
    fields += Array.isArray(value) ? value.length : 1
  }
  return fields
}

function joinHeaders(headers: RawHeaders): Record<string, string> {
  const joined: Record<string, string> = {}
  for (const name in headers) {
    const value = headers[name]
    if (typeof value === 'string') joined[name] = value
    else if (Array.isArray(value)) joined[name] = value.join(', ')
  }
  return joined
}
