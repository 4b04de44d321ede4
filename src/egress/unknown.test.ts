import { Dispatcher } from 'undici'
import { afterEach, describe, expect, it } from 'vitest'
import { closeAll, egress, post, wire } from './egress.fixture.ts'
import { answer, type Script } from './wire.fixture.ts'

afterEach(closeAll)

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

function resetAfter(socket: Parameters<Script>[0], text: string): void {
  socket.write(text, () => setImmediate(() => socket.resetAndDestroy()))
}
