/** What a refusal means for a token of OAuth that nothing of ours can renew. */
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { HOUR, MINUTE, SECOND } from '../base/index.ts'
import type { Connection } from './connections.ts'
import { openOAuthFixture, type OAuthFixture } from './oauth.fixture.ts'
import { connectorWith } from './vault.fixture.ts'

const lasting = connectorWith('lasting', {
  kind: 'oauth2',
  tokenUrl: '/oauth/token',
  authorizeUrl: '/oauth/authorize',
  scopes: [],
  clientAuth: 'post',
  quirks: { noRefreshToken: true },
})

let oauth: OAuthFixture
let connection: Connection
beforeAll(async () => {
  oauth = await openOAuthFixture()
})
afterAll(() => oauth.close())
beforeEach(async () => {
  const end = await oauth.renew()
  await oauth.database.pool.query('delete from connection_checks')
  await oauth.database.pool.query('delete from credential_returns')
  connection = await authorized('token-1')
  return end
})

async function authorized(accessToken: string): Promise<Connection> {
  const definition = lasting.connect({
    baseUrl: oauth.server.url,
    allowPrivateNetwork: true,
    secrets: { clientId: 'id', clientSecret: 'secret', accessToken },
  })
  await oauth.vault.addConnection({ tenant: 'default', name: 'mail', definition, actor: 'operator:test' })
  return oauth.vault.loadConnection('default', 'mail')
}

const request = { method: 'GET', url: 'https://api.example/', headers: {}, body: undefined }
const authorize = (trying?: object) =>
  oauth.vault.authorize(connection, request, {
    idempotencyKey: 'k',
    now: oauth.clock.now(),
    ...(trying && { trying }),
  })
/** A call over it is answered with 401. */
const refuse = async () =>
  oauth.vault.refreshAfterUnauthorized(connection, (await authorize()).credentialVersion)
const claim = async () => (await oauth.vault.claimChecks('default', { checker: 'nod_1', most: 10 }))[0]
/** The check that is due, as a node makes it. */
async function check(credential: 'accepted' | 'refused', meanwhile = async () => {}): Promise<void> {
  const due = (await claim())!
  const { credentialVersion } = await authorize({})
  const after =
    credential === 'refused'
      ? await oauth.vault.refreshAfterUnauthorized(connection, credentialVersion)
      : undefined
  await meanwhile()
  await oauth.vault.settleCheck(due, 'nod_1', {
    credential,
    outcome: credential === 'refused' ? 'parked' : 'succeeded',
    code: after && 'code' in after ? after.code : undefined,
    reason: after && 'reason' in after ? after.reason : undefined,
  })
}
const actions = async () => (await oauth.entries()).map(({ action }) => action)

it('one 401 changes nothing, and its check is due at once', async () => {
  expect(await refuse()).toMatchObject({ as: 'refused', code: 'credential_refused' })
  expect(await oauth.stateOf(connection)).toBe('active')
  expect((await authorize()).headers['authorization']).toBe('Bearer token-1')
  expect(await claim()).toBeDefined()
})

it('one that its check confirms parks the connection', async () => {
  await refuse()
  await check('refused')
  expect(await oauth.stateOf(connection)).toBe('needs_reauthorization')
  await expect(authorize()).rejects.toMatchObject({ code: 'needs_reauthorization' })
  expect((await oauth.entries()).at(-1)).toMatchObject({
    action: 'credential.refused',
    outcome: 'credential_refused',
    detail: { by: 'its check' },
  })
})

it('one that its check denies leaves all as it was, and who met it goes on', async () => {
  await oauth.database.pool.query('delete from credential_returns')
  await refuse()
  await check('accepted')
  expect(await oauth.stateOf(connection)).toBe('active')
  expect((await oauth.database.pool.query('select 1 from credential_returns')).rowCount).toBe(1)
  expect(await actions()).not.toContain('credential.refused')
})

it('one that the check itself met first is asked again', async () => {
  await claim()
  await oauth.clock.advance(48 * HOUR)
  await check('refused')
  expect(await oauth.stateOf(connection)).toBe('active')
  await oauth.clock.advance(MINUTE)
  await check('refused')
  expect(await oauth.stateOf(connection)).toBe('needs_reauthorization')
})

it('one that was met while the check was under way is not confirmed by it', async () => {
  await claim()
  await oauth.clock.advance(48 * HOUR)
  await check('refused', async () => {
    await oauth.clock.advance(SECOND)
    await refuse()
  })
  expect(await oauth.stateOf(connection)).toBe('active')
  await oauth.clock.advance(MINUTE)
  await check('refused')
  expect(await oauth.stateOf(connection)).toBe('needs_reauthorization')
})

it('a provider that refused for an hour by mistake is found to accept the token again, and all goes on', async () => {
  await refuse()
  await check('refused')
  await oauth.clock.advance(6 * MINUTE)
  await check('refused')
  expect(await oauth.stateOf(connection)).toBe('needs_reauthorization')
  await oauth.clock.advance(HOUR)
  await check('accepted')
  expect(await oauth.stateOf(connection)).toBe('active')
  expect((await authorize()).headers['authorization']).toBe('Bearer token-1')
  expect(await actions()).toContain('connection.reauthorized')
})

it('a token that a person gave meanwhile is not parked by what the check says of the former', async () => {
  await refuse()
  await check('refused', async () => {
    await authorized('token-2')
  })
  expect(await oauth.stateOf(connection)).toBe('active')
  // Nor does it confirm the first refusal of the new one.
  await check('refused')
  expect(await oauth.stateOf(connection)).toBe('active')
})

it('a token that a person gave meanwhile, and that was refused once, is not parked by it either', async () => {
  await refuse()
  await check('refused', async () => {
    await authorized('token-2')
    await refuse()
  })
  expect(await oauth.stateOf(connection)).toBe('active')
  await check('refused')
  expect(await oauth.stateOf(connection)).toBe('needs_reauthorization')
})

it('a token that a person took back does not come back, though the provider takes it for a while', async () => {
  await refuse()
  await check('refused')
  await oauth.clock.advance(6 * MINUTE)
  // As a revocation leaves it.
  await oauth.database.pool.query(`update secrets set version = version + 1 where field = 'grant'`)
  await check('accepted')
  expect(await oauth.stateOf(connection)).toBe('needs_reauthorization')
})
