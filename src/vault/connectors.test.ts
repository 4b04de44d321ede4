import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { AnyConnector, ConnectionDefinition } from '../define/index.ts'
import { businessApp } from '../../connectors/business-app/index.ts'
import { calcom } from '../../connectors/calcom/index.ts'
import { easypost } from '../../connectors/easypost/index.ts'
import { createEasypostTwin } from '../../connectors/easypost/twin.ts'
import { hubspot } from '../../connectors/hubspot/index.ts'
import { createHubspotTwin } from '../../connectors/hubspot/twin.ts'
import { mailchimp } from '../../connectors/mailchimp/index.ts'
import { createMailchimpTwin } from '../../connectors/mailchimp/twin.ts'
import { quickbooks } from '../../connectors/quickbooks/index.ts'
import { createQuickbooksTwin } from '../../connectors/quickbooks/twin.ts'
import { stripe } from '../../connectors/stripe/index.ts'
import { twilio } from '../../connectors/twilio/index.ts'
import { xero } from '../../connectors/xero/index.ts'
import { createXeroTwin } from '../../connectors/xero/twin.ts'
import { env } from '../define/index.ts'
import { ENVIRONMENT, openVaultFixture, type VaultFixture } from './vault.fixture.ts'
import type { Vault } from './vault.ts'

const CONNECTORS: readonly AnyConnector[] = [
  stripe,
  twilio,
  calcom,
  quickbooks,
  xero,
  hubspot,
  easypost,
  mailchimp,
  businessApp,
]
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
  xero: xero.connect({
    ...LOCAL,
    tokenUrl: `${LOCAL.baseUrl}/connect/token`,
    settings: { tenantId: 'c2cc9b6e-9458-4c7d-93cc-f02b81b0594f' },
    secrets: {
      clientId: env('XERO_CLIENT_ID'),
      clientSecret: env('XERO_CLIENT_SECRET'),
      refreshToken: env('XERO_REFRESH_TOKEN'),
    },
    webhookSecrets: ['webhook-key'],
  }),
  hubspot: hubspot.connect({ ...LOCAL, secrets: { token: 'pat-1' }, webhookSecrets: ['client-secret'] }),
  easypost: easypost.connect({ ...LOCAL, secrets: { apiKey: 'EZTK1' }, webhookSecrets: ['hook-secret'] }),
  mailchimp: mailchimp.connect({
    ...LOCAL,
    settings: { server: 'us19' },
    secrets: { token: 'key-us19' },
    webhookSecrets: ['url-secret'],
  }),
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
  Object.assign(ENVIRONMENT, { XERO_CLIENT_ID: 'id', XERO_CLIENT_SECRET: 'secret', XERO_REFRESH_TOKEN: 'rt' })
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
      ['easypost', 'active', 'basic', 'easypost'],
      ['hubspot', 'active', 'bearer', 'hubspot'],
      ['mailchimp', 'active', 'bearer', 'mailchimp'],
      ['quickbooks', 'active', 'oauth2', 'quickbooks'],
      ['stripe', 'active', 'bearer', 'stripe'],
      ['twilio', 'active', 'basic', 'twilio'],
      ['xero', 'active', 'oauth2', 'xero'],
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
    expect(await sent('mailchimp')).toBe('Bearer key-us19')
    expect(await sent('twilio')).toBe(`Basic ${Buffer.from('SK1:twilio-secret').toString('base64')}`)
    expect(await sent('easypost')).toBe(`Basic ${Buffer.from('EZTK1:').toString('base64')}`)
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

  it('keep a key that is sent as the name of a user as secret as a password, in the form that is sent too', async () => {
    await vault.syncDeclared('default', DECLARED)
    const secret = async (name: string) => vault.secretValuesOf(await vault.loadConnection('default', name))
    expect(await secret('easypost')).toEqual(
      expect.arrayContaining(['EZTK1', Buffer.from('EZTK1:').toString('base64')]),
    )
    // Twilio's is the id of an account, and no secret.
    expect(await secret('twilio')).not.toContain('SK1')
  })

  it('are at the base URL of the account, where each has its own', async () => {
    const { baseUrl: _twin, ...declared } = DECLARED['mailchimp']!
    const at = async (server: string) => {
      await vault.syncDeclared('default', { mailchimp: { ...declared, settings: { server } } })
      return (await vault.loadConnection('default', 'mailchimp')).baseUrl
    }
    expect(await at('us19')).toBe('https://us19.api.mailchimp.com')
    expect(await at('us2')).toBe('https://us2.api.mailchimp.com')
    for (const server of ['evil.example/', 'evil.example#', 'a@evil.example', 'us19.evil', '{server}', ' '])
      await expect(at(server)).rejects.toThrow(/setting in braces, as letters, digits and hyphens/)
    await expect(at('')).rejects.toThrow(/needs the setting "server"/)
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

  it('Xero gets its tokens from the declared token URL, and its API takes them', async () => {
    const twin = createXeroTwin()
    await twin.start()
    try {
      Object.assign(ENVIRONMENT, {
        XERO_CLIENT_ID: 'xero-client',
        XERO_CLIENT_SECRET: 'xero-client-secret',
        XERO_REFRESH_TOKEN: twin.connectApp().refreshToken,
      })
      await vault.syncDeclared('default', {
        xero: { ...DECLARED['xero']!, baseUrl: twin.url, tokenUrl: twin.tokenUrl() },
      })
      const { headers } = await authorize('xero')
      const organisation = await fetch(`${twin.url}/api.xro/2.0/Organisation`, {
        headers: { ...headers, 'xero-tenant-id': twin.tenantId },
      })
      expect(organisation.status).toBe(200)
    } finally {
      await twin.stop()
    }
  })

  it.each([
    ['easypost', createEasypostTwin, 'apiKey', '/v2/addresses'],
    ['mailchimp', createMailchimpTwin, 'token', '/3.0/ping'],
  ] as const)('%s takes its key, and no other', async (name, create, field, path) => {
    const twin = create()
    await twin.start()
    try {
      const statusWith = async (key: string): Promise<number> => {
        await vault.syncDeclared('default', {
          [name]: { ...DECLARED[name]!, baseUrl: twin.url, secrets: { [field]: key } },
        })
        const { headers } = await authorize(name)
        return (await fetch(`${twin.url}${path}`, { headers })).status
      }
      expect(await statusWith(twin.apiKey)).toBe(200)
      expect(await statusWith('another')).toBe(401)
    } finally {
      await twin.stop()
    }
  })
})
