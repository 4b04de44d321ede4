/** What else leaves than calls: token endpoints, alerts by webhook and by mail. One policy holds for all of it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock, systemRandom } from '../../src/base/index.ts'
import { createEgress, type Egress, type EgressResult } from '../../src/egress/index.ts'
import { createChannels } from '../../src/incidents/alerts/channels.ts'
import { openly } from '../../src/incidents/incidents.fixture.ts'
import type { AlertsDefinition } from '../../src/define/index.ts'
import { askForTokens } from '../../src/vault/tokenEndpoint.ts'
import { ALERT } from './alert.ts'
import { openCanary, type Canary } from './canary.ts'
import { NAMES } from './forms.ts'
import { openNameServer, type NameServer } from './nameServer.ts'
import { PATIENCE, PATIENT_MS } from './patience.ts'

/** One of each kind; the battery has them all. */
const HOSTS = [
  '127.0.0.1',
  '127.1',
  '2130706433',
  '0x7f.1',
  '0177.0.0.1',
  '127.0.0.1.',
  '0',
  'localhost',
  'loop.example',
  'mapped.example',
  'metadata.google.internal',
  '169.254.169.254',
  '10.0.0.1',
]
/** As a URL writes IPv6, and as a mail server's host does. */
const HOSTS_6: readonly (readonly [url: string, host: string])[] = [
  ['[::1]', '::1'],
  ['[::ffff:127.0.0.1]', '::ffff:127.0.0.1'],
  ['[64:ff9b::7f00:1]', '64:ff9b::7f00:1'],
  ['[fe80::1]', 'fe80::1%lo'],
]

let canary: Canary
let names: NameServer
let egress: Egress
beforeAll(async () => {
  canary = await openCanary()
  // getaddrinfo reads numbers in every notation, which is how they come to a protocol without URLs.
  const numbers: Readonly<Record<string, readonly string[]>> = Object.fromEntries(
    ['127.1', '2130706433', '0x7f.1', '0177.0.0.1', '127.0.0.1.'].map((host) => [
      host.replace(/\.$/, ''),
      ['127.0.0.1'],
    ]),
  )
  names = await openNameServer(
    (name) => NAMES[name] ?? numbers[name] ?? (name === '0' ? ['0.0.0.0'] : undefined),
  )
  egress = createEgress({ clock: systemClock, policy: PATIENCE, resolve: names.resolve })
})
afterAll(async () => {
  await egress.destroy()
  await canary.close()
  await names.close()
})

const SECRET = `whsec_${systemRandom.bytes(32).toString('base64')}`
async function tell(alerts: AlertsDefinition): Promise<unknown> {
  const deps = { clock: systemClock, tenant: 'default', egress, standing: openly(alerts) }
  const [channel] = await createChannels(alerts, deps)
  return channel!.tell(ALERT)
}

const mail = (host: string, allowPrivateNetwork = false): AlertsDefinition => ({
  email: {
    to: 'ada@example.com',
    from: 'trestle@example.com',
    smtp: { host, port: canary.port, tls: true, allowPrivateNetwork },
  },
})

const askTokens = (tokenUrl: string, allowPrivateNetwork: boolean): Promise<EgressResult> =>
  askForTokens(
    (request) => egress.send(request),
    {
      tokenUrl,
      clientAuth: 'post',
      quirks: {},
      allowPrivateNetwork,
      clientId: 'id',
      clientSecret: 'secret-of-the-client',
      by: { kind: 'refresh_token', refreshToken: 'refresh-token' },
    },
    { timeoutMs: PATIENT_MS, mayLeave: () => true, onSent: () => undefined },
  )

/** It failed for its address, and for nothing else: otherwise there was nothing to refuse. */
const BY_POLICY = {
  as: 'failed',
  reason: expect.stringMatching(/is private|is never called|no address/) as string,
}

describe('no canary is hit by', () => {
  it.each([...HOSTS, ...HOSTS_6.map(([url]) => url)])('a token endpoint at %s', async (host) => {
    const before = canary.hits()
    expect(await askTokens(`https://${host}:${canary.port}/token`, false)).toMatchObject({ as: 'not_sent' })
    expect(canary.hits()).toBe(before)
  })

  it.each([...HOSTS, ...HOSTS_6.map(([url]) => url)])('an alert by webhook to %s', async (host) => {
    const before = canary.hits()
    const url = `https://${host}:${canary.port}/alerts`
    expect(await tell({ webhook: { url, secret: SECRET } })).toMatchObject(BY_POLICY)
    expect(canary.hits()).toBe(before)
  })

  it.each([...HOSTS, ...HOSTS_6.map(([, host]) => host)])('an alert by mail through %s', async (host) => {
    const before = canary.hits()
    expect(await tell(mail(host))).toMatchObject(BY_POLICY)
    expect(canary.hits()).toBe(before)
  })
})

it('the control: with leave to private networks, each of the three arrives', async () => {
  const before = canary.hits()
  expect(await askTokens(`http://loop.example:${canary.port}/token`, true)).toMatchObject({ as: 'answered' })
  expect(canary.hits()).toBe(before + 1)
  const url = `http://127.0.0.1:${canary.port}/`
  await tell({ webhook: { url, secret: SECRET, allowPrivateNetwork: true } })
  expect(canary.hits()).toBe(before + 2)
  // It is no mail server, so that is all.
  expect(await tell(mail('loop.example', true))).toMatchObject({ as: 'failed' })
  expect(canary.hits()).toBe(before + 3)
})
