import { Socket } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { turn } from '../base/index.ts'
import { createFakeClock } from '../testing/index.ts'
import { openTcp } from './dial.ts'
import { closeAll, egress, post, toThisMachine, wire } from './egress.fixture.ts'
import { EGRESS_POLICY } from './policy.ts'
import { answer } from './wire.fixture.ts'

afterEach(closeAll)

const state = (result: Promise<unknown>): Promise<unknown> =>
  Promise.race([result, turn().then(() => 'waiting')])

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await turn()
}

describe('each phase has its own time', () => {
  it('the name: a resolver that says nothing', async () => {
    const clock = createFakeClock()
    const result = post(egress({ clock, resolve: () => undefined }), 'https://slow.example/')
    await clock.advance(3_999)
    expect(await state(result)).toBe('waiting')
    await clock.advance(1)
    expect(await result).toMatchObject({ as: 'not_sent', code: 'dns_failed' })
    expect(clock.pending()).toBe(0)
  })

  it('the connection: a host that lets SYNs fall', async () => {
    const clock = createFakeClock()
    const socket = new Socket()
    const opened = openTcp(
      { host: '192.0.2.1', port: 443, refusalOf: () => undefined },
      { clock, policy: EGRESS_POLICY, connect: () => socket },
    ).catch((error: unknown) => error)
    await clock.advance(3_999)
    expect(await state(opened)).toBe('waiting')
    await clock.advance(1)
    expect(await opened).toMatchObject({ code: 'ETIMEDOUT' })
    expect([socket.destroyed, clock.pending()]).toEqual([true, 0])
  })

  it('TLS: a server that takes the connection and says nothing', async () => {
    const server = await wire(() => undefined)
    const clock = createFakeClock()
    const result = post(egress({ clock, resolve: toThisMachine }), `https://mute.example:${server.port}/`)
    await until(() => server.received() !== '')
    await clock.advance(3_999)
    expect(await state(result)).toBe('waiting')
    await clock.advance(1)
    expect(await result).toMatchObject({ as: 'not_sent', code: 'tls_failed' })
    await server.untilClosed(1)
    expect(clock.pending()).toBe(0)
  })

  it('the first byte: informational answers and half a head do not lengthen it', async () => {
    for (const start of ['', 'HTTP/1.1 102 Processing\r\n\r\n', 'HTTP/1.1 200 OK\r\nx-a: ']) {
      const server = await wire((socket) => socket.write(start))
      const clock = createFakeClock()
      const result = post(egress({ clock }), server.url, { timeoutMs: 600_000 })
      await server.untilRequests(1)
      await clock.advance(59_999)
      expect(await state(result)).toBe('waiting')
      await clock.advance(1)
      expect(await result).toMatchObject({ as: 'unknown', code: 'timeout' })
      await server.untilClosed(1)
      expect(clock.pending()).toBe(0)
    }
  })

  it('between bytes: a body that comes in pieces goes on, and one that falls silent does not', async () => {
    let say = (_text: string): void => {}
    const server = await wire((socket) => {
      say = (text) => socket.write(text)
      socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n')
    })
    const clock = createFakeClock()
    const heard = { pieces: 0, head: false }
    const watched = {
      ...clock,
      monotonic: () => (heard.pieces++, clock.monotonic()),
      after: (ms: number, wake: () => void) => {
        if (ms === EGRESS_POLICY.idleTimeoutMs) heard.head = true
        return clock.after(ms, wake)
      },
    }
    const result = post(egress({ clock: watched }), server.url, { timeoutMs: 600_000 })
    // The silence is watched from the head on, and the clock is read for each piece: so this test knows what has come.
    await until(() => heard.head)
    const piece = async (text: string): Promise<void> => {
      const before = heard.pieces
      say(text)
      await until(() => heard.pieces > before)
    }
    for (let i = 0; i < 5; i++) {
      await piece('1\r\nx\r\n')
      await clock.advance(14_000)
      expect(await state(result)).toBe('waiting')
    }
    await clock.advance(1_000)
    expect(await result).toMatchObject({ as: 'unknown', code: 'timeout', status: 200 })
    await server.untilClosed(1)
    expect(clock.pending()).toBe(0)
  })

  it('all of them together: what every phase allows for itself still ends', async () => {
    const server = await wire((socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx'))
    const clock = createFakeClock()
    const result = post(egress({ clock }), server.url, { timeoutMs: 10_000 })
    await server.untilRequests(1)
    await clock.advance(10_000)
    expect(await result).toMatchObject({ as: 'unknown', code: 'timeout' })
  })
})

describe('an answer that is mostly head', () => {
  it('has its fields counted, repeated ones each', async () => {
    const fields = (count: number, name: (i: number) => string): string =>
      Array.from({ length: count }, (_, i) => `${name(i)}: 1\r\n`).join('')
    for (const name of [(i: number) => `x-${i}`, () => 'x-a']) {
      // The length is a field too.
      const most = await wire((socket) => socket.write(answer('x', '200 OK', fields(199, name))))
      expect(await post(egress(), most.url)).toMatchObject({ as: 'answered' })
      const over = await wire((socket) => socket.write(answer('x', '200 OK', fields(200, name))))
      expect(await post(egress(), over.url)).toMatchObject({ as: 'unknown', code: 'too_large', status: 200 })
      expect(await post(egress({ policy: { maxHeaders: 1000 } }), over.url)).toMatchObject({ as: 'answered' })
    }
  })

  it('ends where informational answers do not', async () => {
    const early = (count: number): string => 'HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n'.repeat(count)
    const some = await wire((socket) => socket.write(early(10) + answer('x').toString()))
    expect(await post(egress(), some.url)).toMatchObject({ as: 'answered' })
    const many = await wire((socket) => socket.write(early(11) + answer('x').toString()))
    expect(await post(egress(), many.url)).toMatchObject({ as: 'unknown', code: 'truncated' })
  })

  it('and trailers count as head', async () => {
    const server = await wire((socket) =>
      socket.write(
        `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx-a: ${'y'.repeat(17_000)}\r\n\r\n`,
      ),
    )
    expect(await post(egress(), server.url)).toMatchObject({ as: 'unknown', code: 'too_large' })
  })
})
