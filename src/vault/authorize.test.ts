import { Webhook } from 'standardwebhooks'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../base/index.ts'
import type { AuthScheme, ConnectionDefinition } from '../define/index.ts'
import type { AuthorizedRequest } from './authorize.ts'
import { OPENED_FOR_MS } from './secrets.ts'
import { connectorWith, openVaultFixture, SIGNED_WEBHOOKS, type VaultFixture } from './vault.fixture.ts'

const SIGNING_SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'
const BODY = Buffer.from('{"amount":1999, "note":"é\\u0000"}')
const REQUEST = {
  method: 'POST',
  url: 'https://api.example/v1/things?x=1',
  headers: { 'content-type': 'application/json', Authorization: 'Basic from-the-connector' },
  body: BODY,
}

let fixture: VaultFixture
beforeAll(async () => {
  fixture = await openVaultFixture()
})
afterAll(() => fixture.close())
beforeEach(() => fixture.clear())

let names = 0
function definitionOf(auth: AuthScheme, secrets: Record<string, string>): ConnectionDefinition {
  return connectorWith(`auth-${auth.kind.replaceAll('_', '-')}-${names++}`, auth).connect({ secrets })
}

async function authorize(
  auth: AuthScheme,
  secrets: Record<string, string>,
  request = REQUEST,
): Promise<AuthorizedRequest> {
  await fixture.vault.syncDeclared('default', { one: definitionOf(auth, secrets) })
  const connection = await fixture.vault.loadConnection('default', 'one')
  return fixture.vault.authorize(connection, request, { idempotencyKey: 'evt_1', now: fixture.clock.now() })
}

describe('a request is authorized', () => {
  it('by bearer token, in place of what stood there in any case of letters', async () => {
    const authorized = await authorize({ kind: 'bearer' }, { token: 'tok_1' })
    expect(authorized.headers).toEqual({
      'content-type': 'application/json',
      authorization: 'Bearer tok_1',
    })
    expect(authorized.secretHeaders).toEqual(['authorization'])
    expect([authorized.method, authorized.url, authorized.body]).toEqual([REQUEST.method, REQUEST.url, BODY])
  })

  it('by API key, in the header and behind the prefix that the connector names', async () => {
    const authorized = await authorize(
      { kind: 'api_key', header: 'X-Api-Key', prefix: 'Key ' },
      { apiKey: 'k_1' },
    )
    expect(authorized.headers['x-api-key']).toBe('Key k_1')
    expect(authorized.secretHeaders).toEqual(['x-api-key'])
    await fixture.clear()
    const plain = await authorize({ kind: 'api_key', header: 'x-key' }, { apiKey: 'k_2' })
    expect(plain.headers['x-key']).toBe('k_2')
  })

  it('by user name and password in UTF-8 (RFC 7617, 2.1)', async () => {
    const authorized = await authorize({ kind: 'basic' }, { username: 'test', password: '123£' })
    expect(authorized.headers['authorization']).toBe('Basic dGVzdDoxMjPCow==')
  })

  it('by a signature over the exact bytes, which the official verifier accepts', async () => {
    const clock = { now: Math.floor(systemClock.now() / 1000) * 1000 + 999 }
    await fixture.vault.syncDeclared('default', {
      one: definitionOf({ kind: 'standard_webhooks' }, { signingSecret: SIGNING_SECRET }),
    })
    const connection = await fixture.vault.loadConnection('default', 'one')
    const sign = (now: number, body: Buffer | undefined = BODY) =>
      fixture.vault.authorize(connection, { ...REQUEST, body }, { idempotencyKey: 'msg_1', now })
    const first = await sign(clock.now)
    expect(first.headers['webhook-id']).toBe('msg_1')
    expect(first.headers['webhook-timestamp']).toBe(String(Math.floor(clock.now / 1000)))
    const official = new Webhook(SIGNING_SECRET)
    expect(official.verify(BODY, { ...first.headers })).toEqual(JSON.parse(BODY.toString()))
    const altered = Buffer.from(BODY.toString().replace('1999', '2999'))
    expect(() => official.verify(altered, { ...first.headers })).toThrow('No matching signature')
    // A later attempt: another time and signature, the same id and body.
    const second = await sign(clock.now + 60_000)
    expect(second.headers['webhook-id']).toBe('msg_1')
    expect(second.headers['webhook-signature']).not.toBe(first.headers['webhook-signature'])
    expect(second.body).toBe(BODY)
    expect(first.secretHeaders).toEqual(['webhook-signature'])
    expect((await sign(clock.now, undefined)).headers['webhook-signature']).toMatch(/^v1,/)
  })

  it('by the vector of the Standard Webhooks specification', async () => {
    await fixture.vault.syncDeclared('default', {
      one: definitionOf({ kind: 'standard_webhooks' }, { signingSecret: SIGNING_SECRET }),
    })
    const connection = await fixture.vault.loadConnection('default', 'one')
    const authorized = await fixture.vault.authorize(
      connection,
      { ...REQUEST, body: Buffer.from('{"test": 2432232314}') },
      { idempotencyKey: 'msg_p5jXN8AQM9LWM0D4loKWxJek', now: 1_614_265_330_000 },
    )
    expect(authorized.headers['webhook-signature']).toBe('v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=')
  })

  it('not at all where the provider needs nothing', async () => {
    const authorized = await authorize({ kind: 'none' }, {})
    expect(authorized.headers).toEqual(REQUEST.headers)
    expect(authorized.secretHeaders).toEqual([])
  })

  it('not by a connection that was removed, nor by one whose secret is gone or was moved there', async () => {
    const { vault, database } = fixture
    const definition = definitionOf({ kind: 'bearer' }, { token: 'tok_1' })
    await vault.syncDeclared('default', { one: definition, two: definition })
    const connection = await vault.loadConnection('default', 'one')
    const other = await vault.loadConnection('default', 'two')
    const attempt = () =>
      fixture.node().authorize(connection, REQUEST, { idempotencyKey: 'k', now: fixture.clock.now() })
    await database.pool.query(
      `update secrets set sealed = (select sealed from secrets where connection_id = $2) where connection_id = $1`,
      [connection.id, other.id],
    )
    await expect(attempt()).rejects.toMatchObject({ name: 'PermanentError', code: 'secret_unreadable' })
    await database.pool.query('delete from secrets where connection_id = $1', [connection.id])
    await expect(attempt()).rejects.toMatchObject({ name: 'PermanentError', code: 'secret_missing' })
    await database.pool.query(`update connections set state = 'revoked' where id = $1`, [connection.id])
    await expect(attempt()).rejects.toMatchObject({ name: 'PermanentError', code: 'connection_revoked' })
  })
})

describe('secrets in memory', () => {
  it('are those of now on the node that changed them, and on others a few seconds later', async () => {
    const auth: AuthScheme = { kind: 'bearer' }
    const other = fixture.node()
    const before = await authorize(auth, { token: 'old' })
    const connection = await fixture.vault.loadConnection('default', 'one')
    const on = async (vault: typeof other) =>
      (await vault.authorize(connection, REQUEST, { idempotencyKey: 'k', now: 0 })).headers['authorization']
    expect(await on(other)).toBe('Bearer old')
    await fixture.vault.syncDeclared('default', {
      one: connectorWith(connection.connector, auth).connect({ secrets: { token: 'new' } }),
    })
    expect(await on(fixture.vault)).toBe('Bearer new')
    expect(await on(other)).toBe('Bearer old')
    await fixture.clock.advance(OPENED_FOR_MS)
    expect(await on(other)).toBe('Bearer new')
    expect(before.credentialVersion).not.toContain('old')
  })

  it('are read again after a 401, and tell whether another try can help', async () => {
    const auth: AuthScheme = { kind: 'bearer' }
    const other = fixture.node()
    await authorize(auth, { token: 'old' })
    const connection = await fixture.vault.loadConnection('default', 'one')
    const { credentialVersion } = await other.authorize(connection, REQUEST, {
      idempotencyKey: 'k',
      now: 0,
    })
    expect(await other.refreshAfterUnauthorized(connection, credentialVersion)).toMatchObject({
      as: 'refused',
      code: 'credential_refused',
    })
    await fixture.vault.syncDeclared('default', {
      one: connectorWith(connection.connector, auth).connect({ secrets: { token: 'new' } }),
    })
    expect(await other.refreshAfterUnauthorized(connection, credentialVersion)).toEqual({ as: 'refreshed' })
  })

  it('are given to the redactor with the forms in which requests carry them', async () => {
    const { vault } = fixture
    await vault.syncDeclared('default', {
      one: connectorWith('redacted', { kind: 'basic' }, { webhooks: SIGNED_WEBHOOKS }).connect({
        secrets: { username: 'AC123', password: 'p4ss' },
        webhookSecrets: ['hook-a', 'hook-b'],
      }),
    })
    const values = await vault.secretValuesOf(await vault.loadConnection('default', 'one'))
    expect([...values].sort()).toEqual(
      ['p4ss', Buffer.from('AC123:p4ss').toString('base64'), 'hook-a', 'hook-b'].sort(),
    )
  })
})
