import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { AnyConnector, ConnectionDefinition } from '../define/index.ts'
import { businessApp } from '../../connectors/business-app/index.ts'
import { calcom } from '../../connectors/calcom/index.ts'
import { hubspot } from '../../connectors/hubspot/index.ts'
import { createHubspotTwin } from '../../connectors/hubspot/twin.ts'
import { quickbooks } from '../../connectors/quickbooks/index.ts'
import { createQuickbooksTwin } from '../../connectors/quickbooks/twin.ts'
import { stripe } from '../../connectors/stripe/index.ts'
import { twilio } from '../../connectors/twilio/index.ts'
import { env } from '../define/index.ts'
import { ENVIRONMENT, openVaultFixture, type VaultFixture } from './vault.fixture.ts'
import type { Vault } from './vault.ts'

const CONNECTORS: readonly AnyConnector[] = [stripe, twilio, calcom, quickbooks, hubspot, businessApp]
const SIGNING_SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'
/** As for a twin on this machine. */
const LOCAL = { baseUrl: 'http://127.0.0.1:4100', allowPrivateNetwork: true }

const DECLARED: Readonly<Record<string, ConnectionDefinition>> = {
  stripe: stripe.connect({ ...LOCAL, secrets: { token: 'sk_test_1' }, webhookSecrets: ['whsec_stripe'] }),
  twilio: twilio.connect({
    ...LOCAL,
    settings: { accountSid: 'AC0123456789abcdef0123456789abcdef' },
    secrets: { username: 'SK1', password: 'twilio-secret' },
    webhookSecrets: ['twilio-auth-token'],
  }),
  calcom: calcom.connect({ ...LOCAL, secrets: { token: 'cal_1' }, webhookSecrets: ['cal-hook'] }),
  quickbooks: quickbooks.connect({
    ...LOCAL,
    tokenUrl: `${LOCAL.baseUrl}/oauth2/v1/tokens/bearer`,
    settings: { realmId: '9130347957983546' },
    secrets: {
      clientId: env('QBO_CLIENT_ID'),
      clientSecret: env('QBO_CLIENT_SECRET'),
      refreshToken: env('QBO_REFRESH_TOKEN'),
    },
    webhookSecrets: ['verifier-token'],
  }),
  hubspot: hubspot.connect({ ...LOCAL, secrets: { token: 'pat-1' }, webhookSecrets: ['client-secret'] }),
  app: businessApp.connect({ ...LOCAL, secrets: { signingSecret: SIGNING_SECRET } }),
}

let fixture: VaultFixture
let vault: Vault
beforeAll(async () => {
  fixture = await openVaultFixture()
  vault = fixture.node({ authOf: (name) => CONNECTORS.find((one) => one.name === name)?.auth })
})
afterAll(() => fixture.close())
beforeEach(async () => {
  await fixture.clear()
  Object.assign(ENVIRONMENT, { QBO_CLIENT_ID: 'id', QBO_CLIENT_SECRET: 'secret', QBO_REFRESH_TOKEN: 'rt' })
})

async function authorize(name: string) {
  return vault.authorize(
    await vault.loadConnection('default', name),
    { method: 'GET', url: `${LOCAL.baseUrl}/x`, headers: {}, body: undefined },
    { idempotencyKey: 'key_1', now: fixture.clock.now() },
  )
}

describe('the connectors that come with Trestle', () => {
  it('all take connections, each with its scheme, its endpoint and nothing that is missing', async () => {
    const { connections } = await vault.syncDeclared('default', DECLARED)
    expect(connections.map((one) => [one.name, one.change])).toEqual(
      Object.keys(DECLARED)
        .sort()
        .map((name) => [name, 'added']),
    )
    const listed = await vault.listConnections('default')
    expect(listed.map((one) => [one.name, one.state, one.auth?.kind, one.endpoint?.path])).toEqual([
      ['app', 'active', 'standard_webhooks', undefined],
      ['calcom', 'active', 'bearer', 'calcom'],
      ['hubspot', 'active', 'bearer', 'hubspot'],
      ['quickbooks', 'active', 'oauth2', 'quickbooks'],
      ['stripe', 'active', 'bearer', 'stripe'],
      ['twilio', 'active', 'basic', 'twilio'],
    ])
    for (const one of listed) expect(one).toMatchObject(LOCAL)
    expect((await vault.syncDeclared('default', DECLARED)).connections.map((one) => one.change)).toEqual(
      listed.map(() => 'unchanged'),
    )
  })

  it('authorize requests', async () => {
    await vault.syncDeclared('default', DECLARED)
    const sent = async (name: string) => (await authorize(name)).headers['authorization']
    expect(await sent('stripe')).toBe('Bearer sk_test_1')
    expect(await sent('calcom')).toBe('Bearer cal_1')
    expect(await sent('hubspot')).toBe('Bearer pat-1')
    expect(await sent('twilio')).toBe(`Basic ${Buffer.from('SK1:twilio-secret').toString('base64')}`)
    expect((await authorize('app')).headers['webhook-signature']).toMatch(/^v1,/)
  })

  it("need no webhook secret where events come by the API's token; with one they get an endpoint", async () => {
    const app = DECLARED['app']!
    await vault.syncDeclared('default', { app: { ...app, webhookSecrets: [] } })
    expect((await vault.loadConnection('default', 'app')).endpoint).toBeUndefined()
    await vault.syncDeclared('default', { app: { ...app, webhookSecrets: [SIGNING_SECRET] } })
    expect((await vault.loadConnection('default', 'app')).endpoint).toMatchObject({ path: 'app' })
    await vault.syncDeclared('default', { app: { ...app, webhookSecrets: [] } })
    expect((await vault.loadConnection('default', 'app')).endpoint).toBeUndefined()
  })

  it('are each refused without their secrets', async () => {
    for (const [name, { secrets: _none, ...rest }] of Object.entries(DECLARED))
      await expect(vault.syncDeclared('default', { [name]: rest })).rejects.toThrow(/has no secret/)
  })
})

describe('at a twin', () => {
  it('QuickBooks gets its tokens from the declared token URL, and its API takes them', async () => {
    const twin = createQuickbooksTwin()
    await twin.start()
    try {
      Object.assign(ENVIRONMENT, {
        QBO_CLIENT_ID: 'quickbooks-client',
        QBO_CLIENT_SECRET: 'quickbooks-client-secret',
        QBO_REFRESH_TOKEN: twin.connectApp().refreshToken,
      })
      await vault.syncDeclared('default', {
        quickbooks: { ...DECLARED['quickbooks']!, baseUrl: twin.url, tokenUrl: twin.tokenUrl() },
      })
      const { headers } = await authorize('quickbooks')
      const company = await fetch(`${twin.url}/v3/company/${twin.realmId}/companyinfo/${twin.realmId}`, {
        headers,
      })
      expect(company.status).toBe(200)
    } finally {
      await twin.stop()
    }
  })

  it('HubSpot takes the token of a private app', async () => {
    const twin = createHubspotTwin()
    await twin.start()
    try {
      const statusWith = async (token: string): Promise<number> => {
        await vault.syncDeclared('default', {
          hubspot: { ...DECLARED['hubspot']!, baseUrl: twin.url, secrets: { token } },
        })
        const { headers } = await authorize('hubspot')
        return (await fetch(`${twin.url}/crm/v3/objects/contacts?limit=1`, { headers })).status
      }
      expect(await statusWith('pat-twin')).toBe(200)
      expect(await statusWith('pat-other')).toBe(401)
    } finally {
      await twin.stop()
    }
  })
})
