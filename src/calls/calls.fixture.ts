import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import * as z from 'zod'
import { systemClock, type Clock } from '../base/index.ts'
import {
  defineConnector,
  defineOperation,
  type AnyConnector,
  type AnyOperation,
  type Classification,
  type Idempotency,
  type LimitDefinition,
  type OperationDefinition,
  type ProviderAnswer,
} from '../define/index.ts'
import { createEgress } from '../egress/index.ts'
import { createCalls, type CallConnection, type CallRequest, type Calls, type CallsOptions } from './index.ts'

/** One request that the provider received. */
interface Received {
  readonly method: string
  readonly url: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

/** How the provider answers its n-th request, from 1. */
export type Reply = (response: ServerResponse, received: Received, n: number) => void

export interface Provider {
  readonly url: string
  readonly received: Received[]
  close(): Promise<void>
}

/** A small provider on a free port. */
export async function openProvider(reply: Reply): Promise<Provider> {
  const received: Received[] = []
  // It closes no connection that it thinks idle: after a standstill of the machine a request may be on its way there.
  const server = createServer({ keepAliveTimeout: 0 }, (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const { method = '', url = '', headers } = request
      const one = { method, url, headers, body: Buffer.concat(chunks).toString() }
      received.push(one)
      reply(response, one, received.length)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** An answer in JSON. */
export function json(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers })
  response.end(typeof body === 'string' ? body : JSON.stringify(body))
}

type Thing = { id: string; amount: number }
type ThingInput = { amount: number; note?: string | undefined }

const DAY_MS = 86_400_000
const lookup: Extract<Idempotency<ThingInput, Thing>, { kind: 'lookup' }> = {
  kind: 'lookup',
  settleAfterMs: 1000,
  request: (_, { idempotencyKey }) => ({ method: 'GET', path: '/things', query: { key: idempotencyKey } }),
  found: (answer) => {
    const list = (answer.json as { results?: Thing[] }).results
    if (list === undefined) throw new Error('no list in it')
    return list[0]
  },
}

export const KINDS = {
  key: { kind: 'key', place: { header: 'Idempotency-Key' }, lifetimeMs: DAY_MS, replaysErrors: false },
  replayingKey: {
    kind: 'key',
    place: { header: 'Idempotency-Key' },
    lifetimeMs: DAY_MS,
    replaysErrors: true,
  },
  keyThenLookup: {
    kind: 'key',
    place: { query: 'requestid' },
    lifetimeMs: DAY_MS,
    replaysErrors: false,
    afterLifetime: lookup,
  },
  natural: { kind: 'natural' },
  lookup,
  none: { kind: 'none' },
} as const satisfies Record<string, Idempotency<ThingInput, Thing>>

export type Kind = keyof typeof KINDS

/** `POST /things`, with idempotency of this kind. */
export function createThing(
  kind: Kind,
  over: Partial<OperationDefinition<ThingInput, Thing>> = {},
): AnyOperation {
  return defineOperation<ThingInput, Thing>({
    summary: 'create a thing',
    input: z.object({ amount: z.number(), note: z.string().optional() }),
    output: z.object({ id: z.string(), amount: z.number() }),
    idempotency: KINDS[kind],
    request: ({ amount, note }) => ({ method: 'POST', path: '/things', body: { json: { amount, note } } }),
    describe: (input, output) => `thing ${output.id} of ${input.amount}`,
    ...over,
  })
}

export interface ConnectorOver {
  readonly limits?: readonly LimitDefinition[]
  readonly classify?: (answer: ProviderAnswer, now: number) => Classification | undefined
  readonly headers?: Record<string, string>
}

export function connectorOf(operation: AnyOperation, over: ConnectorOver = {}): AnyConnector {
  return defineConnector({
    name: 'acme',
    title: 'Acme',
    baseUrl: 'https://api.acme.example',
    auth: { kind: 'bearer' },
    operations: {
      things: {
        create: operation,
        list: createThing('natural', { request: () => ({ method: 'GET', path: '/things' }) }),
      },
    },
    events: {},
    limits: over.limits ?? [],
    check: { operation: 'things.list', input: { amount: 0 } },
    ...(over.classify === undefined ? {} : { classify: over.classify }),
    ...(over.headers === undefined ? {} : { headers: over.headers }),
  })
}

export function connectionTo(url: string, connector: AnyConnector, id = 'con_1'): CallConnection {
  return {
    id,
    name: 'acme',
    tenant: 'default',
    connector,
    baseUrl: url,
    settings: { account: 'a1' },
    allowPrivate: true,
  }
}

export const BEGUN = 1_795_338_000_000

export function callOf(
  connection: CallConnection,
  operation: AnyOperation,
  over: Partial<CallRequest> = {},
): CallRequest {
  return {
    tenant: 'default',
    connection,
    operationName: 'things.create',
    operation,
    input: { amount: 1999 },
    idempotencyKey: 'key_1',
    begunAt: BEGUN,
    runId: 'run_1',
    stepName: 'things.create',
    attempt: 1,
    kind: 'send',
    ...over,
  }
}

export const SECRET = 'sk_live_canary_4eC39HqLyjWDarjtT1zdp7dc'

/** Calls over real sockets. The vault is a bearer token whose version rises with each refresh. */
export function openCalls(
  clock: Clock = systemClock,
  over: Partial<CallsOptions> = {},
): Calls & { refreshes(): number; close(): Promise<void> } {
  const egress = createEgress({ clock })
  let version = 1
  const calls = createCalls({
    clock,
    send: egress.send,
    mail: egress.mail,
    authorize: async (_, request) => ({
      ...request,
      headers: { ...request.headers, authorization: `Bearer ${SECRET}${version}` },
      secretHeaders: ['authorization'],
      credentialVersion: String(version),
    }),
    refreshAfterUnauthorized: async () => {
      version++
      return { as: 'refreshed' }
    },
    secretValuesOf: async () => [SECRET],
    ...over,
  })
  return { ...calls, refreshes: () => version - 1, close: () => egress.destroy() }
}
