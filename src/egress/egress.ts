import type { Socket } from 'node:net'
import { Agent, type Dispatcher } from 'undici'
import type { Clock } from '../base/index.ts'
import { createCertificates, type Certificates, type ServerCertificate } from './certificates.ts'
import { ACCEPT_ENCODING, createDecoder } from './decode.ts'
import { createDial, type ConnectTcp, type Resolve } from './dial.ts'
import { Exchange, type Unknown } from './exchange.ts'
import type { OnBehalfOf } from './onBehalfOf.ts'
import type { NotSent } from './notSent.ts'
import { EGRESS_POLICY, targetOf, type EgressPolicy } from './policy.ts'
import { sendMail, type MailExchangeRequest } from './mail/index.ts'

export interface EgressRequest {
  /** In upper case. */
  readonly method: string
  /** Absolute. */
  readonly url: string
  readonly headers: Readonly<Record<string, string>> | readonly (readonly [string, string])[]
  readonly body?: Buffer
  /** Milliseconds for the whole exchange, to the last byte of the answer. */
  readonly timeoutMs: number
  /** Private and loopback addresses, and http to them. Metadata services stay out of reach. */
  readonly allowPrivate: boolean
  /** Milliseconds of that time that were spent before the call. Default 0. */
  readonly spentMs?: number | undefined
  /** Asked right before the first byte is written: `false`, and the exchange ends as not sent (`withdrawn`). */
  readonly mayLeave?: (() => boolean) | undefined
  /** Told once, right before the first byte is written: from then on an outcome may be unknown. */
  readonly onSent?: () => void
  /** For whom it is, for the record of what the policy refuses. */
  readonly onBehalfOf?: OnBehalfOf
}

/** Something that the policy refused, before a byte was sent. */
export interface Denied {
  /** Scheme, host and port as they were read: never a path, a query or a user's name, which can hold secrets. */
  readonly target: string
  readonly reason: string
  readonly onBehalfOf: OnBehalfOf | undefined
}

export interface Answered {
  readonly as: 'answered'
  /** Any final status; a redirect (3xx) is an answer and never followed. */
  readonly status: number
  /** Lower-case names; repeated headers are joined by `, `. */
  readonly headers: Readonly<Record<string, string>>
  /** Decoded. */
  readonly body: Buffer
  /** Milliseconds of the whole exchange. */
  readonly ms: number
}

export type EgressResult = Answered | NotSent | Unknown

export interface Egress {
  /** Sends one request once. Never throws for what the network does, never retries, never follows a redirect. */
  readonly send: (request: EgressRequest) => Promise<EgressResult>
  /**
   * Has one session with a mail server (RFC 5321), for one mail at most. An answer has the reply's code as its status
   * and a {@link MailAnswer} as its body. Never throws for what the network does, never sends a second time.
   */
  readonly mail: (request: MailExchangeRequest) => Promise<EgressResult>
  /** The certificate that the server at this URL showed last to this process; a URL as a request or a mail server has it. */
  readonly certificateOf: (url: string) => ServerCertificate | undefined
  /** Closes idle sockets at once and the others when their exchanges end. Safe to call twice. */
  readonly close: () => Promise<void>
  /** Cuts every socket; exchanges in flight end as `not_sent` or `unknown`. Safe to call twice. */
  readonly destroy: () => Promise<void>
}

export interface EgressOptions {
  readonly clock: Clock
  readonly policy?: Partial<EgressPolicy>
  /** How names are resolved. Default: the machine's resolver. */
  readonly resolve?: Resolve
  /** What makes TCP sockets, once an address is allowed. Default: `net.connect`. */
  readonly connect?: ConnectTcp
  /** Trusted certificate authorities (PEM) instead of the system's. */
  readonly ca?: string
  /** Told of everything that the policy refuses, and waited for: who gets the refusal finds it on record. Must not reject. */
  readonly onDenied?: (denied: Denied) => Promise<void>
  /** Something else than the pools of undici, for tests and benchmarks. It opens its sockets itself, unguarded. */
  readonly dispatcher?: Dispatcher
}

/** Opens the way out. One per process. */
export function createEgress(options: EgressOptions): Egress {
  const { clock } = options
  const policy = { ...EGRESS_POLICY, ...options.policy }
  const certificates = createCertificates(clock, policy.maxOrigins)
  // Two pools, so that a socket opened for one who may reach private addresses is never used by one who may not.
  const pools = {
    public: options.dispatcher ?? openPool(options, policy, certificates, false),
    private: options.dispatcher ?? openPool(options, policy, certificates, true),
  }
  const decodeBody = createDecoder(policy)
  const inFlight = new Map<string, number>()
  const mailSockets = new Set<Socket>()

  /** A refusal by the policy is told before it is known to whoever asked. */
  async function told(
    result: EgressResult,
    target: () => string,
    onBehalfOf: OnBehalfOf | undefined,
  ): Promise<EgressResult> {
    if (result.as === 'not_sent' && result.code === 'egress_denied')
      await options.onDenied?.({ target: target(), reason: result.reason, onBehalfOf })
    return result
  }

  async function send(request: EgressRequest): Promise<EgressResult> {
    return told(await sendOnce(request), () => originIn(request.url), request.onBehalfOf)
  }

  async function sendOnce(request: EgressRequest): Promise<EgressResult> {
    const target = targetOf(request.url, request.allowPrivate)
    if (typeof target === 'string') return { as: 'not_sent', code: 'egress_denied', reason: target }
    const begun = clock.monotonic()
    return inPlace(target.origin, async () => {
      const exchange = new Exchange({
        clock,
        policy,
        timeoutMs: request.timeoutMs,
        begunAt: begun - (request.spentMs ?? 0),
        mayLeave: request.mayLeave,
        onSent: request.onSent,
      })
      pools[request.allowPrivate ? 'private' : 'public'].dispatch(
        {
          origin: target.origin,
          path: target.path,
          method: request.method,
          headers: headersOf(request.headers),
          body: request.body ?? null,
        },
        exchange,
      )
      const answer = await exchange.done
      if (answer.as !== 'answered') return answer
      const encoding = answer.headers['content-encoding']
      if (encoding === undefined) return { ...answer, ms: clock.monotonic() - begun }
      const decoded = await decodeBody(answer.body, encoding)
      if (decoded.as === 'refused')
        return { as: 'unknown', code: decoded.code, reason: decoded.reason, status: answer.status }
      return { ...answer, body: decoded.body, ms: clock.monotonic() - begun }
    })
  }

  async function mail(request: MailExchangeRequest): Promise<EgressResult> {
    const { host, port } = request.server
    return told(await mailOnce(request), () => `smtp://${host}:${port}`, request.onBehalfOf)
  }

  async function mailOnce(request: MailExchangeRequest): Promise<EgressResult> {
    const { host, port } = request.server
    const begun = clock.monotonic()
    return inPlace(`smtp://${host}:${port}`, async () => {
      const { resolve, connect, ca } = options
      const parts = { clock, policy, resolve, connect, ca: request.ca ?? ca, certificates }
      const result = await sendMail(request, mailSockets, parts)
      if (result.as !== 'replied') return result
      const { answer, command } = result
      return {
        as: 'answered',
        status: answer.reply.code,
        headers: { 'content-type': 'application/json', 'smtp-command': command },
        body: Buffer.from(JSON.stringify(answer)),
        ms: clock.monotonic() - begun,
      }
    })
  }

  /** One of the exchanges with an origin that may be in flight at once. */
  async function inPlace(origin: string, exchange: () => Promise<EgressResult>): Promise<EgressResult> {
    const busy = (inFlight.get(origin) ?? 0) + 1
    if (busy > policy.inFlightPerOrigin)
      return {
        as: 'not_sent',
        code: 'egress_busy',
        reason: `${policy.inFlightPerOrigin} exchanges with ${origin} are already in flight.`,
      }
    inFlight.set(origin, busy)
    try {
      return await exchange()
    } finally {
      const left = inFlight.get(origin)! - 1
      if (left > 0) inFlight.set(origin, left)
      else inFlight.delete(origin)
    }
  }

  const both = [pools.public, pools.private]
  return {
    send,
    mail,
    certificateOf: (url) => certificates.of(url),
    async close() {
      const closed = [...mailSockets].map((socket) => new Promise((done) => socket.once('close', done)))
      await Promise.all([...both.map((pool) => pool.close().catch(() => undefined)), ...closed])
    },
    async destroy() {
      for (const socket of mailSockets) socket.destroy()
      await Promise.all(both.map((pool) => pool.destroy().catch(() => undefined)))
    },
  }
}

/** Without what stands before and behind it in the URL. */
function originIn(url: string): string {
  try {
    const { protocol, host } = new URL(url)
    return `${protocol}//${host}`
  } catch {
    return 'a URL that cannot be read'
  }
}

function openPool(
  options: EgressOptions,
  policy: EgressPolicy,
  certificates: Certificates,
  allowPrivate: boolean,
): Agent {
  return new Agent({
    connections: policy.connectionsPerOrigin,
    maxOrigins: policy.maxOrigins,
    pipelining: 1,
    connect: createDial({
      clock: options.clock,
      policy,
      certificates,
      allowPrivate,
      resolve: options.resolve,
      connect: options.connect,
      ...(options.ca === undefined ? {} : { ca: options.ca }),
    }),
    maxHeaderSize: policy.maxHeaderBytes,
    keepAliveTimeout: policy.keepAliveMs,
    keepAliveMaxTimeout: policy.keepAliveMaxMs,
    // Time is kept by the exchange, over all its phases.
    headersTimeout: 0,
    bodyTimeout: 0,
  })
}

/** As undici takes them: names and values alternating. Hop-by-hop headers are undici's to set. */
function headersOf(headers: EgressRequest['headers']): string[] {
  const flat: string[] = []
  let encoded = false
  const pairs = Array.isArray(headers)
    ? (headers as readonly (readonly [string, string])[])
    : Object.entries(headers)
  for (const [name, value] of pairs) {
    const lower = name.toLowerCase()
    if (lower === 'accept-encoding') encoded = true
    flat.push(name, value)
  }
  if (!encoded) flat.push('accept-encoding', ACCEPT_ENCODING)
  return flat
}
