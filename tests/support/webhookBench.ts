import { once } from 'node:events'
import { createServer, request as httpRequest, type IncomingMessage, type Server } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { turn } from '../../src/base/index.ts'
import { signatureSchemes, type AnyConnector, type WebhookDefinition } from '../../src/define/index.ts'
import type { AcceptResult, VerifiedDelivery } from '../../src/inbox/index.ts'
import { createFakeClock, type FakeClock } from '../../src/testing/index.ts'
import {
  createWebhookIntake,
  signPayload,
  type Endpoint,
  type Rejection,
  type WebhookIntakeOptions,
} from '../../src/webhooks/index.ts'

export const PATH = '/webhooks/stripe'
export const PUBLIC_URL = `https://hooks.example.com${PATH}`
export const SECRET = 'whsec_test'
export const BODY = '{"id":"evt_1","type":"payment.succeeded","created":1700000000,"data":{"amount":1999}}'

const WEBHOOKS: WebhookDefinition = {
  signature: signatureSchemes.stripe,
  idIsSigned: true,
  contentUniqueBy: 'id',
  events: ({ body }) => {
    const { id, type } = body as { id: string; type: string }
    return [{ id, type, at: '/data' }]
  },
}

export const ACCEPTED: AcceptResult = { state: 'accepted', deliveryId: 'dlv_1' }

export type Setting = Partial<Omit<WebhookIntakeOptions, 'clock'>> & {
  readonly webhooks?: Partial<WebhookDefinition>
  readonly secrets?: Endpoint['secrets']
}

/** A webhook intake behind a real server, with a clock that is moved by hand. */
export interface Bench {
  readonly clock: FakeClock
  readonly port: number
  readonly accepted: VerifiedDelivery[]
  readonly rejected: Rejection[]
  readonly endpoint: Endpoint
}

const servers: Server[] = []
const sockets: Socket[] = []

/** Ends the servers and connections of all benches, for `afterEach`. */
export async function closeBenches(): Promise<void> {
  for (const socket of sockets.splice(0)) socket.destroy()
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  }
}

export async function bench({ webhooks, secrets, ...options }: Setting = {}): Promise<Bench> {
  const clock = createFakeClock()
  const accepted: VerifiedDelivery[] = []
  const rejected: Rejection[] = []
  const connector = { name: 'stripe', webhooks: { ...WEBHOOKS, ...webhooks } } as unknown as AnyConnector
  const endpoint: Endpoint = {
    tenant: 'default',
    id: 'ep_1',
    path: PATH,
    publicUrl: PUBLIC_URL,
    connectionId: 'con_1',
    connectionName: 'stripe',
    connector,
    settings: { account: 'acct_1' },
    secrets: secrets ?? (() => Promise.resolve([SECRET])),
  }
  const intake = createWebhookIntake({
    clock,
    endpoints: (path) => (path === PATH ? endpoint : undefined),
    accept: (delivery) => {
      accepted.push(delivery)
      return Promise.resolve(ACCEPTED)
    },
    reject: (rejection) => rejected.push(rejection),
    ...options,
  })
  const server = createServer((request, response) => void intake(request, response))
  server.keepAliveTimeout = 0 // What is closed here, the intake closed.
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { clock, port: (server.address() as AddressInfo).port, accepted, rejected, endpoint }
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

interface Sending {
  readonly path?: string
  readonly method?: string
  readonly body?: string | Buffer
  /** Replaces the signed headers. */
  readonly headers?: readonly (readonly [string, string])[]
}

/** The headers that the provider sends with a body. */
export function signedHeaders(
  { clock }: Bench,
  body: string | Buffer = BODY,
  secret = SECRET,
): [string, string][] {
  return Object.entries(
    signPayload(signatureSchemes.stripe, { url: PUBLIC_URL, body, at: clock.now() }, [secret]).headers,
  )
}

export async function send(bench: Bench, sending: Sending = {}): Promise<Answer> {
  const { path = PATH, method = 'POST', body = BODY } = sending
  const headers = sending.headers ?? signedHeaders(bench, body)
  const request = httpRequest({
    port: bench.port,
    host: '127.0.0.1',
    path,
    method,
    agent: false,
    headers: [
      ['host', 'hooks.example.com'],
      ['content-length', String(Buffer.byteLength(body))],
      ...headers,
    ].flat(),
  })
  request.on('error', () => undefined)
  request.end(body)
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  return { status: response.statusCode!, headers: response.headers, body: await textOf(response) }
}

async function textOf(stream: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

/** A connection on which every byte is written by hand. */
export async function openSocket(port: number): Promise<{ socket: Socket; answer: () => string }> {
  const socket = connect(port, '127.0.0.1')
  sockets.push(socket)
  let text = ''
  socket.on('data', (chunk: Buffer) => (text += chunk.toString())).on('error', () => undefined)
  await once(socket, 'connect')
  return { socket, answer: () => text }
}

/** Turns of the event loop, until it is so; a test that waits in vain fails by its time limit. */
export async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await turn()
}

export const codes = ({ rejected }: Bench): string[] => rejected.map(({ code }) => code)
