import { afterEach, describe, expect, it } from 'vitest'
import * as z from 'zod'
import { MINUTE, PermanentError, RetryableError, SECOND } from '../base/index.ts'
import type { AnyOperation } from '../define/index.ts'
import { createFakeClock, type FakeClock } from '../testing/index.ts'
import {
  BEGUN,
  callOf,
  connectionTo,
  connectorOf,
  createThing,
  json,
  KINDS,
  openCalls,
  openProvider,
  SECRET,
  type ConnectorOver,
  type Kind,
  type Provider,
  type Reply,
} from './calls.fixture.ts'
import {
  decodeRecorded,
  encodeRecorded,
  type CallOutcome,
  type CallRequest,
  type CallsOptions,
  type RecordedRequest,
} from './index.ts'

const open: { close(): Promise<unknown> }[] = []
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close()
})

interface Setting {
  readonly kind?: Kind
  readonly operation?: AnyOperation
  readonly connector?: ConnectorOver
  readonly options?: Partial<CallsOptions>
  readonly clock?: FakeClock
  readonly url?: string
}

/** A provider that answers so, and a function that makes one call to it. */
async function set(reply: Reply, setting: Setting = {}) {
  const provider: Provider = await openProvider(reply)
  const clock = setting.clock ?? createFakeClock(BEGUN)
  const calls = openCalls(clock, setting.options)
  open.push(provider, calls)
  const operation = setting.operation ?? createThing(setting.kind ?? 'none')
  const connection = connectionTo(setting.url ?? provider.url, connectorOf(operation, setting.connector))
  const call = (over: Partial<CallRequest> = {}): Promise<CallOutcome> =>
    calls.call(callOf(connection, operation, over))
  return { provider, calls, clock, connection, operation, call }
}

const thing: Reply = (response) => json(response, 201, { id: 't1', amount: 1999, extra: true })
const WRITES: Kind[] = ['key', 'lookup', 'none']

describe('succeeded', () => {
  it('gives the output as the contract gives it out, a summary and the exchange', async () => {
    const { call, provider } = await set(thing, { connector: { headers: { 'X-Version': '7' } } })
    const outcome = await call({ input: { amount: 1999, note: undefined } })
    expect(outcome).toMatchObject({
      as: 'succeeded',
      output: { id: 't1', amount: 1999 },
      summary: 'thing t1 of 1999',
      exchange: { status: 201, ms: expect.any(Number), request: { method: 'POST' }, answer: { status: 201 } },
    })
    expect(provider.received[0]).toMatchObject({ method: 'POST', url: '/things', body: '{"amount":1999}' })
    expect(provider.received[0]!.headers).toMatchObject({
      'x-version': '7',
      accept: 'application/json',
      'content-type': 'application/json',
      authorization: `Bearer ${SECRET}1`,
    })
  })

  it('keeps whole numbers beyond 2^53, there and back', async () => {
    const lossless = createThing('none', {
      input: {
        '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value: value as never }) },
      },
      output: {
        '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value: value as never }) },
      },
    })
    const { call, provider } = await set((response) => json(response, 200, '{"id":9007199254740993}'), {
      operation: lossless,
    })
    const outcome = await call({ input: { amount: 9_007_199_254_740_995n } })
    expect(provider.received[0]!.body).toBe('{"amount":9007199254740995}')
    expect(outcome).toMatchObject({ as: 'succeeded', output: { id: 9_007_199_254_740_993n } })
  })

  it('is not spoiled by a summary that throws', async () => {
    const operation = createThing('none', {
      describe: () => {
        throw new Error('no words')
      },
    })
    expect(await (await set(thing, { operation })).call()).toMatchObject({
      as: 'succeeded',
      summary: undefined,
    })
  })

  it('puts the idempotency key where the operation says', async () => {
    const header = await set(thing, { kind: 'key' })
    await header.call()
    expect(header.provider.received[0]!.headers['idempotency-key']).toBe('key_1')
    const query = await set(thing, { kind: 'keyThenLookup' })
    await query.call()
    expect(query.provider.received[0]!.url).toBe('/things?requestid=key_1')
    for (const kind of ['natural', 'lookup', 'none'] as const) {
      const without = await set(thing, { kind })
      await without.call()
      expect(without.provider.received[0]!.headers['idempotency-key']).toBeUndefined()
    }
  })
})

describe('what is wrong before anything is sent', () => {
  it('a broken input fails, is not retried, and costs nothing', async () => {
    const { call, provider } = await set(thing)
    expect(await call({ input: { amount: 'much' } })).toMatchObject({
      as: 'failed',
      retryable: false,
      code: 'input_invalid',
      reason: expect.stringContaining('/amount'),
    })
    expect(provider.received).toEqual([])
  })

  it.each([
    [
      'throws',
      () => {
        throw new Error('no account')
      },
    ],
    ['wants a path without a slash', () => ({ method: 'GET', path: 'things' })],
    ['wants another host', () => ({ method: 'GET', path: '//evil.example/x' })],
    ['climbs out of its path', () => ({ method: 'GET', path: '/things/../admin' })],
    ['climbs out, encoded', () => ({ method: 'GET', path: '/things/%2e%2E/admin' })],
    ['has a line break in its path', () => ({ method: 'GET', path: '/things/a\r\nhost: evil' })],
    ['has a line break in a header', () => ({ method: 'GET', path: '/', headers: { 'x-a': 'b\r\nc: d' } })],
    [
      'sends what JSON cannot say',
      () => ({ method: 'POST', path: '/', body: { json: { at: new Date(0) } } }),
    ],
  ])('an operation that %s fails and is not retried', async (_, request) => {
    const { call, provider } = await set(thing, {
      operation: createThing('none', { request: request as never }),
    })
    expect(await call()).toMatchObject({ as: 'failed', retryable: false, newKey: false })
    expect(provider.received).toEqual([])
  })
})

describe('begin', () => {
  it('is committed before anything leaves, and sees the bytes that will', async () => {
    const { call, provider } = await set(thing)
    const seen: RecordedRequest[] = []
    let sentBefore = -1
    const outcome = await call({
      begin: async (request) => {
        sentBefore = provider.received.length
        seen.push(request)
      },
    })
    expect(outcome.as).toBe('succeeded')
    expect(sentBefore).toBe(0)
    expect(seen).toHaveLength(1)
    expect(seen[0]).toMatchObject({ method: 'POST', path: '/things', body: Buffer.from('{"amount":1999}') })
    expect(JSON.stringify(seen)).not.toContain(SECRET)
  })

  it('that throws sends nothing, and frees what was held', async () => {
    const limits = [{ name: 'all', allowed: 100, windowMs: SECOND, concurrency: 1, source: 'test' }]
    const { call, provider } = await set(thing, { connector: { limits } })
    const fenced = new Error('fenced')
    await expect(call({ begin: () => Promise.reject(fenced) })).rejects.toBe(fenced)
    expect(provider.received).toEqual([])
    expect((await call()).as).toBe('succeeded')
  })

  it('is not called for what is parked or deferred, so that nothing is in doubt there', async () => {
    let begun = 0
    const begin = async (): Promise<void> => void begun++
    const authorize = (error: Error): Partial<CallsOptions> => ({
      authorize: async () => {
        throw error
      },
    })
    const parked = await set(thing, {
      options: authorize(new PermanentError('needs_reauthorization', 'again')),
    })
    expect(await parked.call({ begin })).toMatchObject({
      as: 'parked',
      code: 'needs_reauthorization',
      reason: 'again',
      credential: { connectionId: 'con_1', as: 'missing' },
    })
    const deferred = await set(thing, {
      options: authorize(new RetryableError('credential_busy', 'later', { retryAt: BEGUN + MINUTE })),
    })
    expect(await deferred.call({ begin })).toMatchObject({
      as: 'deferred',
      code: 'credential_busy',
      until: BEGUN + MINUTE,
    })
    expect(begun).toBe(0)
    expect(parked.provider.received.length + deferred.provider.received.length).toBe(0)
  })

  it('spends the time of the exchange: one that stood still after it sends nothing, and costs no attempt', async () => {
    const clock = createFakeClock(BEGUN)
    const { call, provider } = await set(thing, { options: { clock } })
    // Others count on it that an attempt is over when its time-out is, counted from the committed beginning.
    expect(await call({ begin: () => clock.advance(30 * SECOND) })).toMatchObject({
      as: 'deferred',
      code: 'expired',
    })
    expect(await call({ mayLeave: () => false })).toMatchObject({ as: 'deferred', code: 'withdrawn' })
    expect(provider.received).toEqual([])
    expect((await call({ begin: () => clock.advance(29 * SECOND) })).as).toBe('succeeded')
  })

  it('a fault of the database while authorizing is thrown on', async () => {
    const fault = new Error('connection terminated')
    const { call } = await set(thing, { options: { authorize: () => Promise.reject(fault) } })
    await expect(call()).rejects.toBe(fault)
  })
})

describe('the recorded request', () => {
  it('is sent again unchanged, whatever the operation would make now', async () => {
    let made = 0
    const operation = createThing('key', {
      request: () => ({ method: 'POST', path: `/things?n=${++made}`, body: { json: { n: made } } }),
    })
    const { call, provider } = await set(thing, { operation })
    let recorded: RecordedRequest | undefined
    await call({ begin: async (request) => void (recorded = request) })
    await call({ recorded: decodeRecorded(encodeRecorded(recorded!)), attempt: 2 })
    const [first, second] = provider.received
    expect({ ...second, headers: { ...second!.headers } }).toEqual({
      ...first,
      headers: { ...first!.headers },
    })
    expect(made).toBe(1)
  })

  it('survives its encoding, also without a body', () => {
    const request = { method: 'GET', path: '/a?b=c', headers: { accept: 'x' }, body: undefined } as const
    expect(decodeRecorded(encodeRecorded(request))).toEqual(request)
    const binary = { ...request, method: 'POST', body: Buffer.from([0, 255, 10]) } as const
    expect(decodeRecorded(encodeRecorded(binary))).toEqual(binary)
  })
})

describe('statuses without rules of the connector', () => {
  it.each([
    [400, 'status_400'],
    [403, 'status_403'],
    [404, 'status_404'],
    [410, 'status_410'],
    [422, 'status_422'],
    [501, 'status_501'],
    [301, 'redirected'],
    [308, 'redirected'],
  ])('%i fails for good, for every kind', async (status, code) => {
    for (const kind of ['natural', ...WRITES] as Kind[]) {
      const { call } = await set((response) => json(response, status, { message: 'no' }), { kind })
      expect(await call()).toMatchObject({
        as: 'failed',
        retryable: false,
        newKey: false,
        code,
        exchange: { status },
      })
    }
  })

  it.each([
    [429, { as: 'failed', retryable: true, newKey: false, code: 'rate_limited', retryAt: BEGUN + 30_000 }],
    [425, { as: 'failed', retryable: true, newKey: false, retryAt: BEGUN + 30_000 }],
  ])('%i is retried when the provider says, for every kind', async (status, expected) => {
    for (const kind of ['natural', ...WRITES] as Kind[]) {
      const { call } = await set((response) => json(response, status, {}, { 'retry-after': '30' }), { kind })
      expect(await call()).toMatchObject(expected)
    }
  })

  it.each([500, 502, 503, 504, 408, 599])(
    '%i of a read is retried; of a write it is in doubt',
    async (status) => {
      const reply: Reply = (response) => json(response, status, {}, { 'retry-after': '30' })
      const read = await set(reply, { kind: 'natural' })
      expect(await read.call()).toMatchObject({
        as: 'failed',
        retryable: true,
        newKey: false,
        retryAt: BEGUN + 30_000,
      })
      for (const kind of WRITES) expect((await (await set(reply, { kind })).call()).as).toBe('in_doubt')
    },
  )

  it('302 and 303 after a write may mean that it was done', async () => {
    const reply: Reply = (response) => json(response, 303, {}, { location: '/things/1' })
    expect(await (await set(reply, { kind: 'none' })).call()).toMatchObject({
      as: 'in_doubt',
      code: 'redirected',
    })
    expect(await (await set(reply, { kind: 'natural' })).call()).toMatchObject({
      as: 'failed',
      code: 'redirected',
    })
  })

  it('409 to a key may mean that the first request with it is still being worked on', async () => {
    const reply: Reply = (response) => json(response, 409, { message: 'in progress' })
    expect((await (await set(reply, { kind: 'key' })).call()).as).toBe('in_doubt')
    expect(await (await set(reply, { kind: 'none' })).call()).toMatchObject({
      as: 'failed',
      retryable: false,
    })
  })

  it('past its lifetime a key no longer counts as one', async () => {
    const reply: Reply = (response) => json(response, 409, {})
    const clock = createFakeClock(BEGUN + KINDS.key.lifetimeMs)
    expect(await (await set(reply, { kind: 'key', clock })).call()).toMatchObject({
      as: 'failed',
      code: 'status_409',
    })
  })

  it('tells the beginning of what the provider said, and no HTML', async () => {
    const said = await set((response) => json(response, 400, { message: 'the amount is too small' }))
    expect(await said.call()).toMatchObject({ reason: expect.stringContaining('the amount is too small') })
    const page = await set((response) => response.writeHead(404).end('<html>not here</html>'))
    expect(await page.call()).toMatchObject({ reason: 'The provider answered 404.' })
  })
})

describe('rules of the connector', () => {
  const always = (classification: object): ConnectorOver => ({ classify: () => classification as never })

  it('go before the defaults, and the operation goes before the connector', async () => {
    const teapot: Reply = (response) => json(response, 200, { ok: false })
    const refused = { as: 'failed', code: 'refused_in_200', reason: 'no' }
    expect(await (await set(teapot, { connector: always(refused) })).call()).toMatchObject({
      as: 'failed',
      code: 'refused_in_200',
    })
    const operation = createThing('none', {
      classify: () => ({ as: 'retry', code: 'busy', reason: 'later', retryAt: BEGUN + 5 }),
    })
    expect(await (await set(teapot, { operation, connector: always(refused) })).call()).toMatchObject({
      as: 'failed',
      retryable: true,
      code: 'busy',
      retryAt: BEGUN + 5,
    })
  })

  it('that throw leave doubt, never a definite answer', async () => {
    const connector = {
      classify: () => {
        throw new TypeError('undefined is not an object')
      },
    }
    expect(await (await set(thing, { connector })).call()).toMatchObject({
      as: 'in_doubt',
      code: 'classification_failed',
    })
    expect(await (await set(thing, { connector, kind: 'natural' })).call()).toMatchObject({
      as: 'failed',
      retryable: true,
    })
  })

  it('a doubt of theirs about what may be repeated is simply retried', async () => {
    const connector = always({ as: 'in_doubt', code: 'odd', reason: 'odd' })
    expect(await (await set(thing, { connector, kind: 'natural' })).call()).toMatchObject({
      as: 'failed',
      retryable: true,
    })
    expect(await (await set(thing, { connector, kind: 'key' })).call()).toMatchObject({
      as: 'in_doubt',
      code: 'odd',
    })
  })
})

describe('errors that a provider stores with the key', () => {
  const notDone: ConnectorOver = {
    classify: ({ status }) =>
      status >= 400 ? { as: 'retry', code: 'rolled_back', reason: 'not done' } : undefined,
  }

  it('a new key is asked for only after a definite answer, and only where it is stored', async () => {
    const reply: Reply = (response, _, n) => json(response, n === 1 ? 500 : 429, {})
    const storing = await set(reply, { kind: 'replayingKey', connector: notDone })
    expect(await storing.call()).toMatchObject({ as: 'failed', retryable: true, newKey: true })
    // A 429 is refused before anything is stored.
    expect(await storing.call()).toMatchObject({ as: 'failed', retryable: true, newKey: false })
    const forgetting = await set(reply, { kind: 'key', connector: notDone })
    expect(await forgetting.call()).toMatchObject({ newKey: false })
  })

  it('doubt never asks for a new key', async () => {
    const { call } = await set((response) => json(response, 500, {}), { kind: 'replayingKey' })
    const outcome = await call()
    expect(outcome.as).toBe('in_doubt')
    expect(outcome).not.toHaveProperty('newKey')
  })
})

describe('broken connections', () => {
  const cut: Reply = (response) => response.socket!.destroy()

  it('after sending: doubt for a write, a retry for a read', async () => {
    for (const kind of WRITES)
      expect(await (await set(cut, { kind })).call()).toMatchObject({
        as: 'in_doubt',
        code: 'connection_lost',
        exchange: { error: expect.any(String) },
      })
    expect(await (await set(cut, { kind: 'natural' })).call()).toMatchObject({
      as: 'failed',
      retryable: true,
      code: 'connection_lost',
    })
  })

  it('before sending: a retry for every kind, and no doubt', async () => {
    for (const kind of ['natural', ...WRITES] as Kind[]) {
      // Nobody is ever given this port, as one that has just become free may be.
      const { call } = await set(thing, { kind, url: 'http://127.0.0.1:1' })
      expect(await call()).toMatchObject({
        as: 'failed',
        retryable: true,
        newKey: false,
        code: 'connect_refused',
      })
    }
  })

  it('refused by the policy: no use to try again', async () => {
    const { call } = await set(thing, { url: 'http://169.254.169.254' })
    expect(await call()).toMatchObject({ as: 'failed', retryable: false, code: 'egress_denied' })
  })

  it('an answer over the limit is no use to ask for again, and doubt after a write', async () => {
    const endless: Reply = (response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(Buffer.alloc(11 * 1024 * 1024, 'x'))
    }
    expect(await (await set(endless, { kind: 'natural' })).call()).toMatchObject({
      as: 'failed',
      retryable: false,
      code: 'answer_too_large',
    })
    expect(await (await set(endless, { kind: 'none' })).call()).toMatchObject({
      as: 'in_doubt',
      code: 'answer_too_large',
    })
  })

  it('a body that breaks off after a 4xx: the status alone says that it was refused', async () => {
    const broken =
      (status: number): Reply =>
      (response) => {
        response.writeHead(status, { 'content-length': '100' })
        response.write('{', () => response.socket!.destroy())
      }
    expect(await (await set(broken(422), { kind: 'none' })).call()).toMatchObject({
      as: 'failed',
      retryable: false,
      code: 'status_422',
    })
    expect(await (await set(broken(201), { kind: 'none' })).call()).toMatchObject({
      as: 'in_doubt',
      code: 'answer_truncated',
    })
    expect(await (await set(broken(500), { kind: 'none' })).call()).toMatchObject({
      as: 'in_doubt',
      code: 'answer_truncated',
    })
  })

  it('no answer in time is doubt', async () => {
    let arrived!: () => void
    const waiting = new Promise<void>((resolve) => {
      arrived = resolve
    })
    const { call, clock } = await set(() => arrived(), {
      operation: createThing('none', { timeoutMs: 7000 }),
    })
    const outcome = call()
    await waiting
    await clock.advance(7000)
    expect(await outcome).toMatchObject({ as: 'in_doubt', code: 'timed_out' })
  })
})

describe('a refused credential', () => {
  it('is refreshed once and the request sent again, within the same attempt', async () => {
    const { call, provider, calls } = await set((response, { headers }) =>
      headers.authorization === `Bearer ${SECRET}2`
        ? json(response, 201, { id: 't', amount: 1 })
        : json(response, 401, {}),
    )
    let begun = 0
    expect(await call({ begin: async () => void begun++ })).toMatchObject({ as: 'succeeded' })
    expect(provider.received.map(({ body }) => body)).toEqual(['{"amount":1999}', '{"amount":1999}'])
    expect([calls.refreshes(), begun]).toEqual([1, 1])
  })

  it('that stays refused parks', async () => {
    const { call, provider } = await set((response) => json(response, 401, { message: 'no' }))
    expect(await call()).toMatchObject({
      as: 'parked',
      code: 'credential_refused',
      exchange: { status: 401 },
    })
    expect(provider.received).toHaveLength(2)
  })

  it('that cannot be replaced parks or waits, by the word of the vault', async () => {
    const refusing: Reply = (response) => json(response, 401, { message: 'no' })
    const refreshing = (answer: unknown): Partial<CallsOptions> => ({
      refreshAfterUnauthorized: async () => answer as never,
    })
    const refused = await set(refusing, {
      options: refreshing({ as: 'refused', code: 'credential_expired', reason: 'Authorize again.' }),
    })
    expect(await refused.call()).toMatchObject({
      as: 'parked',
      code: 'credential_expired',
      reason: expect.stringContaining('Authorize again.'),
    })
    expect(refused.provider.received).toHaveLength(1)
    const postponed = await set(refusing, {
      options: refreshing({ as: 'postponed', code: 'token_endpoint_down', reason: 'x', retryAt: BEGUN + 9 }),
    })
    expect(await postponed.call()).toEqual({
      as: 'deferred',
      until: BEGUN + 9,
      code: 'token_endpoint_down',
      reason: 'x',
    })
    const thrown = await set(refusing, {
      options: {
        refreshAfterUnauthorized: () => Promise.reject(new PermanentError('needs_reauthorization', 'dead')),
      },
    })
    expect(await thrown.call()).toMatchObject({ as: 'parked', code: 'needs_reauthorization' })
  })

  it('whose second request is lost is in doubt', async () => {
    const { call } = await set((response, _, n) =>
      n === 1 ? json(response, 401, {}) : response.socket!.destroy(),
    )
    expect(await call()).toMatchObject({ as: 'in_doubt', code: 'connection_lost' })
  })
})

describe('quarantined', () => {
  it.each([
    ['a missing field', '{"id":"t1"}', '/amount', 'expected number'],
    ['a field of another kind', '{"id":7,"amount":1}', '/id', 'expected string'],
    ['JSON that breaks off', '{"id":"t1","amo', '', 'not valid JSON'],
    ['the same key twice', '{"id":"t1","id":"t2","amount":1}', '/id', 'the same key twice'],
    ['a number that a double would round', '{"id":"t1","amount":9007199254740993}', '/amount', 'beyond 2^53'],
    ['nothing', '', '', 'expected object'],
  ])('%s', async (_, body, path, reason) => {
    const { call } = await set((response) => json(response, 200, body))
    const outcome = await call()
    expect(outcome).toMatchObject({
      as: 'quarantined',
      path,
      reason: expect.stringContaining(reason),
      exchange: { status: 200 },
    })
    expect(outcome.as === 'quarantined' && outcome.payload.toString()).toBe(body)
  })

  it('what says that it is JSON and is none, also where the contract takes anything', async () => {
    const operation = createThing('key', { output: z.unknown() as never })
    for (const body of ['{"id":"t1","amo', '[1,]', '{"__proto__":{"admin":true}}', ' ', '"\ud800" x']) {
      const { call } = await set((response) => json(response, 200, body), { operation })
      expect(await call()).toMatchObject({ as: 'quarantined', payload: Buffer.from(body) })
    }
    const { call } = await set((response) => json(response, 200, ''), { operation })
    expect(await call()).toMatchObject({ as: 'succeeded', output: undefined })
  })

  it('an HTML page in a 200', async () => {
    const { call } = await set((response) =>
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html>'),
    )
    expect(await call()).toMatchObject({ as: 'quarantined', path: '' })
  })

  it('an answer that the operation cannot read', async () => {
    const operation = createThing('none', {
      answer: ({ json }) => (json as { data: { thing: unknown } }).data.thing,
    })
    const { call } = await set((response) => json(response, 200, { error: 1 }), { operation })
    expect(await call()).toMatchObject({
      as: 'quarantined',
      reason: expect.stringContaining('could not be read'),
    })
  })

  it('JSON is read where it calls itself otherwise, and +json too', async () => {
    for (const type of ['text/plain', 'application/vnd.acme+json; charset=utf-8', 'text/json']) {
      const { call } = await set((response) =>
        response.writeHead(200, { 'content-type': type }).end('{"id":"t","amount":1}'),
      )
      expect((await call()).as).toBe('succeeded')
    }
  })
})

describe('look-ups', () => {
  it('ask with the key, and find what was done', async () => {
    const { call, provider } = await set(
      (response) => json(response, 200, { results: [{ id: 't1', amount: 1 }] }),
      { kind: 'lookup' },
    )
    expect(await call({ kind: 'lookup' })).toMatchObject({ as: 'succeeded', output: { id: 't1' } })
    expect(provider.received).toMatchObject([{ method: 'GET', url: '/things?key=key_1', body: '' }])
  })

  it('find that it was not done', async () => {
    const { call } = await set((response) => json(response, 200, { results: [] }), { kind: 'lookup' })
    expect(await call({ kind: 'lookup' })).toMatchObject({ as: 'not_found', exchange: { status: 200 } })
  })

  it.each<[string, Reply]>([
    ['an answer that cannot tell', (response) => json(response, 200, { items: [] })],
    ['broken JSON', (response) => json(response, 200, '{"results":[]')],
    ['an HTML page', (response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<p>')],
    ['a 503', (response) => json(response, 503, {})],
    ['a lost answer', (response) => response.socket!.destroy()],
    ['a 429', (response) => json(response, 429, {})],
  ])('%s is asked again, and never taken for "not done"', async (_, reply) => {
    const { call } = await set(reply, { kind: 'lookup' })
    expect(await call({ kind: 'lookup' })).toMatchObject({ as: 'failed', retryable: true })
  })

  it.each([
    ['will not be clearer another time', new PermanentError('lookup_ambiguous', 'two of them'), false],
    ['may be clearer another time', new RetryableError('lookup_unanswered', 'busy'), true],
  ])('an answer that the connector says %s is asked for again accordingly', async (_, thrown, retryable) => {
    const operation = createThing('lookup', {
      idempotency: {
        ...KINDS.lookup,
        found: () => {
          throw thrown
        },
      },
    })
    const { call } = await set((response) => json(response, 200, { results: [] }), { operation })
    expect(await call({ kind: 'lookup' })).toMatchObject({
      as: 'failed',
      code: thrown.code,
      retryable,
      reason: expect.stringContaining(thrown.message) as string,
    })
  })

  it('a 404 does not mean "not done": the question itself may be wrong', async () => {
    const { call } = await set((response) => json(response, 404, { results: [] }), { kind: 'lookup' })
    expect(await call({ kind: 'lookup' })).toMatchObject({ as: 'failed', retryable: false })
  })

  it('an answer that breaks the contract is quarantined', async () => {
    const { call } = await set((response) => json(response, 200, { results: [{ id: 't1' }] }), {
      kind: 'lookup',
    })
    expect(await call({ kind: 'lookup' })).toMatchObject({ as: 'quarantined', path: '/amount' })
  })

  it('serve a key whose lifetime is over, and are refused where there is none', async () => {
    const after = await set((response) => json(response, 200, { results: [] }), { kind: 'keyThenLookup' })
    expect((await after.call({ kind: 'lookup' })).as).toBe('not_found')
    expect(after.provider.received[0]!.url).toBe('/things?key=key_1')
    const none = await set(thing, { kind: 'none' })
    expect(await none.call({ kind: 'lookup' })).toMatchObject({
      as: 'failed',
      retryable: false,
      code: 'lookup_undeclared',
    })
    expect(none.provider.received).toEqual([])
  })

  it("are judged by the connector, not by rules for the operation's own answers", async () => {
    const operation = createThing('lookup', {
      classify: () => ({ as: 'failed', code: 'wrong', reason: 'wrong' }),
    })
    const { call } = await set((response) => json(response, 200, { results: [] }), { operation })
    expect((await call({ kind: 'lookup' })).as).toBe('not_found')
  })
})

describe('secrets', () => {
  it('are in no outcome, also where the provider gives them back', async () => {
    const echo: Reply = (response, { headers }, n) =>
      json(
        response,
        n % 2 === 0 ? 400 : 200,
        {
          id: 't',
          amount: 1,
          message: `bad token ${headers.authorization}`,
          key: headers.authorization!.slice(7),
        },
        { 'x-echo': headers.authorization! },
      )
    const { call } = await set(echo)
    for (const outcome of [await call(), await call()]) {
      const kept = JSON.stringify(outcome)
      expect(kept).not.toContain(SECRET)
      expect(kept).not.toContain(Buffer.from(SECRET).toString('base64').slice(4, -4))
    }
  })

  it('that the operation marks are taken out of request and answer', async () => {
    const operation = createThing('none', { secret: ['note'] })
    const { call } = await set((response) => json(response, 201, { id: 't', amount: 1, note: 'pin 4711' }), {
      operation,
    })
    const outcome = await call({ input: { amount: 1, note: 'pin 4711' } })
    expect(outcome.as).toBe('succeeded')
    expect(JSON.stringify(outcome)).not.toContain('4711')
  })
})
