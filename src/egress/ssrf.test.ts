import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../base/index.ts'
import { createCertificates } from './certificates.ts'
import { createDial } from './dial.ts'
import { patientClock } from './egress.fixture.ts'
import { createEgress, EGRESS_POLICY, type Egress, type EgressResult, type Resolve } from './index.ts'

/** A server on loopback that nobody may reach: every connection that it sees is a failure of the policy. */
let canary: Server
let port: number
let reached = 0

beforeAll(async () => {
  canary = createServer((socket) => {
    reached++
    socket
      .resume()
      .on('error', () => undefined)
      .end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n')
  })
  await new Promise<void>((resolve) => canary.listen({ port: 0, host: '::', ipv6Only: false }, resolve))
  port = (canary.address() as AddressInfo).port
})

afterAll(async () => {
  await new Promise((resolve) => canary.close(resolve))
})

const names =
  (table: Record<string, readonly string[]>): Resolve =>
  (hostname, done) => {
    const addresses = table[hostname.replace(/\.$/, '')]
    if (!addresses) return done(Object.assign(new Error('not found'), { code: 'ENOTFOUND' }), [])
    return done(
      null,
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    )
  }

async function withEgress<T>(resolve: Resolve | undefined, use: (egress: Egress) => Promise<T>): Promise<T> {
  const egress = createEgress({ clock: patientClock, ...(resolve === undefined ? {} : { resolve }) })
  try {
    return await use(egress)
  } finally {
    await egress.destroy()
  }
}

const send = (egress: Egress, url: string, allowPrivate = false): Promise<EgressResult> =>
  egress.send({ method: 'GET', url, headers: {}, timeoutMs: 5000, allowPrivate })

describe('names', () => {
  it('refuses a public name that resolves to a private address', async () => {
    const before = reached
    const table = {
      'evil.example': ['127.0.0.1'],
      'six.example': ['::1'],
      'mapped.example': ['::ffff:127.0.0.1'],
      'meta.example': ['169.254.169.254'],
    }
    await withEgress(names(table), async (egress) => {
      for (const host of [...Object.keys(table), 'evil.example.'])
        expect(await send(egress, `https://${host}:${port}/`)).toMatchObject({
          as: 'not_sent',
          code: 'egress_denied',
        })
    })
    expect(reached).toBe(before)
  })

  it('asks once per connection and connects to what was asked: a name that changes its answer gains nothing', async () => {
    const before = reached
    let asked = 0
    // A rebinding server: the first answer would pass any check, the second is this machine.
    const resolve: Resolve = (_, done) =>
      done(null, [{ address: asked++ === 0 ? '240.0.0.1' : '127.0.0.1', family: 4 }])
    await withEgress(resolve, async (egress) => {
      for (let i = 0; i < 5; i++)
        expect(await send(egress, `https://rebind.example:${port}/`)).toMatchObject({ code: 'egress_denied' })
    })
    expect(asked).toBe(5)
    expect(reached).toBe(before)
  })

  it('leaves the allowed addresses of a name that has both', async () => {
    await withEgress(names({ 'both.example': ['169.254.169.254', '127.0.0.1'] }), async (egress) => {
      expect(await send(egress, `http://both.example:${port}/`, true)).toMatchObject({ as: 'answered' })
    })
  })

  it('refuses http to a public address even where private networks are allowed', async () => {
    await withEgress(names({ 'public.example': ['8.8.8.8'] }), async (egress) => {
      const result = await send(egress, `http://public.example:${port}/`, true)
      expect(result).toMatchObject({ as: 'not_sent', code: 'egress_denied' })
      expect(result.as === 'not_sent' && result.reason).toContain('Use https')
    })
  })

  it('does not lend a socket that private leave opened to an exchange without it', async () => {
    await withEgress(undefined, async (egress) => {
      expect(await send(egress, `http://127.0.0.1:${port}/`, true)).toMatchObject({ as: 'answered' })
      expect(await send(egress, `http://127.0.0.1:${port}/`)).toMatchObject({ code: 'egress_denied' })
      expect(await send(egress, `https://127.0.0.1:${port}/`)).toMatchObject({ code: 'egress_denied' })
    })
  })
})

describe('the connected peer', () => {
  it('is looked at before a byte is written, whatever was resolved', async () => {
    // A route that lies: whatever address is asked for, the connection is to this machine.
    const astray = new Set<Socket>()
    const dial = (allowPrivate: boolean, protocol: string): Promise<unknown> =>
      new Promise((resolve) =>
        createDial({
          clock: patientClock,
          policy: EGRESS_POLICY,
          allowPrivate,
          certificates: createCertificates(systemClock, 10),
          resolve: (_, done) => done(null, [{ address: allowPrivate ? '10.0.0.1' : '8.8.8.8', family: 4 }]),
          connect: () => {
            const socket = connect({ port, host: '127.0.0.1' })
            astray.add(socket)
            return socket
          },
        })({ hostname: 'api.example', protocol, port: '443' }, (...[error, socket]) => {
          socket?.destroy()
          resolve(error === null ? 'connected' : (error as NodeJS.ErrnoException).code)
        }),
      )
    expect(await dial(false, 'https:')).toBe('EGRESS_DENIED')
    for (const socket of astray) expect([socket.destroyed, socket.bytesWritten]).toEqual([true, 0])
    expect(await dial(true, 'http:')).toBe('connected')
  })
})

describe('URLs', () => {
  it.each([
    'file:///etc/passwd',
    'ftp://example.com/',
    'gopher://127.0.0.1:6379/_x',
    'data:text/plain,x',
    'unix:/var/run/docker.sock',
    'https://user:secret@example.com/',
    '/relative',
    'https://',
    'http://[::1',
    '',
  ])('refuses %s', async (url) => {
    const result = await withEgress(undefined, (egress) => send(egress, url, true))
    expect(result).toMatchObject({ as: 'not_sent', code: 'egress_denied' })
  })
})
