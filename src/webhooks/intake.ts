import type { IncomingMessage, ServerResponse } from 'node:http'
import { reasonOf, type Clock } from '../base/index.ts'
import type { AcceptResult, VerifiedDelivery } from '../inbox/index.ts'
import type { Endpoint } from './endpoint.ts'
import {
  ANSWER_LIMITS,
  EMPTY_ANSWER,
  Exchange,
  type AnswerLimits,
  type ExchangeSettings,
} from './exchange.ts'
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
import { Room } from './room.ts'
import { verifySignature } from './verify.ts'

export interface WebhookIntakeOptions extends Partial<ReceiveLimits>, Partial<AnswerLimits> {
  readonly clock: Clock
  /** The endpoint at a path (raw, without query), or `undefined`. It throws where that cannot be known: 503. */
  readonly endpoints: (path: string) => Endpoint | undefined | Promise<Endpoint | undefined>
  /** Stores the delivery. It resolves once that is committed, and only then the sender gets its 200. */
  readonly accept: (delivery: VerifiedDelivery) => Promise<AcceptResult>
  /** Told of every request that got no 200, after it was answered. It must not throw. */
  readonly reject: ExchangeSettings['reject']
}

type Settings = Required<WebhookIntakeOptions>

/** Takes requests of a `node:http` server. It never rejects; every request is answered, if its sender waits. */
export type WebhookIntake = (request: IncomingMessage, response: ServerResponse) => Promise<void>

export function createWebhookIntake(options: WebhookIntakeOptions): WebhookIntake {
  const settings = withDefaults(options)
  const room = new Room(settings)
  return async (request, response) => {
    const exchange = new Exchange(settings, room, request, response)
    try {
      await takeIn(settings, exchange)
    } catch (cause) {
      exchange.refuse(unavailable('intake_failed', cause))
    } finally {
      exchange.release()
    }
  }
}

/** What is given as `undefined` has its default too. */
function withDefaults(options: WebhookIntakeOptions): Settings {
  const given = Object.entries(options).filter(([, value]) => value !== undefined)
  return Object.assign({ ...RECEIVE_LIMITS, ...ANSWER_LIMITS }, Object.fromEntries(given)) as Settings
}

/** The whole path of one delivery. Each step either gives what the next one needs, or the refusal that ends it. */
async function takeIn(settings: Settings, exchange: Exchange): Promise<void> {
  const endpoint = await findEndpoint(settings, exchange)
  if (endpoint === undefined || exchange.answered) return
  if (isSetUp(exchange, endpoint)) return answerSetUp(settings, exchange, endpoint)
  const received = await receive(settings, exchange, endpoint)
  if (!received.ok) return exchange.refuse(received)
  exchange.startDeadline('ack_timeout')
  const refused = await verify(exchange, endpoint, received)
  if (refused !== undefined) return exchange.refuse(refused)
  if (exchange.answered) return
  if (!exchange.vouch()) return exchange.refuse(overloaded())
  await accept(settings, exchange, deliveryOf(endpoint, received))
}

async function findEndpoint(settings: Settings, exchange: Exchange): Promise<Endpoint | undefined> {
  const { request } = exchange
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

/** A provider that looks whether the URL is there before it sends anything to it. */
function isSetUp({ request }: Exchange, { connector }: Endpoint): boolean {
  return request.method === 'GET' && connector.webhooks?.setUpByGet === true
}

/** 200 for who knows the secret, and nothing else: whatever stands in such a request is not read. */
async function answerSetUp(settings: Settings, exchange: Exchange, endpoint: Endpoint): Promise<void> {
  exchange.startDeadline('ack_timeout')
  const received = { headers: pairsOf(exchange.request.rawHeaders), body: NO_BODY }
  const refused = await verify(exchange, endpoint, { ...received, receivedAt: settings.clock.now() })
  if (refused !== undefined) return exchange.refuse(refused)
  exchange.answer(200, EMPTY_ANSWER)
}

const NO_BODY = Buffer.alloc(0)

interface Received extends Head {
  readonly body: Buffer
  readonly receivedAt: number
}

async function receive(
  settings: Settings,
  exchange: Exchange,
  endpoint: Endpoint,
): Promise<Received | Refusal> {
  const { request } = exchange
  const contentTypes = endpoint.connector.webhooks?.contentTypes ?? JSON_ONLY
  const head = judgeHead(request, contentTypes, settings)
  if (!head.ok) return head
  if (!exchange.enterRoom(endpoint.id)) return overloaded()
  const read = await readBody(request, settings, exchange, settings.clock)
  if (!read.ok) return read
  return { ...head, body: read.body, receivedAt: settings.clock.now() }
}

const JSON_ONLY: readonly string[] = ['application/json']

/** `undefined` for a good signature. Only a check that was completed and failed is 401. */
async function verify(
  exchange: Exchange,
  endpoint: Endpoint,
  { headers, body, receivedAt }: Pick<Received, 'headers' | 'body' | 'receivedAt'>,
): Promise<Refusal | undefined> {
  const scheme = endpoint.connector.webhooks!.signature
  if (scheme === 'none') return undefined
  const { method = '', url = '' } = exchange.request
  const signed = { method, url: signedUrl(endpoint.publicUrl, url), headers, body }
  let verdict: ReturnType<typeof verifySignature>
  try {
    const secrets = await endpoint.secrets()
    verdict = verifySignature(scheme, signed, secrets, receivedAt)
    if (verdict.ok) return undefined
    const fresh = (await endpoint.freshSecrets?.()) ?? secrets
    const differ = fresh.length !== secrets.length || fresh.some((secret, i) => secret !== secrets[i])
    if (differ) verdict = verifySignature(scheme, signed, fresh, receivedAt)
  } catch (cause) {
    return unavailable('secrets_unavailable', cause)
  }
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

async function accept(settings: Settings, exchange: Exchange, delivery: VerifiedDelivery): Promise<void> {
  try {
    await settings.accept(delivery)
  } catch (cause) {
    return exchange.refuse(unavailable('accept_failed', cause))
  }
  exchange.answer(200, EMPTY_ANSWER)
}

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
