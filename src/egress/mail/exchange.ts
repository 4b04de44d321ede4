import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import SMTPConnection from 'nodemailer/lib/smtp-connection'
import { reasonOf, type Clock, type MailAnswer, type MailReply, type MailServer } from '../../base/index.ts'
import type { Certificates } from '../certificates.ts'
import type { Unknown } from '../exchange.ts'
import { isTlsFault, notSentBecause, type NotSent } from '../notSent.ts'
import type { OnBehalfOf } from '../onBehalfOf.ts'
import type { EgressPolicy } from '../policy.ts'
import type { ComposedMail } from './compose.ts'
import { isRefusal, replyOf } from './reply.ts'

/** One session with a mail server: a mail, or the greeting alone. */
export interface MailExchangeRequest {
  readonly server: MailServer
  /** Sent after TLS, and by `security: 'none'` to private addresses only. Default: no AUTH. */
  readonly login?: { readonly username: string; readonly password: string } | undefined
  /** Without it nothing is sent: connect, TLS, EHLO, AUTH, QUIT. */
  readonly mail?: Pick<ComposedMail, 'from' | 'to' | 'messageId' | 'bytes'> | undefined
  /** Milliseconds for the whole exchange. RFC 5321, 4.5.3.2.6 gives a server ten minutes for its last reply alone. */
  readonly timeoutMs: number
  readonly allowPrivate: boolean
  /** Trusted certificate authorities in PEM, in place of those of the egress. */
  readonly ca?: string | undefined
  /** Milliseconds of that time that were spent before the call. Default 0. */
  readonly spentMs?: number | undefined
  /** Asked right before the mail's end is written: `false`, and the mail was not sent (`withdrawn`). */
  readonly mayLeave?: (() => boolean) | undefined
  /** Told once, right before the mail's end is written: from then on an outcome may be unknown. */
  readonly onSent?: (() => void) | undefined
  /** For whom it is, for the record of what the policy refuses. */
  readonly onBehalfOf?: OnBehalfOf
}

/** A reply that ends the exchange, whatever it says. */
interface Replied {
  readonly as: 'replied'
  readonly answer: MailAnswer
  /** What it replies to: `DATA`, `RCPT TO`, `MAIL FROM`, `AUTH PLAIN`, `EHLO`, `CONN` (the greeting). */
  readonly command: string
}

export type MailResult = Replied | NotSent | Unknown

export interface MailExchangeParts {
  readonly clock: Clock
  readonly policy: EgressPolicy
  /** On the monotonic clock. */
  readonly begunAt: number
  /** Trusted certificate authorities in PEM, in place of the system's. */
  readonly ca: string | undefined
  readonly certificates: Certificates
}

type Phase = 'greeting' | 'login' | 'envelope' | 'data' | 'reply' | 'ended'

/** The mail is handed over in pieces of this size. */
const PIECE_BYTES = 64 * 1024
/** Most bytes of one reply. A long EHLO has two thousand. */
const LONGEST_REPLY_BYTES = 64 * 1024
/** How long a server may take to say good-bye: the exchange is over by then. */
const QUIT_MS = 2_000
/** nodemailer's own timers measure silence. Ours, which measure whole phases, come first. */
const NEVER_MS = 2_000_000_000

/** An error as nodemailer's sessions give it. */
type SessionError = Error & {
  readonly code?: string
  readonly originalCode?: string
  readonly response?: string
  readonly command?: string
  readonly rejectedErrors?: readonly SessionError[]
  readonly recipient?: string
}

/**
 * One mail on its way, as a small state machine around nodemailer's session over a socket that egress opened. The
 * line with the final dot divides the outcomes (RFC 5321, 4.1.1.4): a server that does not have it has accepted
 * nothing, so all that breaks before it is `not_sent`, though the whole text may have left. What breaks after it and
 * before the reply is `unknown` (RFC 1047). The mail goes through a stream that ends only when {@link #mayEnd} says
 * so; nothing else can write the dot.
 */
export class MailExchange {
  readonly done: Promise<MailResult>
  readonly #request: MailExchangeRequest
  readonly #parts: MailExchangeParts
  readonly #socket: Socket
  readonly #session: SMTPConnection
  #settle!: (result: MailResult) => void
  #phase: Phase = 'greeting'
  #cancelTimer: () => void = () => undefined

  constructor(request: MailExchangeRequest, socket: Socket, parts: MailExchangeParts) {
    this.#request = request
    this.#parts = parts
    this.#socket = socket
    const { host, port, security } = request.server
    this.#session = new SMTPConnection({
      host,
      port,
      secure: security === 'tls',
      requireTLS: security === 'starttls',
      ignoreTLS: security === 'none',
      connection: socket,
      tls: {
        checkServerIdentity: parts.certificates.checkOf({ host, port }),
        ...(parts.ca !== undefined && { ca: parts.ca }),
      },
      connectionTimeout: NEVER_MS,
      greetingTimeout: NEVER_MS,
      socketTimeout: NEVER_MS,
      maxResponseSize: LONGEST_REPLY_BYTES,
      logger: false,
    })
    this.done = new Promise((resolve) => {
      this.#settle = resolve
    })
    this.#enter('greeting')
    this.#session.on('error', (error: SessionError) => this.#fail(error))
    this.#session.connect((error) => (error ? this.#fail(error) : this.#logIn()))
  }

  #logIn(): void {
    const { login } = this.#request
    if (login === undefined) return this.#greeted()
    this.#enter('login')
    this.#session.login({ user: login.username, pass: login.password }, (error) =>
      error ? this.#fail(error) : this.#greeted(),
    )
  }

  #greeted(): void {
    const { mail } = this.#request
    if (mail !== undefined) return this.#send(mail)
    const reply = replyOf(this.#session.lastServerResponse || '')
    if (reply) this.#finish({ as: 'replied', answer: answerOf(reply), command: 'EHLO' })
  }

  #send(mail: NonNullable<MailExchangeRequest['mail']>): void {
    this.#enter('envelope')
    const envelope = { from: mail.from, to: [...mail.to], size: mail.bytes.length }
    this.#session.send(envelope, this.#streamOf(mail.bytes), (error, info) => {
      if (error) return this.#fail(error)
      const reply = replyOf(info.response)
      // A reply that came before the mail's end was written is none to the mail.
      if (this.#phase !== 'reply' || reply === undefined)
        return this.#fail(new Error('The server replied out of turn.'))
      const rejected = (info.rejectedErrors ?? []).flatMap(rejectionOf)
      const answer = { messageId: mail.messageId, accepted: info.accepted, rejected, reply }
      return this.#finish({ as: 'replied', answer, command: 'DATA' })
    })
  }

  /** The mail's bytes; read from the moment when the server asks for them. Its end is the final dot. */
  #streamOf(bytes: Buffer): Readable {
    let at = 0
    const enter = (): void => this.#enter('data')
    const mayEnd = (): boolean => this.#mayEnd()
    return new Readable({
      highWaterMark: 1,
      read() {
        if (at === 0) enter()
        if (at < bytes.length) this.push(bytes.subarray(at, (at += PIECE_BYTES)))
        else if (mayEnd()) this.push(null)
      },
    })
  }

  #mayEnd(): boolean {
    if (this.#phase !== 'data') return false
    const { mayLeave, onSent, timeoutMs } = this.#request
    const refusal =
      this.#leftMs() <= 0
        ? notSentBecause('expired', `It could not be sent within its ${timeoutMs} ms, so it was not.`)
        : mayLeave?.() === false
          ? notSentBecause('withdrawn', 'It was withdrawn before it was sent.')
          : undefined
    if (refusal) {
      this.#abandon(refusal)
      return false
    }
    this.#enter('reply')
    onSent?.()
    return true
  }

  #enter(phase: Exclude<Phase, 'ended'>): void {
    if (this.#phase === 'ended') return
    this.#phase = phase
    this.#cancelTimer()
    const limitMs = Math.min(this.#leftMs(), limitOf(phase, this.#parts.policy))
    this.#cancelTimer = this.#parts.clock.after(limitMs, () => this.#timeOut(Math.round(limitMs)))
  }

  #leftMs(): number {
    return this.#request.timeoutMs - (this.#parts.clock.monotonic() - this.#parts.begunAt)
  }

  #timeOut(limitMs: number): void {
    this.#abandon(
      this.#phase === 'reply'
        ? unknown('timeout', `The server did not say within ${limitMs} ms whether it took the mail.`)
        : notSentBecause('mail_not_ended', `${SLOW[this.#phase]} within ${limitMs} ms, so nothing was sent.`),
    )
  }

  #fail(error: SessionError): void {
    if (this.#phase !== 'ended') this.#abandon(resultOf(error, this.#phase, this.#request.mail))
  }

  /** The end of a session that stands: with a good-bye, which nobody waits for. */
  #finish(result: MailResult): void {
    if (!this.#end(result)) return
    const cancel = this.#parts.clock.after(QUIT_MS, () => this.#socket.destroy())
    this.#socket.once('close', cancel)
    this.#session.quit()
  }

  /** The end of a session whatever its state: nothing of the mail that is not written yet may be any more. */
  #abandon(result: MailResult): void {
    if (!this.#end(result)) return
    this.#socket.destroy()
    this.#session.close()
  }

  #end(result: MailResult): boolean {
    if (this.#phase === 'ended') return false
    this.#phase = 'ended'
    this.#cancelTimer()
    this.#settle(result)
    return true
  }
}

const SLOW: Readonly<Record<Exclude<Phase, 'reply'>, string>> = {
  greeting: 'The mail server did not greet and agree on TLS',
  login: 'The mail server did not answer the login',
  envelope: 'The mail server did not answer for sender and recipients',
  data: 'The mail server did not take the text of the mail',
  ended: '',
}

function limitOf(phase: Exclude<Phase, 'ended'>, policy: EgressPolicy): number {
  switch (phase) {
    case 'greeting':
      return policy.mailGreetingTimeoutMs
    case 'login':
      return policy.mailLoginTimeoutMs
    case 'envelope':
      return policy.mailEnvelopeTimeoutMs
    case 'data':
      return policy.mailDataTimeoutMs
    case 'reply':
      return Number.POSITIVE_INFINITY
  }
}

/** What an error of the session means, by how far it had come. */
function resultOf(error: SessionError, phase: Phase, mail: MailExchangeRequest['mail']): MailResult {
  const reply = replyOf(error.response ?? '') ?? tooLarge(error, phase)
  const isTls = error.code === 'ETLS' || isTlsFault(error.originalCode ?? '', error.message)
  if (isTls && phase === 'greeting') return notSentBecause('tls_failed', tlsWords(error))
  if (isRefusal(reply)) {
    const rejected = (error.rejectedErrors ?? []).flatMap(rejectionOf)
    const answer = { messageId: mail?.messageId ?? null, accepted: [], rejected, reply }
    return { as: 'replied', answer, command: error.command ?? 'CONN' }
  }
  if (phase !== 'reply')
    return notSentBecause(
      'mail_not_ended',
      `The mail server was lost before the mail's end: ${reasonOf(error)}`,
    )
  return error.response !== undefined || error.code === 'EPROTOCOL'
    ? unknown('truncated', `The server's last reply cannot be read: ${reasonOf(error)}`)
    : unknown(
        'reset',
        `The connection was lost after the mail was sent and before the reply: ${reasonOf(error)}`,
      )
}

/** The server has said which size it takes, and the mail is larger: what it would answer (RFC 1870, 6.1). */
function tooLarge(error: SessionError, phase: Phase): MailReply | undefined {
  if (error.code !== 'EMESSAGE' || error.response !== undefined || phase !== 'envelope') return undefined
  return { code: 552, enhanced: '5.3.4', text: error.message }
}

function tlsWords(error: SessionError): string {
  return error.command === 'STARTTLS'
    ? `The mail server does not offer STARTTLS, so neither password nor mail was sent: ${reasonOf(error)}`
    : `No secure connection could be made, so neither password nor mail was sent: ${reasonOf(error)}`
}

function rejectionOf(error: SessionError): MailAnswer['rejected'][number][] {
  const reply = replyOf(error.response ?? '')
  return reply && error.recipient !== undefined ? [{ address: error.recipient, ...reply }] : []
}

function answerOf(reply: MailReply): MailAnswer {
  return { messageId: null, accepted: [], rejected: [], reply }
}

function unknown(code: Unknown['code'], reason: string): Unknown {
  return { as: 'unknown', code, reason }
}
