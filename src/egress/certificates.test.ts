import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { createServer as createTlsServer, type PeerCertificate } from 'node:tls'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { selfSigned, type TestCertificate } from '../../tests/support/certificate.ts'
import { DAY, systemClock, type Clock } from '../base/index.ts'
import { createCertificates } from './certificates.ts'
import { closeAll, closeLater, egress, patientClock } from './egress.fixture.ts'
import type { Egress } from './index.ts'

/** To the second, as certificates have it. */
const now = Math.floor(systemClock.now() / 1000) * 1000
const inDays = (days: number): Date => new Date(now + days * DAY)
const first = selfSigned({ name: 'good.example', from: inDays(-85), endsAt: inDays(5) })
const second = selfSigned({ name: 'renewed.example', from: inDays(-1), endsAt: inDays(89) })

let passed = 0
/** A clock that can be moved by hand, as far as the time between two things is concerned. */
const clock: Clock = { ...patientClock, monotonic: () => patientClock.monotonic() + passed }
beforeEach(() => {
  passed = 0
})
afterEach(closeAll)

interface Shop {
  readonly url: string
  readonly port: number
  /** Whether each of its handshakes was a resumed one. */
  readonly resumed: boolean[]
  renew(certificate: TestCertificate): void
}

async function shop(certificate: TestCertificate): Promise<Shop> {
  const resumed: boolean[] = []
  // Each answer ends its connection, so that each request shakes hands.
  const server: Server = createServer(certificate, (_, response) => {
    response.writeHead(200, { connection: 'close' }).end('{}')
  })
  server.on('secureConnection', (socket) => resumed.push(socket.isSessionReused()))
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  closeLater({ close: () => new Promise((closed) => server.close(closed)) })
  const { port } = server.address() as AddressInfo
  return {
    url: `https://127.0.0.1:${port}`,
    port,
    resumed,
    renew(next) {
      const keys = server.getTicketKeys()
      server.setSecureContext(next)
      // As where several servers share them: sessions go on.
      server.setTicketKeys(keys)
    },
  }
}

async function ask(to: Egress, { url }: Shop): Promise<void> {
  const answer = await to.send({
    method: 'GET',
    url: `${url}/any?a=1`,
    headers: {},
    timeoutMs: 30_000,
    allowPrivate: true,
  })
  expect(answer).toMatchObject({ as: 'answered' })
}

it('says from when to when the certificate counts that a server showed', async () => {
  const at = await shop(first)
  const out = egress({ ca: first.cert })
  expect(out.certificateOf(at.url)).toBeUndefined()
  await ask(out, at)
  expect(out.certificateOf(`${at.url}/elsewhere`)).toEqual({ from: inDays(-85), endsAt: inDays(5) })
  expect(out.certificateOf(`https://127.0.0.1:${at.port + 1}/`)).toBeUndefined()
  expect(out.certificateOf(`http://127.0.0.1:${at.port}/`)).toBeUndefined()
  expect(out.certificateOf('no address')).toBeUndefined()
})

it('shakes hands in full once a day, as a session that is resumed shows a certificate that may be gone', async () => {
  const at = await shop(first)
  const out = egress({ ca: first.cert + second.cert, clock })
  for (let i = 0; i < 3; i++) await ask(out, at)
  // Control: sessions are resumed, and so the renewal is not seen.
  expect(at.resumed.at(-1)).toBe(true)
  at.renew(second)
  await ask(out, at)
  expect(at.resumed.at(-1)).toBe(true)
  expect(out.certificateOf(at.url)?.endsAt).toEqual(inDays(5))
  passed = DAY
  await ask(out, at)
  expect(at.resumed.at(-1)).toBe(false)
  expect(out.certificateOf(at.url)?.endsAt).toEqual(inDays(89))
})

it('knows that of a mail server, too, whose name is checked as before', async () => {
  const server = createTlsServer(first, (socket) => {
    socket.on('error', () => {})
    socket.write('220 mail.example ESMTP\r\n')
    socket.on('data', (line: Buffer) => {
      socket.write(line.toString().startsWith('QUIT') ? '221 bye\r\n' : '250 good\r\n')
    })
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  closeLater({ close: () => new Promise((closed) => server.close(closed)) })
  const { port } = server.address() as AddressInfo
  const out = egress({
    ca: first.cert,
    resolve: (_, done) => done(null, [{ address: '127.0.0.1', family: 4 }]),
  })
  const greet = (host: string) =>
    out.mail({ server: { host, port, security: 'tls' }, timeoutMs: 30_000, allowPrivate: true })
  expect(await greet('good.example')).toMatchObject({ as: 'answered', status: 250 })
  expect(out.certificateOf(`smtps://good.example:${port}`)?.endsAt).toEqual(inDays(5))
  expect(await greet('other.example')).toMatchObject({ as: 'not_sent', code: 'tls_failed' })
})

it('keeps those of so many servers and no more', () => {
  const certificates = createCertificates(systemClock, 2)
  const [valid_from, valid_to] = ['Nov  1 00:00:00 2026 GMT', 'Nov 28 00:00:00 2026 GMT']
  for (const host of ['a.example', 'b.example', 'a.example', 'c.example'])
    certificates.checkOf({ host, port: 443 })(host, { valid_from, valid_to, subject: {} } as PeerCertificate)
  const known = ['a', 'b', 'c'].filter((name) => certificates.of(`https://${name}.example/`) !== undefined)
  expect(known).toEqual(['a', 'c'])
})
