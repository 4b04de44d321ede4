import { encodeJson, mailServerOf, parseJson, PermanentError, type MailServer } from '../base/index.ts'
import type {
  AnyConnector,
  AnyOperation,
  Idempotency,
  OperationRequest,
  Priority,
  RequestContext,
  Settings,
} from '../define/index.ts'
import { composeMail } from '../egress/index.ts'

/** The connection that a call goes over. Nothing in it is secret. */
export interface CallConnection {
  readonly id: string
  readonly name: string
  readonly tenant: string
  readonly connector: AnyConnector
  /** Without a trailing slash. */
  readonly baseUrl: string
  readonly settings: Settings
  /** Whether it may reach private and loopback addresses, and those by http. */
  readonly allowPrivate: boolean
}

/** One attempt, as the engine asks for it. */
export interface CallRequest {
  readonly tenant: string
  readonly connection: CallConnection
  /** Dotted name within the connector. */
  readonly operationName: string
  readonly operation: AnyOperation
  readonly input: unknown
  /** The same in every attempt of this step and generation. */
  readonly idempotencyKey: string
  /** When the first attempt of this step and generation was begun, in milliseconds since 1970. */
  readonly begunAt: number
  /**
   * What times within the request are made of, where it may be computed anew: the same after a crash, which `begunAt`
   * is only where the beginning is committed. Default: `begunAt`.
   */
  readonly askedAt?: number | undefined
  readonly runId: string
  readonly stepName: string
  /** Number of this attempt, from 1. */
  readonly attempt: number
  /** Whose call it is: flows of one priority take turns where a budget is short. */
  readonly flow?: string
  /** Who goes first there. Default: `interactive`, for a call that a person makes by hand. */
  readonly priority?: Priority
  /** The time that it was given when it was last deferred, in milliseconds since 1970. */
  readonly promisedAt?: number
  /** What an earlier attempt with the same key sent: sent again unchanged, in place of what would be computed now. */
  readonly recorded?: RecordedRequest | undefined
  /**
   * Commits the beginning of the attempt. Called once, when everything is ready and before anything leaves; what it
   * throws ends the call. Needed for operations of kind `lookup` and `none`.
   */
  readonly begin?: ((request: RecordedRequest) => Promise<void>) | undefined
  /** Asked right before the first byte is written: `false`, and nothing is. */
  readonly mayLeave?: (() => boolean) | undefined
  /** It has waited for an outage of this connection and was let go: it goes before those who come now. */
  readonly waited?: boolean | undefined
  /** It is to find out whether the provider is back: no breaker holds it up. */
  readonly probe?: boolean | undefined
  /** `send` does it; `lookup` asks whether an earlier attempt did it. */
  readonly kind: 'send' | 'lookup'
}

/** A request without its authorization, so that the same bytes can be sent again. */
export interface RecordedRequest {
  /** Of SMTP: `MAIL` sends a mail, `EHLO` greets and sends none. */
  readonly method: OperationRequest['method'] | 'MAIL' | 'EHLO'
  /** Path and query, below the connection's base URL; of SMTP there is none. */
  readonly path: string
  /** Lower-case names. Of a mail those few by which it is known again; the others stand in its body. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer | undefined
  /** Of a mail: who sends it to whom, which its text need not say. */
  readonly envelope?: Envelope | undefined
}

export interface Envelope {
  readonly from: string
  readonly to: readonly string[]
}

/** A recorded request as bytes for the database. {@link decodeRecorded} reads them. */
export function encodeRecorded(request: RecordedRequest): Buffer {
  const { method, path, headers, body, envelope } = request
  return Buffer.from(encodeJson({ method, path, headers, body: body?.toString('base64'), envelope }))
}

/** The recorded request within bytes of {@link encodeRecorded}. */
export function decodeRecorded(bytes: Uint8Array): RecordedRequest {
  const { body, ...rest } = parseJson(bytes) as unknown as Omit<RecordedRequest, 'body'> & { body?: string }
  return { ...rest, body: body === undefined ? undefined : Buffer.from(body, 'base64') }
}

/** How an operation behaves when repeated at `now`: past its lifetime a key no longer protects. */
export function idempotencyAt(
  operation: AnyOperation,
  begunAt: number,
  now: number,
): Idempotency<unknown, unknown> {
  const declared = operation.idempotency as Idempotency<unknown, unknown>
  if (declared.kind !== 'key' || now - begunAt < declared.lifetimeMs) return declared
  return declared.afterLifetime ?? { kind: 'none' }
}

/** The bytes of an attempt's request: what the operation (or its look-up) wants sent, completed by the connector. */
export async function buildRequest(call: CallRequest, input: unknown): Promise<RecordedRequest> {
  const context = {
    settings: call.connection.settings,
    idempotencyKey: call.idempotencyKey,
    begunAt: call.askedAt ?? call.begunAt,
  }
  if (call.kind === 'lookup') return httpRequest(call, lookupOf(call).request(input, context))
  const { mail, request } = call.operation
  return mail === undefined
    ? httpRequest(call, request(input, context))
    : mailRequest(mail(input, context), context)
}

/** The Message-ID is made of the key, so that who gets a mail twice can tell (RFC 5322, 3.6.4). */
async function mailRequest(
  wanted: ReturnType<NonNullable<AnyOperation['mail']>>,
  { idempotencyKey, begunAt }: RequestContext,
): Promise<RecordedRequest> {
  if (wanted === 'greeting') return { method: 'EHLO', path: '', headers: {}, body: undefined }
  const { from, to, messageId, subject, bytes } = await composeMail(wanted, {
    id: idempotencyKey,
    at: begunAt,
  })
  const headers = {
    from,
    to: to.join(', '),
    'message-id': messageId,
    subject,
    'content-type': 'message/rfc822',
  }
  return { method: 'MAIL', path: '', headers, body: bytes, envelope: { from, to } }
}

/** Whether a request goes by SMTP. */
export function isMail({ method }: Pick<RecordedRequest, 'method'>): boolean {
  return method === 'MAIL' || method === 'EHLO'
}

/** Where the connection's mails go. Throws a {@link PermanentError} where its base URL names no mail server. */
export function mailServerFor({ name, baseUrl }: CallConnection): MailServer {
  const server = mailServerOf(baseUrl)
  if (server) return server
  throw new PermanentError(
    'connection_invalid',
    `The base URL of connection "${name}" names no mail server. Write for example "smtps://smtp.example.com:465".`,
  )
}

function httpRequest(call: CallRequest, wanted: OperationRequest): RecordedRequest {
  const key = call.kind === 'send' ? keyPlace(call.operation) : undefined
  const query =
    key !== undefined && 'query' in key ? { ...wanted.query, [key.query]: call.idempotencyKey } : wanted.query
  const body = encodeBody(wanted.body)
  return {
    method: wanted.method,
    path: withQuery(checkedPath(wanted.path), query),
    headers: {
      accept: 'application/json',
      'user-agent': 'trestle',
      ...lowerCased(call.connection.connector.headers),
      ...(body === undefined ? {} : { 'content-type': body.contentType }),
      ...lowerCased(wanted.headers),
      ...(key !== undefined && 'header' in key ? { [key.header.toLowerCase()]: call.idempotencyKey } : {}),
    },
    body: body?.bytes,
  }
}

/** The operation's look-up. Throws where it declares none. */
export function lookupOf(call: CallRequest): Extract<Idempotency<unknown, unknown>, { kind: 'lookup' }> {
  const idempotency = call.operation.idempotency as Idempotency<unknown, unknown>
  const lookup = idempotency.kind === 'key' ? idempotency.afterLifetime : idempotency
  if (lookup?.kind === 'lookup') return lookup
  throw new PermanentError(
    'lookup_undeclared',
    `The operation ${call.operationName} declares no look-up, so the provider cannot be asked whether it was done.`,
  )
}

function keyPlace(operation: AnyOperation): { header: string } | { query: string } | undefined {
  const idempotency = operation.idempotency as Idempotency<unknown, unknown>
  if (idempotency.kind !== 'key' || idempotency.place === 'request') return undefined
  return idempotency.place
}

/** A path that stays where it says: what comes from data must not climb out of it or name another host. */
function checkedPath(path: string): string {
  const invalid = (why: string): PermanentError =>
    new PermanentError(
      'request_invalid',
      `The operation made the path "${path.slice(0, 200)}", which ${why}.`,
    )
  if (!path.startsWith('/') || path.startsWith('//')) throw invalid('does not begin with one slash')
  if (/[\s#\\]/.test(path))
    throw invalid('has a space, "#" or "\\". Use encodeURIComponent on what you put into it')
  const segments = path.split('?', 1)[0]!.split('/')
  if (segments.some((segment) => /^(\.|%2e){1,2}$/i.test(segment)))
    throw invalid('has the segment "." or "..". Check the ids that you put into it')
  return path
}

function withQuery(path: string, query: OperationRequest['query']): string {
  const pairs = new URLSearchParams()
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value === undefined) continue
    for (const one of Array.isArray(value) ? (value as readonly string[]) : [value])
      pairs.append(name, String(one))
  }
  if (pairs.size === 0) return path
  return `${path}${path.includes('?') ? '&' : '?'}${pairs.toString()}`
}

function encodeBody(body: OperationRequest['body']): { bytes: Buffer; contentType: string } | undefined {
  if (body === undefined) return undefined
  if ('json' in body) return { bytes: Buffer.from(encodeJson(body.json)), contentType: 'application/json' }
  if ('text' in body) return { bytes: Buffer.from(body.text), contentType: body.contentType }
  const form = new URLSearchParams(body.form.map(([name, value]): [string, string] => [name, value]))
  return { bytes: Buffer.from(form.toString()), contentType: 'application/x-www-form-urlencoded' }
}

function lowerCased(headers: Readonly<Record<string, string>> | undefined): Record<string, string> {
  const lower: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers ?? {})) lower[name.toLowerCase()] = value
  return lower
}
