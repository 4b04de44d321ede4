import type { IncomingMessage, ServerResponse } from 'node:http'
import { reasonOf, type Clock } from '../base/index.ts'
import type { AnyConnector, IncomingDelivery } from '../define/index.ts'
import type { AcceptResult, VerifiedDelivery } from '../inbox/index.ts'
import { readDelivery, withoutCredentials } from './read-delivery.ts'
import {
  judgeHead,
  overloaded,
  pairsOf,
  readBody,
  RECEIVE_LIMITS,
  refusal,
  type Head,
  type ReceiveLimits,
  type Refusal,
} from './receive.ts'
import type { RawHeaders } from './signed-content.ts'
import { verifySignature } from './verify.ts'

/** One inbound address, for one connection. */
export interface Endpoint {
  readonly tenant: string
  readonly id: string
  /** As in the request line: `/webhooks/stripe`. */
  readonly path: string
  /** The address that the provider was given, scheme and host included. Some signatures cover it. */
  readonly publicUrl: string
  readonly connectionId: string
  readonly connectionName: string
  readonly connector: AnyConnector
  /** The connection's. */
  readonly settings: IncomingDelivery['settings']
  /** The secrets that are valid now, several during rotation. It rejects where they cannot be opened. */
  readonly secrets: () => Promise<readonly string[]>
}

/** A request that was not accepted. */
export interface Rejection {
  /** Absent for an unknown path. */
  readonly endpoint?: Endpoint
  /** What was answered. Absent where the sender had gone. */
  readonly status?: number
  readonly code: string
  readonly reason: string
  readonly headers: RawHeaders
  /** As much as had come, up to the limit of a body. Empty for a 503, since the sender will bring it again. */
  readonly body: Buffer
  readonly receivedAt: number
  /** What was thrown, for a 503. */
  readonly cause?: unknown
}

export interface WebhookIntakeOptions extends Partial<ReceiveLimits> {
  readonly clock: Clock
  /** The endpoint at a path (raw, without query), or `undefined`. It throws where that cannot be known: 503. */
  readonly endpoints: (path: string) => Endpoint | undefined | Promise<Endpoint | undefined>
  /** Stores the delivery. It resolves once that is committed, and only then the sender gets its 200. */
  readonly accept: (delivery: VerifiedDelivery) => Promise<AcceptResult>
  /** Told of every request that got no 200, after it was answered. It must not throw. */
  readonly reject: (rejection: Rejection) => void
  /** From the last byte of the body to an answer, at most. Default 500 ms; the tightest sender known gives 1.25 s. */
  readonly ackTimeoutMs?: number
  /** `Retry-After` of a 503. Default 5 s. */
  readonly retryAfterSeconds?: number
  /** Bytes of bodies held at once, over all requests until `accept` settles; above it 503. Default 128 MiB. */
  readonly maxHeldBytes?: number
}

type Settings = Required<WebhookIntakeOptions>

const DEFAULTS = {
  ...RECEIVE_LIMITS,
  ackTimeoutMs: 500,
  retryAfterSeconds: 5,
  maxHeldBytes: 128 * 1024 * 1024,
}

/** What a request costs beyond its body, about. */
const REQUEST_BYTES = 4096
const LINGER_MS = 1000
const NO_BODY = Buffer.alloc(0)

/** Takes requests of a `node:http` server. It never rejects; every request is answered, if its sender waits. */
export type WebhookIntake = (request: IncomingMessage, response: ServerResponse) => Promise<void>

export function createWebhookIntake(options: WebhookIntakeOptions): WebhookIntake {
  const settings: Settings = { ...DEFAULTS, ...options }
  const load = { bytes: 0 }
  return async (request, response) => {
    const exchange = new Exchange(settings, load, request, response)
    try {
      await takeIn(exchange)
    } catch (cause) {
      exchange.refuse(unavailable('intake_failed', cause))
    } finally {
      exchange.release()
    }
  }
}

/** The whole path of one delivery. Each step either gives what the next one needs, or the refusal that ends it. */
async function takeIn(exchange: Exchange): Promise<void> {
  const endpoint = await findEndpoint(exchange)
  if (endpoint === undefined || exchange.answered) return
  const received = await receive(exchange, endpoint)
  if (!received.ok) return exchange.refuse(received)
  exchange.startDeadline('ack_timeout')
  const refused = await verify(exchange, endpoint, received)
  if (refused !== undefined) return exchange.refuse(refused)
  if (exchange.answered) return
  await accept(exchange, deliveryOf(endpoint, received))
}

async function findEndpoint(exchange: Exchange): Promise<Endpoint | undefined> {
  const { settings, request } = exchange
  try {
    const found = settings.endpoints(pathOf(request.url))
    if (found instanceof Promise) exchange.startDeadline('endpoint_timeout')
    exchange.endpoint = found instanceof Promise ? await found : found
  } catch (cause) {
    exchange.refuse(unavailable('endpoint_unavailable', cause))
    return undefined
  }
  exchange.stopDeadline()
  if (exchange.endpoint?.connector.webhooks !== undefined) return exchange.endpoint
  exchange.refuse(
    refusal(404, 'endpoint_unknown', 'There is no endpoint at this path: check the URL at the provider.'),
  )
  return undefined
}

interface Received extends Head {
  readonly body: Buffer
  readonly receivedAt: number
}

async function receive(exchange: Exchange, endpoint: Endpoint): Promise<Received | Refusal> {
  const { settings, request } = exchange
  const contentTypes = endpoint.connector.webhooks?.contentTypes ?? JSON_ONLY
  const head = judgeHead(request, contentTypes, settings)
  if (!head.ok) return head
  if (!exchange.take(REQUEST_BYTES)) return overloaded()
  const read = await readBody(request, settings, exchange, settings.clock)
  if (!read.ok) return read
  return { ...head, body: read.body, receivedAt: settings.clock.now() }
}

const JSON_ONLY: readonly string[] = ['application/json']

/** `undefined` for a good signature. Only a check that was completed and failed is 401. */
async function verify(
  exchange: Exchange,
  endpoint: Endpoint,
  { headers, body, receivedAt }: Received,
): Promise<Refusal | undefined> {
  const scheme = endpoint.connector.webhooks!.signature
  if (scheme === 'none') return undefined
  let secrets: readonly string[]
  try {
    secrets = await endpoint.secrets()
  } catch (cause) {
    return unavailable('secrets_unavailable', cause)
  }
  const { method = '', url = '' } = exchange.request
  const signed = { method, url: signedUrl(endpoint.publicUrl, url), headers, body }
  const verdict = verifySignature(scheme, signed, secrets, receivedAt)
  if (verdict.ok) return undefined
  const ourFault = verdict.code === 'secret_missing' || verdict.code === 'secret_malformed'
  return { ...refusal(ourFault ? 503 : 401, verdict.code, verdict.reason), body }
}

function deliveryOf(
  endpoint: Endpoint,
  { headers, contentType, body, receivedAt }: Received,
): VerifiedDelivery {
  const kept = withoutCredentials(headers)
  return {
    tenant: endpoint.tenant,
    endpointId: endpoint.id,
    connectionId: endpoint.connectionId,
    connectionName: endpoint.connectionName,
    connector: endpoint.connector,
    headers: kept,
    contentType,
    body,
    receivedAt,
    ...readDelivery(endpoint.connector.webhooks!, {
      contentType,
      headers: kept,
      body,
      settings: endpoint.settings,
    }),
  }
}

async function accept(exchange: Exchange, delivery: VerifiedDelivery): Promise<void> {
  try {
    await exchange.settings.accept(delivery)
  } catch (cause) {
    return exchange.refuse(unavailable('accept_failed', cause))
  }
  exchange.answer(200, EMPTY_ANSWER)
}

const EMPTY_ANSWER = { 'content-length': '0' }

function unavailable(code: string, cause?: unknown): Refusal {
  return { ...refusal(503, code, cause === undefined ? code : reasonOf(cause)), cause }
}

function pathOf(url = ''): string {
  const query = url.indexOf('?')
  return query === -1 ? url : url.slice(0, query)
}

/** The address as the provider knows it, with the query that came: providers add to it (Twilio). */
function signedUrl(publicUrl: string, requestUrl: string): string {
  const query = requestUrl.indexOf('?')
  return query === -1 ? publicUrl : pathOf(publicUrl) + requestUrl.slice(query)
}

/** One request and its one answer, which may be given by the flow or by the deadline, whichever comes first. */
class Exchange {
  readonly settings: Settings
  readonly request: IncomingMessage
  readonly response: ServerResponse
  endpoint: Endpoint | undefined
  answered = false
  #load: { bytes: number }
  #taken = 0
  #cancelDeadline: (() => void) | undefined

  constructor(
    settings: Settings,
    load: { bytes: number },
    request: IncomingMessage,
    response: ServerResponse,
  ) {
    this.settings = settings
    this.#load = load
    this.request = request
    this.response = response
  }

  /** From now on `ackTimeoutMs` are left; then the answer is 503, and what came of it is not known. */
  startDeadline(code: string): void {
    this.stopDeadline()
    this.#cancelDeadline = this.settings.clock.after(this.settings.ackTimeoutMs, () =>
      this.refuse(
        refusal(
          503,
          code,
          `No answer was known after ${this.settings.ackTimeoutMs} ms: the database or the vault does not answer.`,
        ),
      ),
    )
  }

  stopDeadline(): void {
    this.#cancelDeadline?.()
    this.#cancelDeadline = undefined
  }

  answer(status: number, headers: Readonly<Record<string, string>>, text?: string): void {
    if (this.answered) return
    this.answered = true
    this.stopDeadline()
    this.response.writeHead(status, headers)
    this.response.end(text)
  }

  refuse(refused: Refusal): void {
    if (this.answered) return
    const { status, code, reason, cause } = refused
    if (status === undefined) this.answered = true
    else this.#answerRefusal(status, refused)
    this.stopDeadline()
    this.settings.reject({
      ...(this.endpoint === undefined ? {} : { endpoint: this.endpoint }),
      ...(status === undefined ? {} : { status }),
      code,
      reason,
      headers: withoutCredentials(pairsOf(this.request.rawHeaders)),
      body: status === 503 ? NO_BODY : (refused.body ?? NO_BODY),
      receivedAt: this.settings.clock.now(),
      cause,
    })
  }

  /** 401 and 503 say nothing: whoever forges learns nothing, and Xero demands an empty body. */
  #answerRefusal(status: number, { reason, answer }: Refusal): void {
    if (status === 401) this.answer(status, EMPTY_ANSWER)
    else if (status === 503)
      this.answer(status, { ...EMPTY_ANSWER, 'retry-after': String(this.settings.retryAfterSeconds) })
    else {
      const text = `${reason}\n`
      this.answer(
        status,
        {
          'content-type': 'text/plain; charset=utf-8',
          'content-length': String(Buffer.byteLength(text)),
          ...answer,
        },
        text,
      )
    }
    this.#discardRest()
  }

  /** Lets the sender finish reading our answer: closing at once would reset the connection under it. */
  #discardRest(): void {
    const { request } = this
    if (request.complete) return
    request.on('error', () => undefined).resume()
    const cancel = this.settings.clock.after(LINGER_MS, () => {
      if (!request.complete) request.socket.destroy()
    })
    request.once('close', cancel)
  }

  take(bytes: number): boolean {
    if (this.#load.bytes + bytes > this.settings.maxHeldBytes) return false
    this.#load.bytes += bytes
    this.#taken += bytes
    return true
  }

  release(): void {
    this.#load.bytes -= this.#taken
    this.#taken = 0
  }
}
