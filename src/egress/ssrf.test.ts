import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../base/index.ts'
import { createDial } from './dial.ts'
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
  const egress = createEgress({ clock: systemClock, ...(resolve === undefined ? {} : { resolve }) })
  try {
    return await use(egress)
  } finally {
    await egress.destroy()
  }
}

const send = (egress: Egress, url: string, allowPrivate = false): Promise<EgressResult> =>
  egress.send({ method: 'GET', url, headers: {}, timeoutMs: 5000, allowPrivate })

/** Ways to write this machine, a private network or a metadata service as a URL's host. */
const FORMS = `
  127.0.0.1 127.1 127.0.1 2130706433 0x7f000001 0x7F000001 0x7f.1 0x7f.1. 0x7f.0x0.0x0.0x1 0177.0.0.1 0177.1
  017700000001 017700000001. 2130706433. 127.0.0.1. 127.1. 127.0.0.2 127.255.255.254 127.000.000.001 127.0x0.0.01
  0 0.0.0.0 0x0 00000000000 127.0.0.1%2e %31%32%37.0.0.1 ①②⑦.0.0.1 １２７.0.0.1 127。0。0。1 127．0．0．1 ①②⑦。①
  [::1] [0:0:0:0:0:0:0:1] [0000:0000:0000:0000:0000:0000:0000:0001] [::ffff:127.0.0.1] [::FFFF:127.0.0.1]
  [::ffff:7f00:1] [0:0:0:0:0:ffff:7f00:1] [::127.0.0.1] [::7f00:1] [::] [::ffff:0.0.0.0] [::ffff:0:7f00:1]
  [64:ff9b::7f00:1] [64:ff9b::127.0.0.1] [64:ff9b::a9fe:a9fe] [64:ff9b:1::7f00:1] [2002:7f00:1::] [2002:a9fe:a9fe::]
  [2002:7f00:0001:0000::1] [2001:0:0:0:0:0:80ff:fffe] [fe80::1] [fc00::1] [fd00::1] [fec0::1] [ff02::1] [100::1]
  [2001:db8::1] [3fff::1] [5f00::1] [::ffff:169.254.169.254] [::ffff:a00:1] [::ffff:10.0.0.1] [::ffff:192.168.0.1]
  [fd00:ec2::254] [fd20:ce::254] [fe80::a9fe:a9fe] 169.254.169.254 2852039166 0xa9fea9fe 0251.0376.0251.0376
  169.254.43518 169.16689662 0xa9.0xfe.0xa9.0xfe ①⑥⑨.②⑤④.①⑥⑨.②⑤④ 169.254.170.2 100.100.100.200 168.63.129.16
  192.0.0.192 10.0.0.1 10.1 167772161 0xa000001 012.0.0.1 172.16.0.1 172.31.255.255 192.168.0.1 192.168.1
  0xc0a80001 3232235521 100.64.0.1 198.18.0.1 192.0.2.1 198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1
  255.255.255.255 4294967295 0xffffffff localhost localhost. LOCALHOST ｌｏｃａｌｈｏｓｔ
`
  .trim()
  .split(/\s+/)

describe('the battery of forms', () => {
  it('reaches none of them, over https and http', async () => {
    const before = reached
    const outcomes = await withEgress(undefined, (egress) =>
      Promise.all(
        FORMS.flatMap((host) =>
          ['https', 'http'].map(async (scheme) => {
            const result = await send(egress, `${scheme}://${host}:${port}/`)
            return [host, scheme, result.as === 'not_sent' ? result.code : result.as] as const
          }),
        ),
      ),
    )
    expect(outcomes.length).toBeGreaterThanOrEqual(200)
    // Some resolvers know no name with a trailing dot.
    const expected = (host: string, outcome: string): boolean =>
      outcome === 'egress_denied' || (host === 'localhost.' && outcome === 'dns_failed')
    expect(outcomes.filter(([host, , outcome]) => !expected(host, outcome))).toEqual([])
    expect(reached).toBe(before)
  })

  it('is refused by the policy and not by chance: with leave, the loopback forms arrive', async () => {
    const before = reached
    for (const host of ['127.0.0.1', '2130706433', '0x7f.1', '①②⑦.0.0.1', 'localhost']) {
      const result = await withEgress(undefined, (egress) => send(egress, `http://${host}:${port}/`, true))
      expect([host, result.as]).toEqual([host, 'answered'])
    }
    expect(reached).toBe(before + 5)
  })

  it.each([
    '169.254.169.254',
    '[fd00:ec2::254]',
    '100.100.100.200',
    '168.63.129.16',
    '0.0.0.0',
    '[::]',
    '[64:ff9b::7f00:1]',
    '[2002:7f00:1::]',
    '[fe80::1]',
  ])('never reaches %s, even with leave to private networks', async (host) => {
    const result = await withEgress(undefined, (egress) => send(egress, `http://${host}:${port}/`, true))
    expect(result).toMatchObject({ as: 'not_sent', code: 'egress_denied' })
  })
})

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
  it('is looked at before a byte is written, whatever was resolved', () => {
    let destroyed = 0
    const socket = (remoteAddress: string | undefined): Socket =>
      ({ remoteAddress, destroyed: false, on: () => ({ destroy: () => destroyed++ }) }) as unknown as Socket
    const dial = (allowPrivate: boolean, peer: string | undefined): unknown => {
      let outcome: unknown
      const connect = createDial({
        policy: EGRESS_POLICY,
        allowPrivate,
        connectorOf: () => (_, done) => done(null, socket(peer)),
      })
      connect({ hostname: 'api.example', protocol: 'https:', port: '443' }, (...[error]) => {
        outcome = error === null ? 'connected' : (error as NodeJS.ErrnoException).code
      })
      return outcome
    }
    expect(dial(false, '8.8.8.8')).toBe('connected')
    expect(dial(true, '127.0.0.1')).toBe('connected')
    expect(destroyed).toBe(0)
    for (const peer of ['127.0.0.1', '::ffff:10.0.0.1', '169.254.169.254'])
      expect(dial(false, peer)).toBe('EGRESS_DENIED')
    expect(dial(false, undefined)).toBe('ECONNRESET')
    expect(destroyed).toBe(4)
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
