import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { readFileSync } from 'node:fs'
import { Webhook } from 'standardwebhooks'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { HOUR, SECOND, systemRandom } from '../../base/index.ts'
import { ALERT_CONNECTIONS, type AlertsDefinition } from '../../define/index.ts'
import { createEgress, type Egress } from '../../egress/index.ts'
import { patientClock } from '../../egress/egress.fixture.ts'
import { dumpOf, leaksIn } from '../../../tests/support/leaks.ts'
import { ENVIRONMENT, openVaultFixture, storageOf, type VaultFixture } from '../../vault/vault.fixture.ts'
import type { Vault, VaultStorage } from '../../vault/index.ts'
import { openMailServer } from '../incidents.fixture.ts'
import { ALERT } from '../../../tests/egress/alert.ts'
import type { Channel } from './channel.ts'
import { createChannels } from './channels.ts'
import { alertConnections } from './connections.ts'

const fixtures = new URL('../../egress/fixtures/', import.meta.url)
const CERTIFICATE = readFileSync(new URL('localhost-cert.pem', fixtures), 'utf8')
const KEY = readFileSync(new URL('localhost-key.pem', fixtures), 'utf8')
const OLD = `whsec_${systemRandom.bytes(32).toString('base64')}`
const NEW = `whsec_${systemRandom.bytes(32).toString('base64')}`

let fixture: VaultFixture
let egress: Egress
const open: { close(): Promise<unknown> }[] = []
beforeAll(async () => {
  fixture = await openVaultFixture()
  // The certificate is of this name.
  egress = createEgress({
    clock: patientClock,
    resolve: (_, done) => done(null, [{ address: '127.0.0.1', family: 4 }]),
  })
})
beforeEach(() => fixture.clear())
afterEach(async () => {
  for (const one of open.splice(0)) await one.close()
})
afterAll(async () => {
  await egress.destroy()
  await fixture.close()
})

/** A vault that knows the connections of these alerts, as a node makes it. */
async function nodeFor(alerts: AlertsDefinition, storage?: VaultStorage): Promise<Vault> {
  const connections = alertConnections(alerts)
  const vault = fixture.node({
    authOf: (name) => connections[name]?.connector.auth,
    ...(storage && { storage }),
  })
  await vault.syncDeclared('default', connections)
  return vault
}
async function channelOf(alerts: AlertsDefinition, vault: Vault): Promise<Channel> {
  const [channel] = await createChannels(alerts, {
    clock: fixture.clock,
    tenant: 'default',
    egress,
    standing: (name) => vault.standing('default', name),
    ca: CERTIFICATE,
  })
  return channel!
}

interface Came {
  readonly headers: Record<string, string>
  readonly body: string
}
async function receiver(): Promise<{ readonly alerts: AlertsDefinition; readonly came: Came[] }> {
  const came: Came[] = []
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      came.push({
        headers: request.headers as Record<string, string>,
        body: Buffer.concat(parts).toString(),
      })
      response.writeHead(204).end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  open.push({ close: () => new Promise((resolve) => server.close(resolve)) })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/alerts?of=trestle`
  return {
    alerts: { webhook: { url, secret: { env: 'ALERTS_SECRET' }, allowPrivateNetwork: true } },
    came,
  }
}
/** Whether the receiver takes it, as the official package judges with the clock of the machine. */
function takes(secret: string, { headers, body }: Came): boolean {
  const id = headers['webhook-id']!
  const at = new Date(Number(headers['webhook-timestamp']) * 1000)
  return headers['webhook-signature']!.split(' ').includes(new Webhook(secret).sign(id, at, body))
}

/** A mail server that takes one password. */
async function mailbox(password: string) {
  const taken = { password, logins: [] as string[] }
  const server = await openMailServer({
    secure: true,
    disabledCommands: [],
    authOptional: false,
    key: KEY,
    cert: CERTIFICATE,
    onAuth({ password: given }, _session, done) {
      taken.logins.push(given!)
      if (given === taken.password) done(null, { user: 'trestle' })
      else done(new Error('no such password'))
    },
  })
  open.push(server)
  const smtp = { host: 'good.example', port: server.port, tls: true, allowPrivateNetwork: true }
  const alerts: AlertsDefinition = {
    email: {
      to: 'ada@example.com',
      from: 'trestle@example.com',
      smtp: { ...smtp, user: 'trestle', password: { env: 'SMTP_PASSWORD' } },
    },
  }
  return { alerts, server, taken }
}

describe('the secrets of alerts', () => {
  it('are sealed in the vault, and nowhere else', async () => {
    ENVIRONMENT['ALERTS_SECRET'] = OLD
    ENVIRONMENT['SMTP_PASSWORD'] = 'open sesame, please'
    const hook = await receiver()
    const mail = await mailbox('open sesame, please')
    const alerts = { ...hook.alerts, ...mail.alerts }
    const vault = await nodeFor(alerts)
    const both = await createChannels(alerts, {
      clock: fixture.clock,
      tenant: 'default',
      egress,
      standing: (name) => vault.standing('default', name),
      ca: CERTIFICATE,
    })
    for (const channel of both) expect(await channel.tell(ALERT)).toEqual({ as: 'told' })
    expect(takes(OLD, hook.came[0]!)).toBe(true)
    const { rows } = await fixture.database.pool.query<{ name: string; field: string }>(
      'select c.name, s.field from secrets s join connections c on c.tenant = s.tenant and c.id = s.connection_id order by 1, 2',
    )
    expect(rows).toEqual([
      { name: ALERT_CONNECTIONS.email, field: 'password' },
      { name: ALERT_CONNECTIONS.email, field: 'username' },
      { name: ALERT_CONNECTIONS.webhook, field: 'signingSecret' },
    ])
    expect(leaksIn(await dumpOf(fixture.database.pool), [OLD, 'open sesame, please'])).toEqual([])
  })

  it('may be given to the vault alone, and what the configuration leaves out stays there', async () => {
    const { alerts, came } = await receiver()
    const withoutSecret: AlertsDefinition = {
      webhook: { url: alerts.webhook!.url, allowPrivateNetwork: true },
    }
    await expect(nodeFor(withoutSecret)).rejects.toThrow(
      'Connection "alerts-webhook": it has no secret "signingSecret". Declare it in "alerts", or give it with: trestle connections add alerts-webhook',
    )
    const { connector } = alertConnections(withoutSecret)[ALERT_CONNECTIONS.webhook]!
    await fixture.vault.addConnection({
      tenant: 'default',
      name: ALERT_CONNECTIONS.webhook,
      actor: 'operator:ada',
      definition: connector.connect({ secrets: { signingSecret: OLD } }),
    })
    const channel = await channelOf(withoutSecret, await nodeFor(withoutSecret))
    expect(await channel.tell(ALERT)).toEqual({ as: 'told' })
    expect(takes(OLD, came[0]!)).toBe(true)
  })

  it.each([
    [undefined, /ALERTS_SECRET, which is not set. Set it, or .* trestle connections add alerts-webhook/],
    ['short', /comes from .* ALERTS_SECRET, and it is no Standard Webhooks secret.*openssl rand/],
  ])('that are %s keep a node from starting, with what to do', async (secret, words) => {
    if (secret !== undefined) ENVIRONMENT['ALERTS_SECRET'] = secret
    await expect(nodeFor((await receiver()).alerts)).rejects.toThrow(words)
  })

  it('that do not open keep a node from starting, with what to do', async () => {
    ENVIRONMENT['ALERTS_SECRET'] = OLD
    const { alerts } = await receiver()
    const vault = await nodeFor(alerts)
    // The last byte becomes another, whatever it was.
    await fixture.database.pool.query(
      `update secrets set sealed = set_byte(sealed, length(sealed) - 1, 255 - get_byte(sealed, length(sealed) - 1))`,
    )
    await expect(channelOf(alerts, vault)).rejects.toMatchObject({
      code: 'secret_unreadable',
      message: expect.stringContaining('trestle connections add') as string,
    })
  })
})

describe('the secret that alerts are signed with, rotated', () => {
  it('signs together with the former one until the overlap ends, so that either side may change first', async () => {
    ENVIRONMENT['ALERTS_SECRET'] = OLD
    const { alerts, came } = await receiver()
    const vault = await nodeFor(alerts)
    const channel = await channelOf(alerts, vault)
    const wish = { secrets: { signingSecret: NEW }, overlapMs: HOUR }
    await vault.rotate('default', ALERT_CONNECTIONS.webhook, wish, 'operator:ada')
    await channel.tell(ALERT)
    expect([takes(OLD, came[0]!), takes(NEW, came[0]!)]).toEqual([true, true])
    await fixture.clock.advance(HOUR + 10 * SECOND)
    await channel.tell(ALERT)
    expect([takes(OLD, came[1]!), takes(NEW, came[1]!)]).toEqual([false, true])
    // The configuration that has the former one still does not bring it back.
    await vault.syncDeclared('default', alertConnections(alerts))
    await channel.tell(ALERT)
    expect([takes(OLD, came[2]!), takes(NEW, came[2]!)]).toEqual([false, true])
  })
})

describe('the password of the mail server that alerts go through', () => {
  it('is the former one once more where the new one is refused, within the overlap', async () => {
    ENVIRONMENT['SMTP_PASSWORD'] = 'former password'
    const { alerts, server, taken } = await mailbox('former password')
    const vault = await nodeFor(alerts)
    const channel = await channelOf(alerts, vault)
    const wish = { secrets: { password: 'new password' }, overlapMs: HOUR }
    await vault.rotate('default', ALERT_CONNECTIONS.email, wish, 'operator:ada')
    expect(await channel.tell(ALERT)).toEqual({ as: 'told' })
    expect(taken.logins).toEqual(['new password', 'former password'])
    expect(server.mails).toHaveLength(1)
    taken.password = 'new password'
    expect(await channel.tell(ALERT)).toEqual({ as: 'told' })
    expect(server.mails).toHaveLength(2)
  })

  it('is tried also after it was refused: an alert that could go out is never kept back', async () => {
    ENVIRONMENT['SMTP_PASSWORD'] = 'the password'
    const { alerts, server, taken } = await mailbox('none')
    const channel = await channelOf(alerts, await nodeFor(alerts))
    expect(await channel.tell(ALERT)).toMatchObject({ as: 'failed' })
    await fixture.database.pool.query(`update connections set state = 'needs_reauthorization'`)
    await fixture.clock.advance(10 * SECOND)
    taken.password = 'the password'
    expect(await channel.tell(ALERT)).toEqual({ as: 'told' })
    expect(server.mails).toHaveLength(1)
  })
})

describe('while the database is away', () => {
  /** A node whose database goes away in one of two ways, once it was used. */
  async function left(how: string) {
    ENVIRONMENT['ALERTS_SECRET'] = OLD
    const { alerts, came } = await receiver()
    const whole = storageOf(fixture.database)
    let away = false
    const reader: VaultStorage['reader'] = {
      query: (...asked: Parameters<typeof whole.reader.query>) =>
        !away
          ? whole.reader.query(...asked)
          : how === 'refuses'
            ? Promise.reject(new Error('the connection was refused'))
            : new Promise<never>(() => {}),
    }
    const vault = await nodeFor(alerts, { ...whole, reader })
    const channel = await channelOf(alerts, vault)
    const connection = await vault.loadConnection('default', ALERT_CONNECTIONS.webhook)
    away = true
    // What was opened before is in memory no more.
    await fixture.clock.advance(10 * SECOND)
    return { vault, channel, connection, came }
  }

  it.each(['refuses', 'hangs'])('an alert goes out signed, where it %s', async (how) => {
    const { channel, came } = await left(how)
    const state = { over: false }
    const telling = channel.tell(ALERT).finally(() => (state.over = true))
    while (!state.over) await fixture.clock.advance(3 * SECOND)
    expect(await telling).toEqual({ as: 'told' })
    expect(takes(OLD, came[0]!)).toBe(true)
  })

  it('CONTROL: what calls authorize with is not there', async () => {
    const { vault, connection } = await left('refuses')
    const request = { method: 'POST', url: 'https://x.example', headers: {}, body: undefined }
    await expect(vault.authorize(connection, request, { idempotencyKey: 'k', now: 0 })).rejects.toThrow(
      'refused',
    )
  })
})
