import { lookup } from 'node:dns'
import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'
import { afterEach, describe, expect, it } from 'vitest'
import { seededRandom, systemClock, systemRandom } from '../../base/index.ts'
import type { AlertsDefinition } from '../../define/index.ts'
import { createEgress } from '../../egress/index.ts'
import { patientClock } from '../../egress/egress.fixture.ts'
import { openly, openMailServer, type MailServer } from '../incidents.fixture.ts'
import type { AlertPayload } from '../incident.ts'
import type { Told } from './channel.ts'
import { createChannels, type ChannelDeps } from './channels.ts'
import { ALERT_RETRY, endOf } from './outbox.ts'

const fixtures = new URL('../../egress/fixtures/', import.meta.url)
const CERTIFICATE = readFileSync(new URL('localhost-cert.pem', fixtures), 'utf8')
const KEY = readFileSync(new URL('localhost-key.pem', fixtures), 'utf8')
const SECRET = `whsec_${systemRandom.bytes(32).toString('base64')}`

const payload: AlertPayload = {
  incident: 'inc_1',
  kind: 'failing_calls',
  change: 'opened',
  title: 'Calls to acme.things.create fail',
  what: 'Calls to acme.things.create have failed 3 times in a row. The last answer: <b>down</b> & "out"',
  since: '2026-11-22T14:03:05.000Z',
  holdsUp: '3 runs wait for it.',
  todo: 'Look.',
  connection: 'acme',
  flow: null,
  at: '2026-11-22T14:03:09.000Z',
  resolution: null,
}
const alert = { id: 'alr_1', payload }

const open: { close(): Promise<unknown> }[] = []
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close()
})

async function tell(
  alerts: AlertsDefinition,
  over: Partial<ChannelDeps> = {},
  said: Partial<AlertPayload> = {},
): Promise<Told> {
  // The certificate is of this name.
  const egress = createEgress({
    clock: patientClock,
    resolve: (name, done) => {
      if (name === 'good.example') done(null, [{ address: '127.0.0.1', family: 4 }])
      else lookup(name, { all: true }, done)
    },
  })
  open.push(egress)
  const deps = { clock: systemClock, tenant: 'default', egress, standing: openly(alerts) }
  const [channel] = await createChannels(alerts, { ...deps, ...over })
  return channel!.tell({ ...alert, payload: { ...payload, ...said } })
}
async function mailServer(options: Parameters<typeof openMailServer>[0] = {}): Promise<MailServer> {
  const server = await openMailServer(options)
  open.push(server)
  return server
}
const email = (smtp: NonNullable<AlertsDefinition['email']>['smtp']): AlertsDefinition => ({
  email: { to: ['ada@example.com', 'bob@example.com'], from: 'Trestle <trestle@example.com>', smtp },
})

describe('an alert by e-mail', () => {
  it('has text and HTML, says that it is automatic, and what a provider said in it is text', async () => {
    const server = await mailServer()
    expect(
      await tell(email({ host: '127.0.0.1', port: server.port, tls: 'none', allowPrivateNetwork: true })),
    ).toEqual({
      as: 'told',
    })
    const [mail] = server.mails
    expect(mail!.messageId).toBe('<inc_1.opened@example.com>')
    expect(mail!.headers.get('auto-submitted')).toBe('auto-generated')
    expect(mail!.headers.get('content-type')).toMatchObject({ value: 'multipart/alternative' })
    expect(mail!.to).toMatchObject({ text: 'ada@example.com, bob@example.com' })
    expect(mail!.text).toContain('The last answer: <b>down</b> & "out"')
    expect(mail!.html).toContain('The last answer: &lt;b&gt;down&lt;/b&gt; &amp; &quot;out&quot;')
  })

  it('that is told again is another mail each time, in the thread of the opening', async () => {
    const server = await mailServer()
    const alerts = email({ host: '127.0.0.1', port: server.port, tls: 'none', allowPrivateNetwork: true })
    for (const at of ['2026-12-01T00:00:00.000Z', '2026-12-05T00:00:00.000Z'])
      expect(await tell(alerts, {}, { change: 'reminded', at })).toEqual({ as: 'told' })
    expect(new Set(server.mails.map(({ messageId }) => messageId)).size).toBe(2)
    for (const mail of server.mails) {
      expect(mail).toMatchObject({
        subject: 'Re: [Trestle] Calls to acme.things.create fail',
        inReplyTo: '<inc_1.opened@example.com>',
      })
      expect(mail.text).toContain('have failed 3 times in a row')
    }
  })

  it('logs in, over TLS from the first byte or by STARTTLS', async () => {
    for (const secure of [true, false]) {
      const logins: unknown[] = []
      const server = await mailServer({
        secure,
        disabledCommands: [],
        authOptional: false,
        key: KEY,
        cert: CERTIFICATE,
        onAuth({ username, password }, session, done) {
          logins.push({ username, password, secure: session.secure })
          done(null, { user: username })
        },
      })
      const smtp = {
        host: 'good.example',
        port: server.port,
        tls: secure,
        user: 'trestle',
        password: 'open sesame',
        allowPrivateNetwork: true,
      }
      const told = await tell(email(smtp), { ca: CERTIFICATE })
      expect(told).toEqual({ as: 'told' })
      expect(logins).toEqual([{ username: 'trestle', password: 'open sesame', secure: true }])
    }
  })

  it('does not go to a server without STARTTLS, and neither does the password', async () => {
    const server = await mailServer({ hideSTARTTLS: true, disabledCommands: ['STARTTLS'] })
    const smtp = { host: '127.0.0.1', port: server.port, user: 'trestle', password: 'open sesame' }
    expect(await tell(email({ ...smtp, allowPrivateNetwork: true }))).toMatchObject({
      as: 'failed',
      reason: expect.stringContaining('STARTTLS') as string,
    })
    expect(server.mails).toEqual([])
  })

  it('does not go to a server whose certificate nobody vouches for', async () => {
    const server = await mailServer({ secure: true, key: KEY, cert: CERTIFICATE })
    const told = await tell(
      email({ host: 'good.example', port: server.port, tls: true, allowPrivateNetwork: true }),
    )
    expect(told).toMatchObject({ as: 'failed' })
    expect(server.mails).toEqual([])
  })

  it('goes only where egress lets it', async () => {
    const server = await mailServer()
    for (const host of ['127.0.0.1', 'localhost', '169.254.169.254'])
      expect(await tell(email({ host, port: server.port }))).toMatchObject({
        as: 'failed',
        reason: expect.stringMatching(/^The address .* is (private|never called)/) as string,
      })
    expect(server.mails).toEqual([])
  })

  it('says who was refused, and fails where everybody was', async () => {
    const refusing = (who: RegExp) =>
      mailServer({
        onRcptTo: ({ address }, _session, done) =>
          who.test(address) ? done(new Error('no such user')) : done(),
      })
    const one = await refusing(/bob/)
    expect(
      await tell(email({ host: '127.0.0.1', port: one.port, tls: 'none', allowPrivateNetwork: true })),
    ).toEqual({
      as: 'told',
      note: 'The mail server refused bob@example.com.',
    })
    const all = await refusing(/./)
    expect(
      await tell(email({ host: '127.0.0.1', port: all.port, tls: 'none', allowPrivateNetwork: true })),
    ).toMatchObject({ as: 'failed' })
  })
})

describe('an alert by webhook', () => {
  async function receiver(
    status: number,
  ): Promise<{ url: string; came: { headers: Record<string, string>; body: string }[] }> {
    const came: { headers: Record<string, string>; body: string }[] = []
    const server: Server = createServer((request, response) => {
      const parts: Buffer[] = []
      request.on('data', (part: Buffer) => parts.push(part))
      request.on('end', () => {
        came.push({
          headers: request.headers as Record<string, string>,
          body: Buffer.concat(parts).toString(),
        })
        response.writeHead(status).end()
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    open.push({ close: () => new Promise((resolve) => server.close(resolve)) })
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/alerts`, came }
  }
  const webhook = (url: string): AlertsDefinition => ({
    webhook: { url, secret: SECRET, allowPrivateNetwork: true },
  })

  it('is signed so that the official package takes it, and no byte of it can be changed', async () => {
    const { url, came } = await receiver(204)
    expect(await tell(webhook(url))).toEqual({ as: 'told' })
    const { headers, body } = came[0]!
    expect(headers['webhook-id']).toBe('alr_1')
    expect(new Webhook(SECRET).verify(body, headers)).toMatchObject({
      type: 'incident.opened',
      timestamp: payload.at,
      data: { incident: 'inc_1', kind: 'failing_calls', what: payload.what, connection: 'acme' },
    })
    expect(() => new Webhook(SECRET).verify(`${body} `, headers)).toThrow(/signature/i)
  })

  it.each([
    [200, 'told'],
    [302, 'failed'],
    [410, 'refused'],
    [429, 'failed'],
    [503, 'failed'],
  ])('that is answered with %i is %s', async (status, as) => {
    const { url } = await receiver(status)
    expect((await tell(webhook(url))).as).toBe(as)
  })
})

describe('after an attempt', () => {
  const random = seededRandom('alerts')
  const now = 1_000_000
  it('an alert that was not taken is due again, later and later, and given up after three days', () => {
    const failed: Told = { as: 'failed', reason: 'down' }
    for (const attempt of [1, 5, 50]) {
      const end = endOf({ attempt, createdAt: now }, failed, now, random)
      expect(end.state).toBe('waiting')
      const wait = end.state === 'waiting' ? end.at - now : -1
      expect(wait).toBeGreaterThanOrEqual(0)
      expect(wait).toBeLessThanOrEqual(Math.min(ALERT_RETRY.cap, ALERT_RETRY.first * 2 ** (attempt - 1)))
    }
    const old = { attempt: 300, createdAt: now - ALERT_RETRY.horizon - 1 }
    expect(endOf(old, failed, now, random)).toEqual({ state: 'given_up' })
  })

  it('one that was taken is sent, and one that is wanted no more is given up', () => {
    expect(endOf({ attempt: 1, createdAt: now }, { as: 'told' }, now, random)).toEqual({ state: 'sent' })
    expect(endOf({ attempt: 1, createdAt: now }, { as: 'refused', reason: '410' }, now, random)).toEqual({
      state: 'given_up',
    })
  })
})
