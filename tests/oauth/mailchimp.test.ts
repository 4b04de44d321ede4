/**
 * A person authorizes Mailchimp in a browser: Trestle over HTTP, and the twin as Mailchimp's login server and API. What
 * is special: the token has no end and no successor, and the account says where its API is.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { mailchimp } from '../../connectors/mailchimp/index.ts'
import { createMailchimpTwin, type MailchimpTwin } from '../../connectors/mailchimp/twin.ts'
import { systemClock } from '../../src/base/index.ts'
import { createEgress, type Egress, type EgressRequest } from '../../src/egress/index.ts'
import { openServer, type ServerFixture } from '../../src/server/server.fixture.ts'
import type { Connection } from '../../src/vault/index.ts'
import { Browser, locationOf } from './browser.ts'

const CLIENT = { clientId: 'mailchimp-client', clientSecret: 'mailchimp-client-secret' }

let egress: Egress
let trestle: ServerFixture
let twin: MailchimpTwin
/** What the vault sent, on its way to Mailchimp. */
const sent: EgressRequest[] = []
/** Played in place of Mailchimp's answer, once. */
let insteadOf: { readonly path: string; readonly json: unknown } | undefined

beforeAll(async () => {
  egress = createEgress({ clock: systemClock })
  trestle = await openServer({ connectors: [mailchimp], send })
})
afterAll(async () => {
  await trestle.close()
  await egress.destroy()
})
beforeEach(async () => {
  twin = createMailchimpTwin()
  await twin.start()
})
afterEach(async () => {
  insteadOf = undefined
  sent.length = 0
  await twin.stop()
})

/** What is for Mailchimp goes to the twin: its login server, and the API of the data centre that the account has. */
async function send(request: EgressRequest): ReturnType<Egress['send']> {
  sent.push(request)
  const { origin, pathname } = new URL(request.url)
  const isMailchimp = /^https:\/\/(login|us1\.api)\.mailchimp\.com$/.test(origin)
  if (!isMailchimp && origin !== twin.url)
    return { as: 'not_sent', code: 'dns_failed', reason: `${origin} is nowhere.` }
  if (insteadOf?.path === pathname)
    return {
      as: 'answered',
      status: 200,
      headers: {},
      body: Buffer.from(JSON.stringify(insteadOf.json)),
      ms: 1,
    }
  return egress.send({ ...request, url: request.url.replace(origin, twin.url), allowPrivate: true })
}

let count = 0
async function connected(settings: Record<string, string> = {}): Promise<string> {
  const name = `mailchimp-${++count}`
  const definition = mailchimp.connect({ settings, secrets: CLIENT })
  await trestle.vault.addConnection({ tenant: 'default', name, definition, actor: 'operator:ada' })
  return name
}

/** Somebody opens the address, agrees at Mailchimp, and comes back. */
async function agree(name: string): Promise<{ readonly page: string; readonly id: string }> {
  const { status, json } = await trestle.post(`/api/v1/connections/${name}/authorizations`, {})
  expect([status, json.state]).toEqual([200, 'begun'])
  const browser = new Browser()
  const consent = locationOf(await browser.go(json.address))!
  expect(consent).toMatch(/^https:\/\/login\.mailchimp\.com\/oauth2\/authorize\?/)
  const back = locationOf(await browser.go(consent.replace('https://login.mailchimp.com', twin.url)))!
  return { page: (await browser.go(back)).text, id: json.id }
}
const loaded = (name: string): Promise<Connection> => trestle.vault.loadConnection('default', name)
const stateOf = async (id: string): Promise<{ state: string; code: string | null; reason: string }> =>
  (await trestle.get(`/api/v1/authorizations/${id}`)).json

/** A call over it has been answered with 401. */
async function isRefused(name: string): Promise<void> {
  const connection = await loaded(name)
  const { credentialVersion } = await trestle.vault.authorize(
    connection,
    { method: 'GET', url: connection.baseUrl, headers: {}, body: undefined },
    { idempotencyKey: 'k', now: systemClock.now() },
  )
  expect(await trestle.vault.refreshAfterUnauthorized(connection, credentialVersion)).toMatchObject({
    as: 'refused',
    code: 'credential_refused',
  })
}

/** Makes the connection's check, which is due, as a node does. */
async function checked(name: string): Promise<number> {
  const { id } = await loaded(name)
  const due = await trestle.vault.claimChecks('default', { checker: 'nod_1', most: 10 })
  const status = await pingWith(name)
  await trestle.vault.settleCheck(
    due.find((one) => one.id === id)!,
    'nod_1',
    {
      credential: status === 200 ? 'accepted' : 'refused',
      outcome: 'parked',
      code: undefined,
      reason: undefined,
    },
  )
  return status
}

async function pingWith(name: string): Promise<number> {
  const connection = await loaded(name)
  const url = `${connection.baseUrl}/3.0/ping`
  const request = { method: 'GET', url, headers: {}, body: undefined }
  const authorized = await trestle.vault.authorize(connection, request, {
    idempotencyKey: 'k',
    now: systemClock.now(),
  })
  const answer = await send({
    method: 'GET',
    url,
    headers: authorized.headers,
    timeoutMs: 5000,
    allowPrivate: false,
  })
  if (answer.as !== 'answered') throw new Error(answer.reason)
  return answer.status
}

describe('Mailchimp, authorized in a browser', () => {
  it('needs no refresh token, and is called at the data centre that the account names', async () => {
    const name = await connected()
    expect(await loaded(name)).toMatchObject({
      state: 'needs_reauthorization',
      baseUrl: 'https://{server}.api.mailchimp.com',
    })
    expect((await agree(name)).page).toContain('is authorized')
    expect(await loaded(name)).toMatchObject({
      state: 'active',
      baseUrl: 'https://us1.api.mailchimp.com',
      settings: { server: 'us1' },
    })
    expect(await pingWith(name)).toBe(200)
    const asked = sent.map(({ url }) => url)
    expect(asked).toEqual([
      'https://login.mailchimp.com/oauth2/token',
      'https://login.mailchimp.com/oauth2/metadata',
      'https://us1.api.mailchimp.com/3.0/',
      'https://us1.api.mailchimp.com/3.0/ping',
    ])
    // For years: nothing is refreshed, and nothing says that it ends.
    const listed = (await trestle.vault.listConnections('default')).find((one) => one.name === name)!
    expect([listed.tokenExpiresAt, listed.endings]).toEqual([undefined, []])
    expect(await trestle.vault.refreshAhead()).toBe(0)
  })

  it('waits for a person once the token was taken back, which its check confirms', async () => {
    const name = await connected()
    await agree(name)
    twin.oauth.revoke(twin.oauth.grants()[0]!)
    expect(await pingWith(name)).toBe(401)
    await isRefused(name)
    expect(await loaded(name)).toMatchObject({ state: 'active' })
    expect(await checked(name)).toBe(401)
    expect(await loaded(name)).toMatchObject({ state: 'needs_reauthorization' })
    expect((await agree(name)).page).toContain('is authorized')
    expect(await pingWith(name)).toBe(200)
  })

  it('goes on after a 401 that was a fault of Mailchimp', async () => {
    const name = await connected()
    await agree(name)
    await isRefused(name)
    expect(await checked(name)).toBe(200)
    expect(await loaded(name)).toMatchObject({ state: 'active' })
  })

  it('is refused where it opens another account than before', async () => {
    const name = await connected()
    await agree(name)
    await twin.stop()
    twin = createMailchimpTwin({ accountName: 'Another Salon' })
    await twin.start()
    const { id } = await agree(name)
    expect(await stateOf(id)).toMatchObject({ state: 'failed', code: 'account_differs' })
  })

  it('is refused where the account is at another data centre than the connection says', async () => {
    const { id } = await agree(await connected({ server: 'us19' }))
    expect(await stateOf(id)).toMatchObject({
      state: 'failed',
      code: 'account_differs',
      reason: expect.stringContaining('is for server us19, and the authorization is for us1') as string,
    })
  })

  it.each(['evil.example/', 'us1.evil', '{server}', 'us1@evil'])(
    'is refused where the data centre is %s: it would lead elsewhere',
    async (dc) => {
      insteadOf = { path: '/oauth2/metadata', json: { dc } }
      const { id } = await agree(await connected())
      expect(await stateOf(id)).toMatchObject({ state: 'failed', code: 'account_invalid' })
      expect(sent.filter(({ url }) => !url.startsWith('https://login.mailchimp.com/'))).toEqual([])
    },
  )

  it('takes an API key as before, which needs the setting', async () => {
    const definition = mailchimp.connect({ settings: { server: 'us1' }, secrets: { token: twin.apiKey } })
    const given = { tenant: 'default', actor: 'operator:ada' } as const
    await trestle.vault.addConnection({ ...given, name: 'by-key', definition })
    expect(await pingWith('by-key')).toBe(200)
    await expect(
      trestle.vault.addConnection({
        ...given,
        name: 'without-server',
        definition: mailchimp.connect({ secrets: { token: twin.apiKey } }),
      }),
    ).rejects.toThrow('it needs the setting "server" (the data centre')
  })

  it('at a twin that stands in for all of it', async () => {
    const definition = mailchimp.connect({
      baseUrl: twin.url,
      tokenUrl: twin.tokenUrl(),
      allowPrivateNetwork: true,
      secrets: CLIENT,
    })
    await trestle.vault.addConnection({
      tenant: 'default',
      name: 'at-twin',
      definition,
      actor: 'operator:ada',
    })
    const { json } = await trestle.post('/api/v1/connections/at-twin/authorizations', {})
    const page = await new Browser().follow(json.address)
    expect(page.text).toContain('is authorized')
    expect(sent.every(({ url }) => url.startsWith(twin.url))).toBe(true)
    expect(await pingWith('at-twin')).toBe(200)
  })
})
