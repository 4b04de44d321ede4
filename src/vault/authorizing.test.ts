import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createHubspotTwin } from '../../connectors/hubspot/twin.ts'
import { hubspot } from '../../connectors/hubspot/index.ts'
import { createQuickbooksTwin } from '../../connectors/quickbooks/twin.ts'
import { quickbooks } from '../../connectors/quickbooks/index.ts'
import { createXeroTwin } from '../../connectors/xero/twin.ts'
import { xero } from '../../connectors/xero/index.ts'
import { HOUR, MINUTE, SECOND } from '../base/index.ts'
import type { AnyConnector } from '../define/index.ts'
import {
  answering,
  by,
  openAuthorizingFixture,
  SCHEME,
  secrets,
  type AuthorizingFixture,
} from './authorizing.fixture.ts'
import { connectorWith } from './vault.fixture.ts'

/** What an authorization says of the account, and what a node leaves that dies in one. */
let fixture: AuthorizingFixture
beforeAll(async () => {
  fixture = await openAuthorizingFixture()
})
afterAll(() => fixture.close())
beforeEach(() => fixture.clear())

const node: AuthorizingFixture['node'] = (changes) => fixture.node(changes)
const connected: AuthorizingFixture['connected'] = (...given) => fixture.connected(...given)
const agree: AuthorizingFixture['agree'] = (...given) => fixture.agree(...given)
const stateOf: AuthorizingFixture['stateOf'] = (name) => fixture.stateOf(name)

/** A twin's page agrees at once. */
async function byTwin(location: string): Promise<string> {
  const answer = await fetch(location, { redirect: 'manual' })
  return answer.headers.get('location')!
}

describe('at the twin of', () => {
  const secrets = { clientId: 'twin-client', clientSecret: 'twin-secret' }

  it('HubSpot a person agrees, by its own addresses, and the grant is taken back when the connection goes', async () => {
    const twin = createHubspotTwin({
      clock: fixture.clock,
      client: { id: 'twin-client', secret: 'twin-secret' },
    })
    const baseUrl = await twin.start()
    try {
      const vault = node()
      const options = { baseUrl, tokenUrl: '/oauth/v1/token', allowPrivateNetwork: true, secrets }
      await connected(vault, 'crm', hubspot as AnyConnector, options)
      expect(await stateOf('crm')).toBe('needs_reauthorization')
      expect((await agree(vault, 'crm', byTwin)).state).toBe('granted')
      expect(await stateOf('crm')).toBe('active')
      await vault.syncDeclared('default', {})
      expect(await vault.removeConnection('default', 'crm', 'operator:ada')).toEqual({ as: 'revoked' })
      expect(twin.oauth.grants().map(({ revoked }) => revoked)).toEqual([true])
    } finally {
      await twin.stop()
    }
  })

  it('QuickBooks the company comes with the callback, and stays over a start with the same configuration', async () => {
    const twin = createQuickbooksTwin({
      clock: fixture.clock,
      client: { id: 'twin-client', secret: 'twin-secret' },
    })
    const baseUrl = await twin.start()
    try {
      const vault = node()
      const options = { baseUrl, tokenUrl: twin.tokenUrl(), allowPrivateNetwork: true, secrets }
      await connected(vault, 'books', quickbooks as AnyConnector, options)
      expect(await agree(vault, 'books', byTwin)).toMatchObject({ state: 'granted' })
      const settings = { realmId: twin.realmId }
      expect((await vault.loadConnection('default', 'books')).settings).toEqual(settings)
      await connected(vault, 'books', quickbooks as AnyConnector, options)
      expect(await node().loadConnection('default', 'books')).toMatchObject({ settings, state: 'active' })
    } finally {
      await twin.stop()
    }
  })

  it('Xero the one organisation that it opens is taken', async () => {
    const twin = createXeroTwin({
      clock: fixture.clock,
      client: { id: 'twin-client', secret: 'twin-secret' },
    })
    const baseUrl = await twin.start()
    try {
      const vault = node()
      const options = { baseUrl, tokenUrl: twin.tokenUrl(), allowPrivateNetwork: true, secrets }
      await connected(vault, 'ledger', xero as AnyConnector, options)
      expect(await agree(vault, 'ledger', byTwin)).toMatchObject({ state: 'granted' })
      expect((await vault.loadConnection('default', 'ledger')).settings).toEqual({ tenantId: twin.tenantId })
    } finally {
      await twin.stop()
    }
  })
})

describe('the account', () => {
  const shops = connectorWith('shops', {
    ...SCHEME,
    account: [
      {
        from: {
          kind: 'choice',
          url: '/shops',
          id: 'key',
          name: 'label',
          only: { field: 'kind', is: 'shop' },
        },
        to: { kind: 'setting', name: 'shop' },
      },
    ],
  })
  const several = {
    '/shops': [
      { key: 's1', label: 'Harbour', kind: 'shop' },
      { key: 's2', label: 'Station', kind: 'shop' },
      { key: 'p1', label: 'Practice', kind: 'practice' },
    ],
  }

  it('is chosen by a person where there are several, and only one of those', async () => {
    const { send, asked } = answering(several)
    const vault = node({ send })
    await connected(vault, 'shop', shops, { secrets })
    const { id, state, choices } = await agree(vault, 'shop', by())
    expect([state, choices]).toEqual([
      'choosing',
      [
        { id: 's1', name: 'Harbour' },
        { id: 's2', name: 'Station' },
      ],
    ])
    expect(await stateOf('shop')).toBe('needs_reauthorization')
    await expect(vault.authorizations.choose('default', id, 'p1', 'operator:eve')).rejects.toMatchObject({
      code: 'choice_invalid',
    })
    await expect(vault.authorizations.chooseInBrowser(id, 's1', () => 'x')).rejects.toMatchObject({
      code: 'authorization_other_browser',
    })
    expect(await vault.authorizations.choose('default', id, 's2', 'operator:bob')).toMatchObject({
      state: 'granted',
    })
    expect(await vault.loadConnection('default', 'shop')).toMatchObject({
      state: 'active',
      settings: { shop: 's2' },
    })
    await expect(vault.authorizations.choose('default', id, 's1', 'operator:eve')).rejects.toMatchObject({
      code: 'state_conflict',
    })
    const chosen = (await fixture.entries()).filter(({ action }) => action === 'authorization.chosen')
    expect(chosen).toMatchObject([{ actor: 'operator:bob', detail: { authorization: id, account: 's2' } }])
    expect(asked.filter(({ url }) => url.endsWith('/token'))).toHaveLength(1)
    expect(asked[1]!.headers).toMatchObject({ authorization: 'Bearer at_1' })
  })

  it('is the one that was asked for, or that the connection has', async () => {
    const vault = node(answering(several))
    await connected(vault, 'asked', shops, { secrets })
    expect(await agree(vault, 'asked', by(), 's1')).toMatchObject({ state: 'granted' })
    await connected(vault, 'declared', shops, { secrets, settings: { shop: 's2' } })
    expect(await agree(vault, 'declared', by())).toMatchObject({ state: 'granted' })
    expect((await vault.loadConnection('default', 'declared')).settings).toEqual({ shop: 's2' })
  })

  it('of another authorization than before is refused, and the grant stays as it was', async () => {
    const realm = connectorWith('realm-of', {
      ...SCHEME,
      account: [
        { from: { kind: 'callback', parameter: 'realmId' }, to: { kind: 'setting', name: 'realmId' } },
      ],
    })
    const vault = node(answering({}))
    await connected(vault, 'books', realm, { secrets })
    expect(await agree(vault, 'books', by({ realmId: '1' }))).toMatchObject({ state: 'granted' })
    const before = await vault.listConnections('default')
    expect(await agree(vault, 'books', by({ realmId: '2' }))).toMatchObject({
      state: 'failed',
      code: 'account_differs',
      reason: expect.stringContaining('is for realmId 1, and the authorization is for 2'),
    })
    expect(await agree(vault, 'books', by())).toMatchObject({ state: 'failed', code: 'account_missing' })
    expect(await vault.listConnections('default')).toEqual(before)
    expect(await agree(vault, 'books', by({ realmId: '1' }))).toMatchObject({ state: 'granted' })
  })

  it('whose base URL is its own is asked there, unless the connection has one (Salesforce)', async () => {
    const org = connectorWith('org', {
      ...SCHEME,
      account: [
        {
          from: { kind: 'token_answer', field: 'instance_url' },
          to: { kind: 'base_url', hosts: ['salesforce.example'] },
        },
      ],
    })
    const tokens = { access_token: 'a', refresh_token: 'r', token_type: 'Bearer' }
    const at = (instance_url: string) => answering({ '/token': { ...tokens, instance_url } })
    const vault = node(at('https://acme.my.salesforce.example/'))
    await connected(vault, 'org', org, { secrets })
    expect(await agree(vault, 'org', by())).toMatchObject({ state: 'granted' })
    expect((await vault.loadConnection('default', 'org')).baseUrl).toBe('https://acme.my.salesforce.example')
    const moved = node(at('https://acme2.my.salesforce.example'))
    await agree(moved, 'org', by())
    expect((await moved.loadConnection('default', 'org')).baseUrl).toBe('https://acme2.my.salesforce.example')
    await connected(vault, 'sandbox', org, { secrets, baseUrl: 'https://sandbox.example' })
    await agree(vault, 'sandbox', by())
    expect((await vault.loadConnection('default', 'sandbox')).baseUrl).toBe('https://sandbox.example')
  })

  it.each([
    'http://acme.my.salesforce.example',
    'https://salesforce.example.evil.example',
    'https://evilsalesforce.example',
    'https://acme.my.salesforce.example:8443',
    'https://user@acme.my.salesforce.example',
    'https://evil.example/?x=.salesforce.example',
    'https://127.0.0.1',
  ])('whose base URL is %s is not followed', async (instance_url) => {
    const org = connectorWith('org-evil', {
      ...SCHEME,
      account: [
        {
          from: { kind: 'token_answer', field: 'instance_url' },
          to: { kind: 'base_url', hosts: ['salesforce.example'] },
        },
      ],
    })
    const tokens = { access_token: 'a', refresh_token: 'r', token_type: 'Bearer', instance_url }
    const vault = node(answering({ '/token': tokens }))
    await connected(vault, 'org', org, { secrets })
    expect(await agree(vault, 'org', by())).toMatchObject({ state: 'failed', code: 'account_invalid' })
    expect(await stateOf('org')).toBe('needs_reauthorization')
  })

  it('is asked for by its own word, and needs no refresh token (Mailchimp)', async () => {
    const mail = connectorWith('mail', {
      ...SCHEME,
      quirks: { noRefreshToken: true },
      account: [
        {
          from: {
            kind: 'request',
            url: 'https://login.provider.example/metadata',
            scheme: 'OAuth',
            field: 'dc',
          },
          to: { kind: 'base_url', template: 'https://{}.api.mail.example', hosts: ['api.mail.example'] },
        },
      ],
    })
    const { send, asked } = answering({
      '/token': { access_token: 'for-ever', expires_in: 0, scope: null, token_type: 'bearer' },
      '/metadata': { dc: 'us19' },
    })
    const vault = node({ send })
    await connected(vault, 'mail', mail, { secrets })
    expect(await agree(vault, 'mail', by())).toMatchObject({ state: 'granted' })
    expect(asked[1]!.headers).toMatchObject({ authorization: 'OAuth for-ever' })
    const connection = await vault.loadConnection('default', 'mail')
    expect(connection).toMatchObject({ baseUrl: 'https://us19.api.mail.example', state: 'active' })
    // A token without an end that is refused once is asked again before it is believed: see checks.test.ts.
    const used = await vault.authorize(
      connection,
      { method: 'GET', url: connection.baseUrl, headers: {}, body: undefined },
      { idempotencyKey: 'k', now: fixture.clock.now() },
    )
    expect(await vault.refreshAfterUnauthorized(connection, used.credentialVersion)).toMatchObject({
      as: 'refused',
      code: 'credential_refused',
    })
    expect(await stateOf('mail')).toBe('active')
  })

  it('that the provider does not say now is asked for again, by any node, with the kept answer', async () => {
    const vault = node(answering({ '/shops': 'reset' }))
    await connected(vault, 'shop', shops, { secrets })
    const { id, state, reason } = await agree(vault, 'shop', by())
    expect([state, reason]).toEqual(['answered', expect.stringContaining('The connection broke')])
    await fixture.clock.advance(6 * SECOND)
    const { send, asked } = answering({ '/shops': [{ key: 's1', label: 'Harbour', kind: 'shop' }] })
    const other = node({ send })
    expect(await other.authorizations.takeUp()).toBe(1)
    expect(await other.authorizations.read('default', id)).toMatchObject({ state: 'granted' })
    expect(asked.map(({ url }) => new URL(url).pathname)).toEqual(['/shops'])
    expect(await stateOf('shop')).toBe('active')
  })

  it('that the provider never says ends the authorization', async () => {
    const vault = node(answering({ '/shops': 503 }))
    await connected(vault, 'shop', shops, { secrets })
    const { id } = await agree(vault, 'shop', by())
    await fixture.clock.advance(11 * MINUTE)
    await vault.authorizations.takeUp()
    expect(await vault.authorizations.read('default', id)).toMatchObject({
      state: 'failed',
      code: 'account_unknown',
    })
    expect(await vault.authorizations.takeUp()).toBe(0)
  })
})

describe('a node that dies', () => {
  const plain = connectorWith('plain', SCHEME)

  it('with the answer committed and unread costs nothing: another goes on from there', async () => {
    const dying = node({
      ...answering({}),
      storage: {
        reader: fixture.storage.reader,
        transaction: (work) =>
          fixture.storage.transaction((client) =>
            work({
              query: (text: string, values?: unknown[]) =>
                text.includes('into secrets')
                  ? Promise.reject(new Error('died'))
                  : client.query(text, values),
            }),
          ),
      },
    })
    const vault = node(answering({}))
    await connected(vault, 'plain', plain, { secrets })
    await expect(agree(dying, 'plain', by())).rejects.toThrow('died')
    expect(await stateOf('plain')).toBe('needs_reauthorization')
    await fixture.clock.advance(6 * SECOND)
    const { send, asked } = answering({})
    expect(await node({ send }).authorizations.takeUp()).toBe(1)
    expect(asked).toEqual([])
    expect(await stateOf('plain')).toBe('active')
  })

  it('while it asks leaves one that ends, says so, and changed nothing', async () => {
    const never = node({ send: () => new Promise(() => undefined) })
    await connected(never, 'plain', plain, { secrets })
    void agree(never, 'plain', by())
    const { pool } = fixture.database
    const ids = await expect
      .poll(
        async () =>
          (await pool.query<{ id: string }>(`select id from authorizations where state = 'asking'`)).rows,
      )
      .toHaveLength(1)
      .then(async () => (await pool.query<{ id: string }>('select id from authorizations')).rows)
    await fixture.clock.advance(61 * SECOND)
    await node().authorizations.takeUp()
    expect(await node().authorizations.read('default', ids[0]!.id)).toMatchObject({
      state: 'failed',
      code: 'token_answer_lost',
    })
    expect(await stateOf('plain')).toBe('needs_reauthorization')
  })

  it.each([
    ['no refresh token', { access_token: 'a', token_type: 'Bearer' }, 'refresh_token_missing'],
    ['no token', {}, 'token_answer_invalid'],
    ['not at all', 'reset', 'reset'],
    ['a fault', 500, 'token_endpoint_failed'],
  ])('control: none is made where the token endpoint gives %s', async (_, said, code) => {
    const vault = node(answering({ '/token': said }))
    await connected(vault, 'plain', plain, { secrets })
    expect(await agree(vault, 'plain', by())).toMatchObject({ state: 'failed', code })
    expect(await stateOf('plain')).toBe('needs_reauthorization')
  })
})

describe('a grant is taken back', () => {
  const plain = connectorWith('plain-revoked', SCHEME)

  async function granted(answers: Readonly<Record<string, unknown>>) {
    const { send, asked } = answering(answers)
    const vault = node({ send })
    await connected(vault, 'plain', plain, { secrets })
    await agree(vault, 'plain', by())
    return { vault, asked }
  }
  const outcomes = async (): Promise<readonly string[]> =>
    (await fixture.entries()).filter(({ action }) => action === 'grant.revoked').map(({ outcome }) => outcome)

  it('by the refresh token, with the client shown, and a person must authorize again (RFC 7009)', async () => {
    const { vault, asked } = await granted({ '/revoke': {} })
    expect(await vault.revokeGrant('default', 'plain', 'operator:ada')).toEqual({ as: 'revoked' })
    expect(Object.fromEntries(new URLSearchParams(asked.at(-1)!.body!.toString()))).toEqual({
      token: 'rt_1',
      token_type_hint: 'refresh_token',
      client_id: 'id',
      client_secret: 'secret',
    })
    expect([await stateOf('plain'), await outcomes()]).toEqual(['needs_reauthorization', ['succeeded']])
  })

  it('for good: an answer to a refresh that was under way does not bring it back', async () => {
    const { send } = answering({ '/revoke': {} })
    let release = (): void => undefined
    const held = new Promise<void>((resolve) => (release = resolve))
    let asked = 0
    const vault = node({
      send: async (request) => {
        if (request.url.endsWith('/token') && ++asked === 2) await held
        return send(request)
      },
    })
    await connected(vault, 'plain', plain, { secrets })
    await agree(vault, 'plain', by())
    const connection = await vault.loadConnection('default', 'plain')
    const token = { method: 'GET', url: 'https://api.example/x', headers: {}, body: undefined } as const
    const { credentialVersion } = await vault.authorize(connection, token, { idempotencyKey: 'k', now: 0 })
    const refreshing = vault.refreshAfterUnauthorized(connection, credentialVersion)
    await expect.poll(() => asked).toBe(2)
    expect(await vault.revokeGrant('default', 'plain', 'operator:ada')).toEqual({ as: 'revoked' })
    release()
    expect(await refreshing).toMatchObject({ as: 'refused' })
    await node({ send }).refreshLeftBehind()
    expect(await stateOf('plain')).toBe('needs_reauthorization')
  })

  it.each([
    [503, 'revocation_refused'],
    ['reset', 'reset'],
  ])(
    'not, where the provider answers %s: that is said and on record, and the connection stays',
    async (said, code) => {
      const { vault } = await granted({ '/revoke': said })
      expect(await vault.revokeGrant('default', 'plain', 'operator:ada')).toMatchObject({
        as: 'failed',
        code,
      })
      expect([await stateOf('plain'), await outcomes()]).toEqual(['active', [code]])
    },
  )

  it('before its connection goes, which a failure is told of and does not keep from going', async () => {
    const { vault } = await granted({ '/revoke': 503 })
    await vault.syncDeclared('default', {})
    expect(await vault.removeConnection('default', 'plain', 'operator:ada')).toMatchObject({ as: 'failed' })
    expect([await stateOf('plain'), await outcomes()]).toEqual(['revoked', ['revocation_refused']])
  })

  it('not, of a connection that cannot be removed', async () => {
    const { vault, asked } = await granted({ '/revoke': {} })
    await expect(vault.removeConnection('default', 'plain', 'operator:ada')).rejects.toMatchObject({
      code: 'connection_declared',
    })
    expect(asked.some(({ url }) => url.endsWith('/revoke'))).toBe(false)
  })

  it("at the twin's own address, never at the provider's", async () => {
    const { send, asked } = answering({ '/revoke': {} })
    const vault = node({ send })
    await connected(vault, 'plain', plain, { secrets, tokenUrl: 'https://twin.example/token' })
    await agree(vault, 'plain', by())
    await vault.revokeGrant('default', 'plain', 'operator:ada')
    expect(new Set(asked.map(({ url }) => new URL(url).host))).toEqual(new Set(['twin.example']))
  })
})

it('an installation that browsers reach by http elsewhere than here is told to set its public address', async () => {
  const vault = node()
  await connected(vault, 'plain', connectorWith('plain-http', SCHEME), { secrets })
  const wish = { tenant: 'default', name: 'plain', actor: 'operator:ada' } as const
  await expect(
    vault.authorizations.begin({ ...wish, publicUrl: 'http://trestle.example' }),
  ).rejects.toMatchObject({ code: 'public_url_invalid' })
  const { address } = await vault.authorizations.begin({
    ...wish,
    publicUrl: 'https://trestle.example/hooks',
  })
  expect(address).toMatch(/^https:\/\/trestle\.example\/hooks\/oauth\/start\/[\w-]{43}$/)
  const { cookie } = await vault.authorizations.open(address.split('/').at(-1)!, () => undefined)
  expect(cookie).toMatchObject({ name: expect.stringMatching(/^__Host-/), secure: true, path: '/' })
  await fixture.clock.advance(HOUR)
})
