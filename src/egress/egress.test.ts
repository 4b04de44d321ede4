import { readFileSync } from 'node:fs'
import { createServer as createTlsServer } from 'node:tls'
import type { AddressInfo } from 'node:net'
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import { Dispatcher } from 'undici'
import { afterEach, describe, expect, it } from 'vitest'
import { systemClock, turn } from '../base/index.ts'
import { createFakeClock } from '../testing/index.ts'
import {
  createEgress,
  type Egress,
  type EgressOptions,
  type EgressRequest,
  type EgressResult,
} from './index.ts'
import { answer, openWire, type Script, type Wire } from './wire.fixture.ts'

const open: { close(): Promise<unknown> }[] = []

afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close()
})

async function wire(script: Script, onConnect?: Parameters<typeof openWire>[1]): Promise<Wire> {
  const made = await openWire(script, onConnect)
  open.push(made)
  return made
}

function egress(options: Partial<EgressOptions> = {}): Egress {
  const made = createEgress({ clock: systemClock, ...options })
  open.push({ close: () => made.destroy() })
  return made
}

function post(to: Egress, url: string, more: Partial<EgressRequest> = {}): Promise<EgressResult> {
  return to.send({
    method: 'POST',
    url,
    headers: { 'content-type': 'application/json' },
    body: Buffer.from('{"amount":1999}'),
    timeoutMs: 30_000,
    allowPrivate: true,
    ...more,
  })
}

describe('an answer', () => {
  it('comes back as it is, with lower-case headers and repeated ones joined', async () => {
    const server = await wire((socket) =>
      socket.write(answer('{"id":1}', '201 Created', 'X-A: 1\r\nx-a: 2\r\nRequest-Id: r\r\n')),
    )
    const result = await post(egress(), `${server.url}?a=1`)
    expect(result).toMatchObject({
      as: 'answered',
      status: 201,
      headers: { 'x-a': '1, 2', 'request-id': 'r' },
    })
    expect(result.as === 'answered' && result.body.toString()).toBe('{"id":1}')
    expect(server.received()).toMatch(/^POST \/v1\/things\?a=1 HTTP\/1\.1\r\n/)
    expect(server.received()).toMatch(/\{"amount":1999\}$/)
  })

  it('is a redirect too: it is not followed', async () => {
    const elsewhere = await wire((socket) => socket.write(answer('')))
    const server = await wire((socket) =>
      socket.write(answer('', '308 Permanent Redirect', `location: ${elsewhere.url}\r\n`)),
    )
    const result = await post(egress(), server.url, { headers: { 'x-api-key': 'secret' } })
    expect(result).toMatchObject({ as: 'answered', status: 308 })
    expect(elsewhere.connections()).toBe(0)
  })

  it('may follow informational ones (RFC 9110, 15.2)', async () => {
    const server = await wire((socket) => {
      socket.write('HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n')
      socket.write(answer('done'))
    })
    expect(await post(egress(), server.url)).toMatchObject({ as: 'answered', status: 200 })
  })

  it('reuses the socket, and tells when bytes begin to leave', async () => {
    const server = await wire((socket) => socket.write(answer('x')))
    const out = egress()
    let sent = 0
    for (let i = 0; i < 5; i++) await post(out, server.url, { onSent: () => sent++ })
    expect(sent).toBe(5)
    // Two take turns: undici lets a socket rest for one turn of the event loop after an answer.
    expect(server.connections()).toBeLessThanOrEqual(2)
  })

  it.each([
    ['gzip', gzipSync],
    ['x-gzip', gzipSync],
    ['br', brotliCompressSync],
    ['deflate', deflateSync],
    ['deflate', deflateRawSync],
    ['identity', (body: Buffer): Buffer => body],
  ])('is decoded: %s', async (encoding, encode) => {
    const body = JSON.stringify({ list: Array.from({ length: 500 }, (_, i) => i) })
    const server = await wire((socket) =>
      socket.write(answer(encode(Buffer.from(body)), '200 OK', `content-encoding: ${encoding}\r\n`)),
    )
    const result = await post(egress(), server.url)
    expect(result.as === 'answered' && result.body.toString()).toBe(body)
    expect(server.received()).toContain('accept-encoding: gzip')
  })
})

describe('not sent: nothing left us, for certain', () => {
  it('a refused port', async () => {
    const server = await openWire(() => undefined)
    await server.close()
    let sent = 0
    const result = await post(egress(), server.url, { onSent: () => sent++ })
    expect(result).toMatchObject({ as: 'not_sent', code: 'connect_refused' })
    expect(sent).toBe(0)
  })

  it('a request that was withdrawn while it waited for its socket', async () => {
    const server = await wire((socket) => socket.write(answer('x')))
    const out = egress()
    let sent = 0
    const over = { onSent: () => sent++, mayLeave: () => false }
    expect(await post(out, server.url, over)).toMatchObject({ as: 'not_sent', code: 'withdrawn' })
    expect([sent, server.received()]).toEqual([0, ''])
    expect(await post(out, server.url, { mayLeave: () => true })).toMatchObject({ as: 'answered' })
  })

  it('a request whose time was over before its turn came, as after the process had stood still', async () => {
    const server = await wire((socket) => socket.write(answer('x')))
    expect(await post(egress(), server.url, { spentMs: 30_000 })).toMatchObject({
      as: 'not_sent',
      code: 'expired',
    })
    expect(server.received()).toBe('')
  })

  it('a name that does not resolve', async () => {
    const out = egress({
      resolve: (_, done) =>
        done(Object.assign(new Error('getaddrinfo EAI_AGAIN'), { code: 'EAI_AGAIN' }), []),
    })
    expect(await post(out, 'https://gone.example/')).toMatchObject({ as: 'not_sent', code: 'dns_failed' })
  })

  it('a connection that never comes about; and when it comes too late, it carries nothing', async () => {
    const server = await wire((socket) => socket.write(answer('x')))
    const clock = createFakeClock()
    let connect: (() => void) | undefined
    const out = egress({
      clock,
      resolve: (_, done) => {
        connect = () => done(null, [{ address: '127.0.0.1', family: 4 }])
      },
    })
    const result = post(out, `http://slow.example:${server.port}/`)
    await clock.advance(4_999)
    expect(await Promise.race([result, turn().then(() => 'waiting')])).toBe('waiting')
    await clock.advance(1)
    expect(await result).toMatchObject({ as: 'not_sent', code: 'connect_timeout' })
    connect!()
    await server.untilClosed(1)
    expect(server.received()).toBe('')
    expect(clock.pending()).toBe(0)
  })

  it('a place in the pool that does not get free in time', async () => {
    const server = await wire(() => undefined)
    const clock = createFakeClock()
    const out = egress({ clock, policy: { connectionsPerOrigin: 1 } })
    const first = post(out, server.url)
    await server.untilRequests(1)
    const second = post(out, server.url)
    await clock.advance(5_000)
    expect(await second).toMatchObject({ as: 'not_sent', code: 'connect_timeout' })
    await clock.advance(25_000)
    expect(await first).toMatchObject({ as: 'unknown', code: 'timeout' })
    await server.untilClosed(1)
    expect(server.requests()).toBe(1)
  })

  it('more exchanges than the origin may have in flight', async () => {
    const server = await wire(() => undefined)
    const out = egress({ policy: { inFlightPerOrigin: 2 } })
    const flying = [post(out, server.url), post(out, server.url)]
    expect(await post(out, server.url)).toMatchObject({ as: 'not_sent', code: 'egress_busy' })
    await out.destroy()
    await Promise.all(flying)
  })

  it('a server that closes before the TLS handshake is done, or that speaks no TLS', async () => {
    const closing = await wire(
      () => undefined,
      (socket) => socket.once('data', () => socket.destroy()),
    )
    const plain = await wire(
      () => undefined,
      (socket) => socket.once('data', () => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n')),
    )
    for (const server of [closing, plain])
      expect(await post(egress(), server.url.replace('http:', 'https:'))).toMatchObject({
        as: 'not_sent',
        code: 'tls_failed',
      })
  })

  it.each([
    ['a header with a line break', { headers: { 'x-a': 'b\r\nx-injected: 1' } }],
    ['a header name that is none', { headers: { 'x a': 'b' } }],
    ['a hop-by-hop header', { headers: { 'transfer-encoding': 'chunked' } }],
    ['a wrong length', { headers: { 'content-length': '3' } }],
    ['a method that is none', { method: 'PO ST' }],
  ])('%s', async (_, more) => {
    const server = await wire((socket) => socket.write(answer('x')))
    expect(await post(egress(), server.url, more)).toMatchObject({ as: 'not_sent', code: 'egress_denied' })
    expect(server.received()).toBe('')
  })

  it('a destroyed egress', async () => {
    const server = await wire((socket) => socket.write(answer('x')))
    const out = egress()
    await out.destroy()
    await out.destroy()
    expect(await post(out, server.url)).toMatchObject({ as: 'not_sent' })
    expect(server.connections()).toBe(0)
  })
})

describe('certificates', () => {
  const pem = (name: string): string =>
    readFileSync(new URL(`fixtures/localhost-${name}.pem`, import.meta.url), 'utf8')

  async function tlsServer(): Promise<{ port: number; received: () => string }> {
    let received = ''
    const server = createTlsServer({ key: pem('key'), cert: pem('cert') }, (socket) => {
      socket.on('error', () => undefined)
      socket.on('data', (chunk) => {
        received += chunk.toString()
        socket.end(answer('secure', '200 OK', 'connection: close\r\n'))
      })
    }).on('tlsClientError', () => undefined)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    open.push({ close: () => new Promise((resolve) => server.close(resolve)) })
    return { port: (server.address() as AddressInfo).port, received: () => received }
  }

  const resolve: EgressOptions['resolve'] = (_, done) => done(null, [{ address: '127.0.0.1', family: 4 }])

  it('that an authority vouches for are accepted', async () => {
    const server = await tlsServer()
    const out = egress({ resolve, ca: pem('cert') })
    expect(await post(out, `https://good.example:${server.port}/`)).toMatchObject({
      as: 'answered',
      status: 200,
    })
    await out.close()
  })

  it('that nobody vouches for, or that are for another name, stop it before anything is sent', async () => {
    const server = await tlsServer()
    expect(await post(egress({ resolve }), `https://good.example:${server.port}/`)).toMatchObject({
      as: 'not_sent',
      code: 'tls_failed',
    })
    expect(
      await post(egress({ resolve, ca: pem('cert') }), `https://bad.example:${server.port}/`),
    ).toMatchObject({
      as: 'not_sent',
      code: 'tls_failed',
    })
    expect(server.received()).toBe('')
  })
})

describe('unknown: it may have been done', () => {
  it('the server accepts, reads nothing and resets', async () => {
    const server = await wire(
      () => undefined,
      (socket) => {
        socket.pause()
        setImmediate(() => socket.resetAndDestroy())
      },
    )
    const results = await Promise.all(Array.from({ length: 8 }, () => post(egress(), server.url)))
    // Where the reset overtakes our write, nothing was sent; never is it said that an answer came.
    for (const result of results) expect(['unknown', 'not_sent']).toContain(result.as)
  })

  it.each([
    ['reset', 'reset', (socket) => socket.resetAndDestroy()],
    ['close', 'reset', (socket) => socket.end()],
    ['half a status line', 'reset', (socket) => socket.end('HTTP/1.1 20')],
    [
      'headers and no body',
      'truncated',
      (socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n'),
    ],
    [
      'half a body',
      'truncated',
      (socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345'),
    ],
    [
      'a reset in the body',
      'truncated',
      (socket) => resetAfter(socket, 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1'),
    ],
    [
      'half a chunk',
      'truncated',
      (socket) => socket.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nabc'),
    ],
    [
      'no last chunk',
      'truncated',
      (socket) => socket.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n'),
    ],
    [
      'a chunk with a broken size',
      'truncated',
      (socket) => socket.end('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc'),
    ],
    ['no HTTP at all', 'truncated', (socket) => socket.write('SSH-2.0-OpenSSH_9.2\r\n')],
    [
      'an upgrade nobody asked for',
      'reset',
      (socket) => socket.write('HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n'),
    ],
    [
      'gzip that is none',
      'truncated',
      (socket) => socket.write(answer('not gzip', '200 OK', 'content-encoding: gzip\r\n')),
    ],
    [
      'an encoding that we did not ask for',
      'truncated',
      (socket) => socket.write(answer('x', '200 OK', 'content-encoding: zstd\r\n')),
    ],
  ] satisfies [string, string, Script][])(
    'the server read the request and sends %s',
    async (_, code, script) => {
      const server = await wire(script)
      let sent = 0
      const result = await post(egress(), server.url, { onSent: () => sent++ })
      expect(result).toMatchObject({ as: 'unknown', code })
      expect(sent).toBe(1)
      expect(server.requests()).toBe(1)
    },
  )

  it('keeps the status line that came before the body broke', async () => {
    const server = await wire((socket) => socket.end('HTTP/1.1 422 No\r\ncontent-length: 10\r\n\r\n12345'))
    expect(await post(egress(), server.url)).toMatchObject({ as: 'unknown', code: 'truncated', status: 422 })
  })

  it('a socket kept alive that is reset just as we send: unknown, and not sent again on another', async () => {
    const server = await wire((socket, n) => (n === 1 ? socket.write(answer('x')) : socket.resetAndDestroy()))
    const out = egress()
    expect(await post(out, server.url)).toMatchObject({ as: 'answered' })
    for (const method of ['POST', 'GET'])
      expect(
        await post(out, server.url, { method, ...(method === 'GET' ? { body: undefined } : {}) }),
      ).toMatchObject({
        as: 'unknown',
        code: 'reset',
      })
    expect(server.requests()).toBe(3)
  })

  it('a socket kept alive whose close we have seen is not used', async () => {
    const server = await wire((socket, n) => {
      socket.write(answer('x'))
      if (n === 1) socket.end()
    })
    const out = egress()
    expect(await post(out, server.url)).toMatchObject({ as: 'answered' })
    await server.untilClosed(1)
    expect(await post(out, server.url)).toMatchObject({ as: 'answered' })
    expect(server.connections()).toBe(2)
  })

  it('one that waits behind a lost exchange is sent once, on a new socket', async () => {
    const server = await wire((socket, n) => (n === 1 ? socket.resetAndDestroy() : socket.write(answer('x'))))
    const out = egress({ policy: { connectionsPerOrigin: 1 } })
    const [first, second] = await Promise.all([post(out, server.url), post(out, server.url)])
    expect(first).toMatchObject({ as: 'unknown', code: 'reset' })
    expect(second).toMatchObject({ as: 'answered' })
    expect(server.requests()).toBe(2)
  })

  it('refuses a second write that a dispatcher would make of the same exchange', async () => {
    const aborted: unknown[] = []
    class Twice extends Dispatcher {
      override dispatch(_: unknown, handler: Dispatcher.DispatchHandler): boolean {
        const controller = (): Dispatcher.DispatchController =>
          ({
            abort: (reason: Error) => void aborted.push(reason),
          }) as unknown as Dispatcher.DispatchController
        handler.onRequestStart!(controller(), {})
        handler.onRequestStart!(controller(), {})
        return true
      }
      override async destroy(): Promise<void> {}
    }
    let sent = 0
    const result = await post(egress({ dispatcher: new Twice() }), 'http://127.0.0.1/', {
      onSent: () => sent++,
    })
    expect(result).toMatchObject({ as: 'unknown', code: 'reset' })
    expect(sent).toBe(1)
    expect(aborted).toHaveLength(1)
  })
})

describe('bounds', () => {
  it('no answer within the time: unknown, and the socket is cut', async () => {
    const server = await wire(() => undefined)
    const clock = createFakeClock()
    const result = post(egress({ clock }), server.url, { timeoutMs: 15_000 })
    await server.untilRequests(1)
    await clock.advance(14_999)
    expect(await Promise.race([result, turn().then(() => 'waiting')])).toBe('waiting')
    await clock.advance(1)
    expect(await result).toMatchObject({ as: 'unknown', code: 'timeout' })
    await server.untilClosed(1)
    expect(clock.pending()).toBe(0)
  })

  it('headers that never end, and bodies that drip, meet the same limit', async () => {
    for (const start of ['HTTP/1.1 200 OK\r\nx-a: ', 'HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n']) {
      let drip: (() => Promise<void>) | undefined
      const server = await wire((socket) => {
        drip = () => new Promise((resolve) => socket.write('.', () => resolve()))
        socket.write(start)
      })
      const clock = createFakeClock()
      const result = post(egress({ clock }), server.url, { timeoutMs: 15_000 })
      await server.untilRequests(1)
      for (let second = 0; second < 14; second++) {
        await drip!()
        await clock.advance(1_000)
      }
      expect(await Promise.race([result, turn().then(() => 'waiting')])).toBe('waiting')
      await clock.advance(1_000)
      expect(await result).toMatchObject({ as: 'unknown', code: 'timeout' })
      await server.untilClosed(1)
    }
  })

  it('a body over the limit is cut off while it comes, with and without a length', async () => {
    for (const head of ['content-length: 99999999', 'transfer-encoding: chunked']) {
      const server = await wire((socket) => {
        socket.write(`HTTP/1.1 200 OK\r\n${head}\r\n\r\n`)
        const more = (): void => {
          while (!socket.destroyed && socket.write(`1000\r\n${'x'.repeat(4096)}\r\n`));
          if (!socket.destroyed) socket.once('drain', more)
        }
        more()
      })
      const result = await post(egress({ policy: { maxBodyBytes: 100_000 } }), server.url)
      expect(result).toMatchObject({ as: 'unknown', code: 'too_large', status: 200 })
      await server.untilClosed(1)
    }
  })

  it('a body at the limit passes', async () => {
    const server = await wire((socket) => socket.write(answer('x'.repeat(1000))))
    const out = egress({ policy: { maxBodyBytes: 1000 } })
    expect(await post(out, server.url)).toMatchObject({ as: 'answered' })
  })

  it('headers over the limit are refused, in one line or in many', async () => {
    const out = egress({ policy: { maxHeaderBytes: 2000 } })
    for (const headers of [`x-a: ${'y'.repeat(2000)}\r\n`, 'x-a: yyyyyyyyyyyyyy\r\n'.repeat(200)]) {
      const server = await wire((socket) => socket.write(answer('x', '200 OK', headers)))
      expect(await post(out, server.url)).toMatchObject({ as: 'unknown', code: 'too_large' })
      expect(await post(egress(), server.url)).toMatchObject({ as: 'answered' })
    }
    const large = await wire((socket) =>
      socket.write(answer('x', '200 OK', `x-a: ${'y'.repeat(17_000)}\r\n`)),
    )
    expect(await post(egress(), large.url)).toMatchObject({ as: 'unknown', code: 'too_large' })
  })

  it('a small body that unpacks to a large one is refused before it is in memory', async () => {
    const bomb = gzipSync(Buffer.alloc(50 * 1024 * 1024))
    const server = await wire((socket) => socket.write(answer(bomb, '200 OK', 'content-encoding: gzip\r\n')))
    expect(await post(egress(), server.url)).toMatchObject({ as: 'unknown', code: 'too_large' })
  })

  it('the ratio is asked above the floor only, and the size always', async () => {
    const small = gzipSync(Buffer.alloc(60_000))
    expect(60_000 / small.length).toBeGreaterThan(100)
    const steep = gzipSync(Buffer.alloc(200_000))
    for (const [body, policy, outcome] of [
      [small, {}, 'answered'],
      [steep, {}, 'unknown'],
      [steep, { maxDecodeRatio: 2000 }, 'answered'],
      [steep, { maxDecodeRatio: 2000, maxBodyBytes: 100_000 }, 'unknown'],
    ] as const) {
      const server = await wire((socket) =>
        socket.write(answer(body, '200 OK', 'content-encoding: gzip\r\n')),
      )
      expect((await post(egress({ policy }), server.url)).as).toBe(outcome)
    }
  })
})

function resetAfter(socket: Parameters<Script>[0], text: string): void {
  socket.write(text, () => setImmediate(() => socket.resetAndDestroy()))
}
