import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { HOUR } from '../base/index.ts'
import { openOAuthFixture, type OAuthFixture } from './oauth.fixture.ts'
import { CLIENT } from './tokenServer.fixture.ts'
import { connectorWith } from './vault.fixture.ts'

/** RFC 6749, 4.4: no person, no refresh token; the lease, the kept answer and the pauses are those of a refresh. */
const machine = connectorWith('machine', {
  kind: 'oauth2',
  grant: 'client_credentials',
  tokenUrl: '/oauth/token',
  scopes: ['read', 'write'],
  clientAuth: 'basic',
})

let oauth: OAuthFixture
beforeAll(async () => {
  oauth = await openOAuthFixture()
})
afterAll(() => oauth.close())
beforeEach(() => oauth.renew())

async function connected(clientSecret = CLIENT.secret) {
  const vault = oauth.node()
  const definition = machine.connect({
    baseUrl: oauth.server.url,
    allowPrivateNetwork: true,
    secrets: { clientId: CLIENT.id, clientSecret },
  })
  await vault.syncDeclared('default', { machine: definition })
  return { vault, definition, connection: await vault.loadConnection('default', 'machine') }
}

it('a connection with a client id and secret is active, and asks for its token at first use', async () => {
  const { vault, connection } = await connected()
  expect(connection.state).toBe('active')
  const { token } = await oauth.tokenOf(vault, connection)
  expect(oauth.server.isGood(token)).toBe(true)
  expect([...oauth.server.requests[0]!.form]).toEqual([
    ['scope', 'read write'],
    ['grant_type', 'client_credentials'],
  ])
})

it('the token is renewed when it has ended, once for all callers of all nodes', async () => {
  const { vault, connection } = await connected()
  const first = await oauth.tokenOf(vault, connection)
  await oauth.clock.advance(2 * HOUR)
  const nodes = [vault, oauth.node()]
  const tokens = await Promise.all(
    Array.from({ length: 20 }, (_, i) => oauth.tokenOf(nodes[i % 2]!, connection)),
  )
  expect(new Set(tokens.map(({ token }) => token)).size).toBe(1)
  expect(tokens[0]!.token).not.toBe(first.token)
  expect(oauth.server.requests).toHaveLength(2)
})

it('a start with the same configuration keeps the token, another secret begins anew', async () => {
  const { vault, connection } = await connected()
  const first = await oauth.tokenOf(vault, connection)
  expect(await oauth.tokenOf((await connected()).vault, connection)).toEqual(first)
  const { vault: later } = await connected('another secret')
  expect(await oauth.tokenOf(later, connection)).not.toEqual(first)
  expect(oauth.server.requests).toHaveLength(2)
})

it('a refused client is told as such, and the connection stays as it was', async () => {
  const { vault, connection } = await connected()
  oauth.server.failNext(() => ({ status: 401, body: '{"error":"invalid_client"}' }))
  await expect(oauth.tokenOf(vault, connection)).rejects.toMatchObject({
    code: 'client_refused',
    message: expect.stringContaining('Check clientId and clientSecret'),
  })
  expect(await oauth.stateOf(connection)).toBe('active')
})

it('has no refresh token to give', async () => {
  const secrets = { clientId: 'a', clientSecret: 'b', refreshToken: 'c' }
  await expect(
    oauth.node().syncDeclared('default', { machine: machine.connect({ secrets }) }),
  ).rejects.toThrow('has no secret "refreshToken". It has: clientId, clientSecret')
})
