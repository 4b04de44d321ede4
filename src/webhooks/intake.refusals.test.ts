import { once } from 'node:events'
import { gzipSync } from 'node:zlib'
import { afterEach, describe, expect, it } from 'vitest'
import {
  ACCEPTED,
  bench,
  BODY,
  closeBenches,
  codes,
  openSocket,
  PATH,
  PUBLIC_URL,
  SECRET,
  send,
  signedHeaders,
  until,
  type Answer,
  type Bench,
  type Setting,
} from '../../tests/support/webhookBench.ts'
import { turn } from '../base/index.ts'
import { signatureSchemes, type AnyConnector } from '../define/index.ts'
import type { AcceptResult } from '../inbox/index.ts'
import type { Endpoint } from './endpoint.ts'
import { signPayload } from './sign.ts'

afterEach(closeBenches)

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
    ['accept', 'ack_timeout', () => hanging((hang) => ({ accept: hang, ackTimeoutMs: undefined }))],
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
