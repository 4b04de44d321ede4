import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import { afterEach, describe, expect, it } from 'vitest'
import { closeAll, egress, post, wire } from './egress.fixture.ts'
import { answer } from './wire.fixture.ts'

afterEach(closeAll)

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
    const out = egress({ policy: { keepAliveMs: 600_000, keepAliveMaxMs: 600_000 } })
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
