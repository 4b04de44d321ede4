import { MINUTE, SECOND } from '../base/index.ts'
import { classOfAddress } from './addresses.ts'

/** Limits of everything that leaves. Each is per exchange unless it says otherwise. */
export interface EgressPolicy {
  /** Longest wait for a socket: name, connect, TLS, and waiting for a free place in the pool. Default 5 s. */
  readonly connectTimeoutMs: number
  /** Longest wait for the addresses of a name, within the wait for a socket. Default 4 s. */
  readonly nameTimeoutMs: number
  /** Longest wait for a TCP connection: two lost SYNs are sent again within it. Default 4 s. */
  readonly tcpTimeoutMs: number
  /** Longest TLS handshake. Default 4 s. */
  readonly tlsTimeoutMs: number
  /**
   * Longest wait for the answer's status and headers, from when the request begins to leave. Default 60 s: twice the
   * time of an exchange that says nothing else.
   */
  readonly firstByteTimeoutMs: number
  /** Longest silence within an answer's body. Default 15 s. */
  readonly idleTimeoutMs: number
  /** Longest wait until a mail server has greeted, agreed on TLS and named what it can. Default 30 s. */
  readonly mailGreetingTimeoutMs: number
  /** Longest login at a mail server. Default 30 s. */
  readonly mailLoginTimeoutMs: number
  /** Longest wait for a mail server's word on sender and recipients. Default 1 min: what is not sent is tried again. */
  readonly mailEnvelopeTimeoutMs: number
  /** Longest that a mail server may take for the text of a mail. Default 3 min. Its last reply has what is left. */
  readonly mailDataTimeoutMs: number
  /** Most bytes of an answer's body, as received and as decoded. Default 10 MiB. */
  readonly maxBodyBytes: number
  /** Most bytes of an answer's headers. Default 16 KiB. */
  readonly maxHeaderBytes: number
  /** Most header fields of an answer, repeated ones counted each. Default 200. */
  readonly maxHeaders: number
  /** Most informational answers (1xx) before the answer proper. Default 10. */
  readonly maxInformational: number
  /** Most decoded bytes for each compressed byte. Default 100. */
  readonly maxDecodeRatio: number
  /** Below this size decoded, the ratio is not asked: short repetitive JSON compresses well. Default 64 KiB. */
  readonly decodeFloorBytes: number
  /** Sockets to one origin. Default 64. */
  readonly connectionsPerOrigin: number
  /** Exchanges to one origin that hold or wait for a socket. Default 1,024. */
  readonly inFlightPerOrigin: number
  /** Origins in use at once. Default 1,000. */
  readonly maxOrigins: number
  /**
   * How long an idle socket is kept for the next exchange. Default 4 s: below the idle limit of common servers (Node
   * closes after 5 s), so that a request seldom meets a socket that is being closed.
   */
  readonly keepAliveMs: number
  /** The longest that a server's own `Keep-Alive: timeout=` can make it. Default 60 s. */
  readonly keepAliveMaxMs: number
}

export const EGRESS_POLICY: EgressPolicy = {
  connectTimeoutMs: 5 * SECOND,
  nameTimeoutMs: 4 * SECOND,
  tcpTimeoutMs: 4 * SECOND,
  tlsTimeoutMs: 4 * SECOND,
  firstByteTimeoutMs: MINUTE,
  idleTimeoutMs: 15 * SECOND,
  mailGreetingTimeoutMs: 30 * SECOND,
  mailLoginTimeoutMs: 30 * SECOND,
  mailEnvelopeTimeoutMs: MINUTE,
  mailDataTimeoutMs: 3 * MINUTE,
  maxBodyBytes: 10 * 1024 * 1024,
  maxHeaderBytes: 16 * 1024,
  maxHeaders: 200,
  maxInformational: 10,
  maxDecodeRatio: 100,
  decodeFloorBytes: 64 * 1024,
  connectionsPerOrigin: 64,
  inFlightPerOrigin: 1024,
  maxOrigins: 1000,
  keepAliveMs: 4 * SECOND,
  keepAliveMaxMs: MINUTE,
}

/** Whether one concrete address may be connected to; a text says why not. */
export function refusalOfAddress(
  address: string,
  allowPrivate: boolean,
  secure: boolean,
): string | undefined {
  const kind = classOfAddress(address)
  if (kind === 'forbidden')
    return `The address ${address} is never called: it is reserved, link-local, or a cloud's metadata service.`
  if (kind === 'private' && !allowPrivate)
    return `The address ${address} is private. Set allowPrivateNetwork on the connection if this system is yours.`
  if (kind === 'public' && !secure)
    return `The address ${address} is public and the URL is http. Use https: http is for private networks only.`
  return undefined
}

/** Where an exchange goes, once the URL itself is found in order. */
export interface Target {
  readonly origin: string
  /** Path and query. */
  readonly path: string
  readonly secure: boolean
}

/** Reads a URL and checks what can be known before its name is resolved; a text says why it is refused. */
export function targetOf(url: string, allowPrivate: boolean): Target | string {
  let parsed: URL
  try {
    parsed = new URL(url)
  } catch {
    return 'The URL cannot be read. Give an absolute one, such as https://api.example.com/v1/things.'
  }
  const secure = parsed.protocol === 'https:'
  if (!secure && parsed.protocol !== 'http:')
    return `The URL begins with ${parsed.protocol}, but only https is called.`
  if (!secure && !allowPrivate)
    return 'The URL is http, which sends credentials in the clear. Use https, or allow private networks on the connection if this system is yours.'
  if (parsed.username !== '' || parsed.password !== '')
    return 'The URL carries a user name or password. Put credentials in the vault instead.'
  return { origin: parsed.origin, path: parsed.pathname + parsed.search, secure }
}
