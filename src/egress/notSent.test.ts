import { readFileSync } from 'node:fs'
import { createServer as createTlsServer } from 'node:tls'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { turn } from '../base/index.ts'
import { createFakeClock } from '../testing/index.ts'
import { closeAll, closeLater, egress, post, toThisMachine, wire } from './egress.fixture.ts'
import { answer, openWire } from './wire.fixture.ts'

afterEach(closeAll)

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
      policy: { nameTimeoutMs: 60_000 },
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
    closeLater({ close: () => new Promise((resolve) => server.close(resolve)) })
    return { port: (server.address() as AddressInfo).port, received: () => received }
  }

  it('that an authority vouches for are accepted', async () => {
    const server = await tlsServer()
    const out = egress({ resolve: toThisMachine, ca: pem('cert') })
    expect(await post(out, `https://good.example:${server.port}/`)).toMatchObject({
      as: 'answered',
      status: 200,
    })
    await out.close()
  })

  it('that nobody vouches for, or that are for another name, stop it before anything is sent', async () => {
    const server = await tlsServer()
    expect(
      await post(egress({ resolve: toThisMachine }), `https://good.example:${server.port}/`),
    ).toMatchObject({
      as: 'not_sent',
      code: 'tls_failed',
    })
    expect(
      await post(egress({ resolve: toThisMachine, ca: pem('cert') }), `https://bad.example:${server.port}/`),
    ).toMatchObject({
      as: 'not_sent',
      code: 'tls_failed',
    })
    expect(server.received()).toBe('')
  })
})
