import { once } from 'node:events'
import { createServer, request as httpRequest, type IncomingMessage, type Server } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterEach, describe, expect, it } from 'vitest'
import { turn } from '../base/index.ts'
import {
  signatureSchemes,
  type AnyConnector,
  type IncomingDelivery,
  type IncomingEvent,
  type WebhookDefinition,
} from '../define/index.ts'
import type { AcceptResult, VerifiedDelivery } from '../inbox/index.ts'
import { createFakeClock, type FakeClock } from '../testing/index.ts'
import { createWebhookIntake, type Endpoint, type Rejection, type WebhookIntakeOptions } from './intake.ts'
import { signPayload } from './sign.ts'

const PATH = '/webhooks/stripe'
const PUBLIC_URL = `https://hooks.example.com${PATH}`
const SECRET = 'whsec_test'
const BODY = '{"id":"evt_1","type":"payment.succeeded","created":1700000000,"data":{"amount":1999}}'

const WEBHOOKS: WebhookDefinition = {
  signature: signatureSchemes.stripe,
  idIsSigned: true,
  contentUniqueBy: 'id',
  events: ({ body }) => {
    const { id, type } = body as { id: string; type: string }
    return [{ id, type, at: '/data' }]
  },
}

const ACCEPTED: AcceptResult = { state: 'accepted', deliveryId: 'dlv_1' }

type Setting = Partial<Omit<WebhookIntakeOptions, 'clock'>> & {
  readonly webhooks?: Partial<WebhookDefinition>
  readonly secrets?: Endpoint['secrets']
}

interface Bench {
  readonly clock: FakeClock
  readonly port: number
  readonly accepted: VerifiedDelivery[]
  readonly rejected: Rejection[]
  readonly endpoint: Endpoint
}

const servers: Server[] = []
const sockets: Socket[] = []

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  }
})

async function bench({ webhooks, secrets, ...options }: Setting = {}): Promise<Bench> {
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

interface Answer {
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
function signedHeaders({ clock }: Bench, body: string | Buffer = BODY, secret = SECRET): [string, string][] {
  return Object.entries(
    signPayload(signatureSchemes.stripe, { url: PUBLIC_URL, body, at: clock.now() }, [secret]).headers,
  )
}

async function send(bench: Bench, sending: Sending = {}): Promise<Answer> {
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
async function openSocket(port: number): Promise<{ socket: Socket; answer: () => string }> {
  const socket = connect(port, '127.0.0.1')
  sockets.push(socket)
  let text = ''
  socket.on('data', (chunk: Buffer) => (text += chunk.toString())).on('error', () => undefined)
  await once(socket, 'connect')
  return { socket, answer: () => text }
}

/** Turns of the event loop, until it is so; a test that waits in vain fails by its time limit. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await turn()
}

const codes = ({ rejected }: Bench): string[] => rejected.map(({ code }) => code)

describe('a good delivery', () => {
  it('is handed over raw and read, and answered with an empty 200', async () => {
    const here = await bench()
    const answer = await send(here, {
      headers: [
        ...signedHeaders(here),
        ['Authorization', 'Bearer x'],
        ['cookie', 'a=b'],
        ['X-Twice', '1'],
        ['X-Twice', '2'],
      ],
    })
    expect(answer).toMatchObject({ status: 200, body: '' })
    expect(answer.headers).toMatchObject({ 'content-length': '0' })
    expect(answer.headers['set-cookie']).toBeUndefined()
    expect(here.rejected).toEqual([])
    expect(here.accepted).toHaveLength(1)
    const [delivery] = here.accepted
    expect(delivery).toMatchObject({
      tenant: 'default',
      endpointId: 'ep_1',
      connectionId: 'con_1',
      connectionName: 'stripe',
      contentType: 'application/json',
      receivedAt: here.clock.now(),
      parsed: JSON.parse(BODY) as unknown,
      events: [{ id: 'evt_1', type: 'payment.succeeded', at: '/data' }],
      contentUnique: true,
    })
    expect(delivery!.body.toString()).toBe(BODY)
    expect(delivery!.quarantine).toBeUndefined()
    const names = delivery!.headers.map(([name]) => name)
    expect(names).toContain('stripe-signature')
    expect(names.filter((name) => name === 'X-Twice')).toHaveLength(2)
    expect(names.map((name) => name.toLowerCase())).not.toContain('authorization')
    expect(names).not.toContain('cookie')
  })

  it('is answered with 200 when it is a duplicate too', async () => {
    const here = await bench({ accept: () => Promise.resolve({ state: 'duplicate', deliveryId: 'dlv_1' }) })
    expect(await send(here)).toMatchObject({ status: 200, body: '' })
  })

  it('is not answered before accept has resolved', async () => {
    const order: string[] = []
    let commit = (_result: AcceptResult): void => {}
    const here = await bench({
      accept: () => {
        order.push('accept')
        return new Promise((resolve) => (commit = resolve))
      },
    })
    const answered = send(here).then(({ status }) => order.push(String(status)))
    await until(() => order.length > 0)
    for (let i = 0; i < 50; i++) await turn()
    order.push('commit')
    commit(ACCEPTED)
    await answered
    expect(order).toEqual(['accept', 'commit', '200'])
  })

  it('keeps numbers beyond 2^53, surrogates and \\u0000', async () => {
    const here = await bench()
    const body = '{"id":"e","type":"t","data":{"n":9007199254740993,"s":"\\ud800\\u0000"}}'
    expect(await send(here, { body })).toMatchObject({ status: 200 })
    expect(here.accepted[0]!.parsed).toMatchObject({ data: { n: 9_007_199_254_740_993n, s: '\ud800\u0000' } })
  })

  it('may be a form, whose repeated fields become lists', async () => {
    const here = await bench({
      webhooks: {
        signature: signatureSchemes.twilio,
        contentTypes: ['application/x-www-form-urlencoded'],
        contentUniqueBy: 'MessageSid',
        events: ({ body, headers }) => [
          { type: `${(body as { Status: string }).Status} ${headers['x-extra']}`, at: '' },
        ],
      },
    })
    const body = 'Status=sent&MediaUrl=a&MediaUrl=b%20c&MessageSid=SM1&constructor=x'
    const payload = {
      url: `${PUBLIC_URL}?x=1`,
      body,
      at: here.clock.now(),
      contentType: 'application/x-www-form-urlencoded',
    }
    const { headers } = signPayload(signatureSchemes.twilio, payload, [SECRET])
    const sending = {
      body,
      path: `${PATH}?x=1`,
      headers: [...Object.entries(headers), ['X-Extra', 'a'], ['x-extra', 'b']] as [string, string][],
    }
    expect(await send(here, sending)).toMatchObject({ status: 200 })
    expect(here.accepted[0]).toMatchObject({
      parsed: { Status: 'sent', MediaUrl: ['a', 'b c'], MessageSid: 'SM1', constructor: 'x' },
      events: [{ type: 'sent a, b', at: '' }],
      contentUnique: true,
    })
    expect(await send(here, { ...sending, path: `${PATH}?x=2` })).toMatchObject({ status: 401 })
  })

  it("holds the events that the connector takes by the connection's settings", async () => {
    const here = await bench({
      webhooks: {
        events: ({ body, settings }) => {
          const { account, id } = body as { account: string; id: string }
          return account === settings['account'] ? [{ id, type: 'made', at: '' }] : []
        },
      },
    })
    for (const account of ['acct_1', 'acct_2'])
      expect(await send(here, { body: `{"id":"1","account":"${account}"}` })).toMatchObject({ status: 200 })
    expect(here.accepted.map(({ events }) => events.length)).toEqual([1, 0])
  })

  it('needs no signature where the connector says so', async () => {
    const here = await bench({
      webhooks: { signature: 'none' },
      secrets: () => Promise.reject(new Error('no')),
    })
    expect(
      await send(here, { headers: [['content-type', 'application/json; charset=utf-8']] }),
    ).toMatchObject({
      status: 200,
    })
  })

  it('is not content-unique where the named value is missing, empty or not named', async () => {
    for (const contentUniqueBy of ['data.nothing', 'empty', 'constructor', undefined]) {
      const here = await bench({ webhooks: { contentUniqueBy } })
      await send(here, { body: '{"id":"e","type":"t","empty":"","data":{}}' })
      expect(here.accepted[0]!.contentUnique).toBe(false)
    }
  })
})

describe('a body that is not what the provider documents, with a good signature', () => {
  const broken: readonly (readonly [string, string | Buffer, string, string])[] = [
    ['malformed JSON', '{"id":', 'json_malformed', ''],
    ['an empty body', '', 'json_malformed', ''],
    ['a duplicate key', '{"id":"a","type":"t","id":"b"}', 'json_duplicate_key', '/id'],
    ['__proto__', '{"data":{"__proto__":{"admin":true}}}', 'json_proto_key', '/data/__proto__'],
    ['deep JSON', '['.repeat(100_000), 'json_malformed', ''],
    ['deep but whole JSON', '['.repeat(200) + ']'.repeat(200), 'json_too_deep', ''],
    ['bytes that are no UTF-8', Buffer.from([0x22, 0xff, 0x22]), 'json_not_utf8', ''],
    ['null', 'null', 'events_unreadable', ''],
  ]
  it.each(broken)('%s is accepted raw, quarantined', async (_what, body, code, path) => {
    const here = await bench()
    expect(await send(here, { body })).toMatchObject({ status: 200 })
    expect(here.accepted[0]).toMatchObject({ events: [], contentUnique: false, quarantine: { code, path } })
    expect(here.accepted[0]!.quarantine!.reason).not.toBe('')
    expect(here.accepted[0]!.body).toEqual(Buffer.from(body))
    expect(({} as { admin?: boolean }).admin).toBeUndefined()
  })

  const wrong: readonly (readonly [string, () => unknown, RegExp])[] = [
    ['a promise that is rejected', () => Promise.reject(new Error('late')), /promise/],
    ['nothing', () => undefined, /list/],
    ['an event that is null', () => [null], /event 1.*object/],
    ['an event without type', () => [{ at: '' }], /event 1.*type/],
    ['an id that is a number', () => [{ type: 't', at: '', id: 7 }], /event 1.*id/],
    [
      'a dotted path',
      () => [
        { type: 't', at: '' },
        { type: 't', at: 'data' },
      ],
      /event 2.*JSON Pointer/,
    ],
  ]
  it.each(wrong)("a connector's events() that returns %s quarantines", async (_what, returned, reason) => {
    const here = await bench({ webhooks: { events: returned as () => readonly IncomingEvent[] } })
    expect(await send(here)).toMatchObject({ status: 200 })
    expect(here.accepted[0]!.quarantine).toMatchObject({
      code: 'events_invalid',
      reason: expect.stringMatching(reason) as string,
    })
  })

  it.each([
    ['an Error', new Error('no entities'), 'no entities'],
    ['a string', 'no entities', 'no entities'],
    ['nothing', undefined, 'a value that is no Error was thrown: undefined'],
  ])(
    "a connector's events() that throws %s quarantines, with what was read",
    async (_what, thrown, reason) => {
      const here = await bench({
        webhooks: {
          events: (_delivery: IncomingDelivery) => {
            throw thrown
          },
        },
      })
      expect(await send(here)).toMatchObject({ status: 200 })
      expect(here.accepted[0]).toMatchObject({
        parsed: JSON.parse(BODY) as unknown,
        quarantine: { code: 'events_unreadable', path: '', reason },
      })
    },
  )

  it.each([
    ['a=%zz', 'form_malformed', ''],
    ['a=%ff', 'form_malformed', ''],
    ['__proto__=1&a=2', 'form_proto_key', '/__proto__'],
    ['a=1&'.repeat(1001), 'form_too_many_fields', ''],
  ])('the form %.20s is accepted raw, quarantined', async (body, code, path) => {
    const here = await bench({
      webhooks: { signature: 'none', contentTypes: ['application/x-www-form-urlencoded'] },
    })
    const headers = [['content-type', 'application/x-www-form-urlencoded']] as const
    expect(await send(here, { body, headers })).toMatchObject({ status: 200 })
    expect(here.accepted[0]!.quarantine).toMatchObject({ code, path })
  })
})

describe('what is refused with 401', () => {
  it.each<[string, string, (here: Bench) => [string, string][]]>([
    ['forged', 'signature_invalid', (here) => signedHeaders(here, BODY, 'other')],
    ['made for another body', 'signature_invalid', (here) => signedHeaders(here, '{}')],
    ['missing', 'signature_missing', () => [['content-type', 'application/json']]],
    [
      'doubled',
      'signature_malformed',
      (here) => [...signedHeaders(here), signedHeaders(here).find(([name]) => name === 'stripe-signature')!],
    ],
    [
      'stale',
      'timestamp_outside_tolerance',
      (here) => {
        const at = here.clock.now() - 301_000
        return Object.entries(
          signPayload(signatureSchemes.stripe, { url: PUBLIC_URL, body: BODY, at }, [SECRET]).headers,
        )
      },
    ],
    [
      'from the future',
      'timestamp_outside_tolerance',
      (here) => {
        const at = here.clock.now() + 301_000
        return Object.entries(
          signPayload(signatureSchemes.stripe, { url: PUBLIC_URL, body: BODY, at }, [SECRET]).headers,
        )
      },
    ],
  ])('a signature that is %s, with an empty answer, and counted', async (_what, code, headers) => {
    const here = await bench()
    const answer = await send(here, { headers: headers(here) })
    expect(answer).toMatchObject({ status: 401, body: '' })
    expect(answer.headers['set-cookie']).toBeUndefined()
    expect(here.accepted).toEqual([])
    expect(here.rejected).toMatchObject([{ status: 401, code, endpoint: { id: 'ep_1' } }])
    expect(here.rejected[0]!.body.toString()).toBe(BODY)
  })

  it('is accepted as soon as the check is taken away', async () => {
    const here = await bench({ webhooks: { signature: 'none' } })
    expect(await send(here, { headers: signedHeaders(here, BODY, 'other') })).toMatchObject({ status: 200 })
  })
})

describe('what is refused before it is read', () => {
  it('an unknown path: 404', async () => {
    const here = await bench()
    expect(await send(here, { path: '/webhooks/nobody' })).toMatchObject({ status: 404 })
    expect(await send(here, { path: '/webhooks/nobody', body: 'x'.repeat(100_000) })).toMatchObject({
      status: 404,
    })
    expect(here.rejected[0]!.endpoint).toBeUndefined()
  })

  it('a connector without webhooks: 404', async () => {
    const here = await bench({
      endpoints: () => ({ ...here.endpoint, connector: { name: 'x' } as AnyConnector }),
    })
    expect(await send(here)).toMatchObject({ status: 404 })
  })

  it('another method: 405 with what is allowed', async () => {
    const here = await bench()
    expect(await send(here, { method: 'PUT' })).toMatchObject({ status: 405, headers: { allow: 'POST' } })
  })

  it.each([
    [[['content-type', 'text/plain']]],
    [[]],
    [
      [
        ['content-type', 'application/json'],
        ['content-type', 'application/json'],
      ],
    ],
    [[['content-type', 'application/json, text/plain']]],
  ] as [string, string][][][])('the content type %j: 415 with what is accepted', async (headers) => {
    const here = await bench({
      webhooks: { contentTypes: ['application/json', 'application/cloudevents+json'] },
    })
    const answer = await send(here, { headers })
    expect(answer).toMatchObject({
      status: 415,
      headers: { accept: 'application/json, application/cloudevents+json' },
    })
    expect(answer.body).toContain('application/json and application/cloudevents+json')
    expect(codes(here)).toEqual(['content_type_unsupported'])
  })

  it('a compressed body: 415, however well signed', async () => {
    const here = await bench()
    const body = gzipSync(Buffer.alloc(50_000_000))
    const headers = [...signedHeaders(here, body), ['Content-Encoding', 'gzip'] as [string, string]]
    expect(await send(here, { body, headers })).toMatchObject({
      status: 415,
      headers: { 'accept-encoding': 'identity' },
    })
    expect(codes(here)).toEqual(['content_encoding_unsupported'])
  })

  it('too many headers: 431', async () => {
    const here = await bench({ maxHeaders: 10 })
    const more = Array.from({ length: 10 }, (_, i): [string, string] => [`x-${i}`, '1'])
    expect(await send(here, { headers: [...signedHeaders(here), ...more] })).toMatchObject({ status: 431 })
  })

  it('too large headers: 431', async () => {
    const here = await bench({ maxHeaderBytes: 1000 })
    const large: [string, string] = ['x-large', 'x'.repeat(1000)]
    expect(await send(here, { headers: [...signedHeaders(here), large] })).toMatchObject({ status: 431 })
  })

  it('a body that announces too much: 413 before it has come', async () => {
    const here = await bench({ maxBodyBytes: 1000 })
    const { socket, answer } = await openSocket(here.port)
    socket.write(
      `POST ${PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1001\r\n\r\n`,
    )
    await until(() => answer().includes('\r\n\r\n'))
    expect(answer()).toMatch(/^HTTP\/1\.1 413 /)
    expect(codes(here)).toEqual(['body_too_large'])
  })

  it('a body of exactly the limit is read', async () => {
    const here = await bench({ maxBodyBytes: BODY.length })
    expect(await send(here)).toMatchObject({ status: 200 })
    expect(await send(here, { body: `${BODY} ` })).toMatchObject({ status: 413 })
  })
})

describe('a body that does not come as announced', () => {
  const chunkedHead = `POST ${PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n`

  it('chunked without a length, beyond the limit: 413 at the limit, then the connection is ended', async () => {
    const here = await bench({ maxBodyBytes: 10_000 })
    const { socket, answer } = await openSocket(here.port)
    socket.write(chunkedHead)
    const chunk = `3e8\r\n${'x'.repeat(1000)}\r\n`
    for (let i = 0; i < 11; i++) socket.write(chunk)
    await until(() => answer() !== '')
    expect(answer()).toMatch(/^HTTP\/1\.1 413 /)
    expect(here.rejected).toMatchObject([{ code: 'body_too_large', status: 413 }])
    const closed = once(socket, 'close')
    await here.clock.advance(1000)
    await closed
    expect(here.clock.pending()).toBe(0)
  })

  it('chunked, with a transfer coding that we do not undo: 415', async () => {
    const here = await bench()
    const { socket, answer } = await openSocket(here.port)
    socket.write(chunkedHead.replace('chunked', 'gzip, chunked'))
    await until(() => answer() !== '')
    expect(answer()).toMatch(/^HTTP\/1\.1 415 /)
  })

  it('slower than the limit: 408', async () => {
    const here = await bench()
    const { socket, answer } = await openSocket(here.port)
    socket.write(
      `POST ${PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n123`,
    )
    await until(() => here.clock.pending() > 0)
    await here.clock.advance(9999)
    expect(answer()).toBe('')
    await here.clock.advance(1)
    await until(() => answer() !== '')
    expect(answer()).toMatch(/^HTTP\/1\.1 408 /)
    const closed = once(socket, 'close')
    await here.clock.advance(1000)
    await closed
    expect(here.rejected).toMatchObject([{ code: 'receive_timeout', status: 408 }])
    expect(here.rejected[0]!.body.toString()).toBe('123')
  })

  it('broken off: nobody is answered, nothing is accepted, and no timer is left', async () => {
    const here = await bench()
    const { socket } = await openSocket(here.port)
    socket.write(
      `POST ${PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n123`,
    )
    await until(() => here.clock.pending() > 0)
    socket.destroy()
    await until(() => here.rejected.length > 0)
    expect(here.rejected[0]).toMatchObject({ code: 'upload_aborted' })
    expect(here.rejected[0]!.status).toBeUndefined()
    expect(here.accepted).toEqual([])
    expect(here.clock.pending()).toBe(0)
  })

  it('broken off while its endpoint is looked up: the same', async () => {
    let found = (_endpoint: Endpoint): void => {}
    const here = await bench({ endpoints: () => new Promise((resolve) => (found = resolve)) })
    const { socket } = await openSocket(here.port)
    socket.write(
      `POST ${PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n123`,
    )
    await until(() => here.clock.pending() > 0)
    socket.destroy()
    for (let i = 0; i < 50; i++) await turn()
    found(here.endpoint)
    await until(() => here.rejected.length > 0)
    expect(codes(here)).toEqual(['upload_aborted'])
    expect(here.clock.pending()).toBe(0)
  })
})

describe('a fault of ours', () => {
  const unavailable = {
    status: 503,
    body: '',
    headers: { 'retry-after': '5', 'content-length': '0' },
  }

  it.each<[string, string, Setting]>([
    [
      'the endpoints cannot be known',
      'endpoint_unavailable',
      { endpoints: () => Promise.reject(new Error('away')) },
    ],
    [
      'the endpoints throw',
      'endpoint_unavailable',
      {
        endpoints: () => {
          throw new Error('away')
        },
      },
    ],
    [
      'the secrets cannot be opened',
      'secrets_unavailable',
      { secrets: () => Promise.reject(new Error('away')) },
    ],
    ['there is no secret', 'secret_missing', { secrets: () => Promise.resolve([]) }],
    ['the only secret is empty', 'secret_malformed', { secrets: () => Promise.resolve(['']) }],
    ['the delivery cannot be stored', 'accept_failed', { accept: () => Promise.reject(new Error('away')) }],
    [
      'storing throws at once',
      'accept_failed',
      {
        accept: () => {
          throw new Error('away')
        },
      },
    ],
    ['too much is under way', 'overloaded', { maxHeldBytes: 4096 }],
  ])('%s: 503 with Retry-After, never 4xx', async (_what, code, setting) => {
    const here = await bench(setting)
    expect(await send(here)).toMatchObject(unavailable)
    expect(here.rejected).toMatchObject([{ code, status: 503 }])
    expect(here.rejected[0]!.body).toHaveLength(0)
  })

  it('a forgery is 503 too where the check cannot be completed', async () => {
    const here = await bench({ secrets: () => Promise.resolve(['']) })
    expect(await send(here, { headers: signedHeaders(here, BODY, 'other') })).toMatchObject(unavailable)
  })

  it.each<[string, string, () => { setting: Setting; called: () => boolean }]>([
    ['accept', 'ack_timeout', () => hanging((hang) => ({ accept: hang }))],
    ['the secrets', 'ack_timeout', () => hanging((hang) => ({ secrets: hang }))],
    ['the endpoints', 'endpoint_timeout', () => hanging((hang) => ({ endpoints: hang }))],
  ])('%s hang: 503 after 500 ms and not before, and nothing after it', async (_what, code, prepare) => {
    const { setting, called } = prepare()
    const here = await bench(setting)
    let answer: Answer | undefined
    const sent = send(here).then((one) => (answer = one))
    await until(called)
    await here.clock.advance(499)
    expect(answer).toBeUndefined()
    await here.clock.advance(1)
    await sent
    expect(answer).toMatchObject(unavailable)
    expect(codes(here)).toEqual([code])
  })

  it('a commit that comes after the deadline changes nothing for the sender', async () => {
    let commit = (_result: AcceptResult): void => {}
    let calls = 0
    const here = await bench({
      accept: () => {
        calls++
        return new Promise((resolve) => (commit = resolve))
      },
    })
    const sent = send(here)
    await until(() => calls > 0)
    await here.clock.advance(500)
    expect(await sent).toMatchObject(unavailable)
    commit(ACCEPTED)
    for (let i = 0; i < 20; i++) await turn()
    expect(codes(here)).toEqual(['ack_timeout'])
    expect(here.clock.pending()).toBe(0)
  })

  it('secrets that come after the deadline are not used: the sender was told to come again', async () => {
    let open = (_secrets: readonly string[]): void => {}
    let asked = false
    const here = await bench({
      secrets: () => {
        asked = true
        return new Promise((resolve) => (open = resolve))
      },
    })
    const sent = send(here)
    await until(() => asked)
    await here.clock.advance(500)
    expect(await sent).toMatchObject(unavailable)
    open([SECRET])
    for (let i = 0; i < 20; i++) await turn()
    expect(here.accepted).toEqual([])
  })

  it('bytes under way are given back, whatever became of them', async () => {
    const here = await bench({ maxHeldBytes: 10_000, maxBodyBytes: 5000 })
    for (let i = 0; i < 10; i++) {
      expect(await send(here)).toMatchObject({ status: 200 })
      expect(await send(here, { headers: signedHeaders(here, BODY, 'other') })).toMatchObject({ status: 401 })
      expect(await send(here, { body: 'x'.repeat(5001) })).toMatchObject({ status: 413 })
    }
  })

  it('deliveries whose commit hangs are bounded: what they hold counts until they end', async () => {
    const here = await bench({ maxHeldBytes: 10_000, accept: () => new Promise(() => undefined) })
    const first = [send(here), send(here)]
    await until(() => here.clock.pending() === 2)
    expect(await send(here)).toMatchObject(unavailable)
    await here.clock.advance(500)
    expect((await Promise.all(first)).map(({ status }) => status)).toEqual([503, 503])
    expect(codes(here)).toEqual(['overloaded', 'ack_timeout', 'ack_timeout'])
  })
})

/** A function that never answers, and whether it was asked. */
function hanging(of: (hang: () => Promise<never>) => Setting): { setting: Setting; called: () => boolean } {
  let called = false
  const setting = of(() => {
    called = true
    return new Promise(() => undefined)
  })
  return { setting, called: () => called }
}

describe('one connection', () => {
  it('goes on after a refusal whose body was read', async () => {
    const here = await bench()
    const { socket, answer } = await openSocket(here.port)
    const head = (signature: string): string =>
      `POST ${PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nstripe-signature: ${signature}\r\ncontent-length: ${BODY.length}\r\n\r\n${BODY}`
    const good = signedHeaders(here).find(([name]) => name === 'stripe-signature')![1]
    socket.write(head(`t=1,v1=${'0'.repeat(64)}`))
    await until(() => answer().includes('401'))
    socket.write(head(good))
    await until(() => answer().includes('200'))
    expect(answer().match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 401', 'HTTP/1.1 200'])
  })
})
