import { gzipSync } from 'node:zlib'
import { afterEach, describe, expect, it } from 'vitest'
import { turn } from '../base/index.ts'
import { createFakeClock } from '../testing/index.ts'
import { closeAll, egress, post, wire } from './egress.fixture.ts'
import { answer } from './wire.fixture.ts'

afterEach(closeAll)

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
    for (const headers of [`x-a: ${'y'.repeat(2000)}\r\n`, 'x-a: yyyyyyyyyyyyyy\r\n'.repeat(150)]) {
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
