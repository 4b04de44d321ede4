import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { ConnectionDefinition, ConnectOptions, OAuth2Scheme } from '../define/index.ts'
import { openOAuthFixture, type OAuthFixture } from './oauth.fixture.ts'
import { OPENED_FOR_MS } from './secrets.ts'
import { CLIENT } from './tokenServer.fixture.ts'
import { connectorWith, SIGNED_WEBHOOKS } from './vault.fixture.ts'

const OAUTH: OAuth2Scheme = {
  kind: 'oauth2',
  tokenUrl: '/oauth/token',
  authorizeUrl: '/oauth/authorize',
  scopes: ['read'],
  clientAuth: 'post',
}
/** As HubSpot: an app by OAuth, or a private app by its token. */
const crm = connectorWith(
  'crm',
  { ...OAUTH, alternatives: [{ kind: 'bearer' }] },
  { webhooks: SIGNED_WEBHOOKS },
)
const plain = connectorWith('no-oauth', { kind: 'bearer' })
/** Nobody listens there: a token that is asked for there cannot come. */
const NOBODY = 'http://127.0.0.1:9'

let fixture: OAuthFixture
let close: () => Promise<void>
beforeAll(async () => {
  fixture = await openOAuthFixture()
})
afterAll(() => fixture.close())
beforeEach(async () => {
  close = await fixture.renew()
})
afterEach(() => close())

const connect = (options: ConnectOptions): ConnectionDefinition =>
  crm.connect({ baseUrl: fixture.server.url, allowPrivateNetwork: true, ...options })
const byToken = (token = 'pat-1') => connect({ secrets: { token } })
const byOAuth = (refreshToken = fixture.server.newFamily()) =>
  connect({ secrets: { clientId: CLIENT.id, clientSecret: CLIENT.secret, refreshToken } })
const sync = (definition: ConnectionDefinition) => fixture.vault.syncDeclared('default', { crm: definition })
const add = (definition: ConnectionDefinition) =>
  fixture.vault.addConnection({ tenant: 'default', name: 'crm', definition, actor: 'operator:ada' })
const loaded = (vault = fixture.vault) => vault.loadConnection('default', 'crm')
const tokenOf = async (vault = fixture.vault) => (await fixture.tokenOf(vault, await loaded(vault))).token

async function fields(): Promise<readonly string[]> {
  const { rows } = await fixture.database.pool.query<{ field: string }>(
    'select field from secrets order by field',
  )
  return rows.map((row) => row.field)
}

describe('a connector that can be authorized in two ways', () => {
  it('uses the one whose secrets the connection has', async () => {
    await sync(byToken())
    expect(await loaded()).toMatchObject({ auth: { kind: 'bearer' }, state: 'active' })
    expect(await fixture.vault.listConnections('default')).toMatchObject([{ auth: { kind: 'bearer' } }])
    expect(await tokenOf()).toBe('pat-1')
    expect(fixture.server.requests).toEqual([])
    await fixture.clear()
    await sync(byOAuth())
    expect(await loaded()).toMatchObject({ auth: { kind: 'oauth2' }, state: 'active' })
    expect(fixture.server.isGood(await tokenOf())).toBe(true)
  })

  it('takes a token from the vault where the configuration leaves the secrets out', async () => {
    await add(byToken())
    await sync(connect({}))
    expect(await tokenOf()).toBe('pat-1')
    expect((await sync(connect({}))).connections[0]!.change).toBe('unchanged')
  })

  it('says all that would do where there is no secret', async () => {
    const refused = sync(connect({}))
    await expect(refused).rejects.toMatchObject({ code: 'connections_invalid' })
    await expect(refused).rejects.toThrow(/"clientId".*Instead of OAuth it may have: token/)
    await expect(refused).rejects.toThrow('"clientSecret"')
  })

  it('waits for its authorization with the client alone', async () => {
    await sync(connect({ secrets: { clientId: CLIENT.id, clientSecret: CLIENT.secret } }))
    expect(await loaded()).toMatchObject({ auth: { kind: 'oauth2' }, state: 'needs_reauthorization' })
    await expect(tokenOf()).rejects.toMatchObject({ code: 'needs_reauthorization' })
  })

  it('is refused with both declared at once, since one would never be used', async () => {
    const both = connect({ secrets: { ...byOAuth().secrets, token: 'pat-1' } })
    await expect(sync(both)).rejects.toThrow(
      /two ways to authorize: clientId, clientSecret, refreshToken, or token/,
    )
    expect(await fields()).toEqual([])
  })

  it('is refused with a token that cannot stand in a header', async () => {
    await expect(sync(byToken('pät'))).rejects.toThrow(/"token".*HTTP header/)
  })

  it('goes over from a dead grant to a token and back, and keeps nothing of the other way', async () => {
    const other = fixture.node()
    await sync({ ...byOAuth('dead'), webhookSecrets: ['hook'] })
    await expect(tokenOf(other)).rejects.toMatchObject({ code: 'needs_reauthorization' })
    const { id } = await loaded()
    await sync({ ...byToken(), webhookSecrets: ['hook'] })
    expect(await loaded()).toMatchObject({ id, auth: { kind: 'bearer' }, state: 'active' })
    expect(await fields()).toEqual(['token', 'webhookSecret.0'])
    expect(await tokenOf()).toBe('pat-1')
    await fixture.clock.advance(OPENED_FOR_MS)
    expect(await tokenOf(other)).toBe('pat-1')
    expect(await fixture.entries()).toContainEqual(
      expect.objectContaining({
        action: 'credential.revoked',
        detail: { fields: 'clientId, clientSecret, grant, refreshToken, refreshToken.declared' },
      }),
    )
    const grant = byOAuth()
    await sync({ ...grant, webhookSecrets: ['hook'] })
    expect(await fields()).not.toContain('token')
    const renewed = await tokenOf()
    expect(fixture.server.isGood(renewed)).toBe(true)
    // The same configuration once more keeps the grant that has rotated since.
    await sync({ ...grant, webhookSecrets: ['hook'] })
    expect(await tokenOf()).toBe(renewed)
  })

  it('uses a grant that comes to an older token, though its client was declared before', async () => {
    const client = { clientId: CLIENT.id, clientSecret: CLIENT.secret }
    await sync(connect({ secrets: { ...client, token: 'pat-1' } }))
    expect(await tokenOf()).toBe('pat-1')
    await add(connect({ secrets: { refreshToken: fixture.server.newFamily() } }))
    expect(fixture.server.isGood(await tokenOf())).toBe(true)
  })
})

describe('a declared token URL', () => {
  it('is where tokens are asked for, whatever the base URL is', async () => {
    const definition = { ...byOAuth(), baseUrl: NOBODY }
    await sync(definition)
    await expect(tokenOf()).rejects.toMatchObject({ name: 'RetryableError' })
    await sync({ ...definition, tokenUrl: `${fixture.server.url}/elsewhere` })
    expect(await loaded()).toMatchObject({
      baseUrl: NOBODY,
      tokenUrl: `${fixture.server.url}/elsewhere`,
    })
    expect((await fixture.entries()).at(-1)).toMatchObject({
      action: 'connection.changed',
      detail: { tokenUrl: `${fixture.server.url}/elsewhere` },
    })
    await fixture.clock.advance(OPENED_FOR_MS)
    expect(fixture.server.isGood(await tokenOf())).toBe(true)
  })

  it('may be a path below the base URL, and gives way to the connector when it is taken back', async () => {
    await sync({ ...byOAuth(), tokenUrl: '/v2/token' })
    expect(fixture.server.isGood(await tokenOf())).toBe(true)
    await sync(byOAuth())
    expect((await loaded()).tokenUrl).toBeUndefined()
  })

  it('is refused where it is none, or nothing is asked for', async () => {
    await expect(sync({ ...byOAuth(), tokenUrl: 'token' })).rejects.toThrow(/token URL "token"/)
    await expect(
      sync(plain.connect({ secrets: { token: 'x' }, tokenUrl: 'https://id.example/token' })),
    ).rejects.toThrow(/not authorized by OAuth 2\.0.*Remove "tokenUrl"/)
  })
})
