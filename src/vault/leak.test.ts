import { afterAll, beforeAll, expect, it } from 'vitest'
import { systemRandom } from '../base/index.ts'
import { env } from '../define/index.ts'
import { dumpOf, leaksIn } from '../../tests/support/leaks.ts'
import { openTokenServer, type TokenServer } from './tokenServer.fixture.ts'
import {
  connectorWith,
  ENVIRONMENT,
  openVaultFixture,
  SIGNED_WEBHOOKS,
  type VaultFixture,
} from './vault.fixture.ts'

let fixture: VaultFixture
let server: TokenServer
beforeAll(async () => {
  fixture = await openVaultFixture()
  server = await openTokenServer()
})
afterAll(async () => {
  await server.close()
  await fixture.close()
})

const dump = (): Promise<Buffer> => dumpOf(fixture.database.pool)

it('no secret stands anywhere in the database, in any form, after everything that the vault does with it', async () => {
  const canary = (name: string): string => `${name}-${systemRandom.bytes(12).toString('hex')}+/ü"&=%`
  const ascii = (name: string): string => `${name}-${systemRandom.bytes(12).toString('hex')}+/"&=%`
  const secrets = {
    bearer: ascii('bearer'),
    apiKey: ascii('key'),
    password: canary('password'),
    clientSecret: canary('client'),
    hookA: canary('hook-a'),
    hookB: canary('hook-b'),
    signing: `whsec_${systemRandom.bytes(24).toString('base64')}`,
    replaced: ascii('replaced'),
    removed: ascii('removed'),
  }
  const firstRefresh = server.newFamily()
  ENVIRONMENT['LEAK_BEARER'] = secrets.replaced
  const { vault } = fixture
  const declared = {
    bearer: connectorWith('leak-bearer', { kind: 'bearer' }, { webhooks: SIGNED_WEBHOOKS }).connect({
      secrets: { token: env('LEAK_BEARER') },
      webhookSecrets: [secrets.hookA, secrets.hookB],
    }),
    key: connectorWith('leak-key', { kind: 'api_key', header: 'x-key' }).connect({
      secrets: { apiKey: secrets.apiKey },
    }),
    basic: connectorWith('leak-basic', { kind: 'basic' }).connect({
      secrets: { username: 'AC1', password: secrets.password },
    }),
    signed: connectorWith('leak-signed', { kind: 'standard_webhooks' }).connect({
      secrets: { signingSecret: secrets.signing },
    }),
    oauth: connectorWith('leak-oauth', {
      kind: 'oauth2',
      tokenUrl: '/token',
      authorizeUrl: '/authorize',
      scopes: [],
      clientAuth: 'post',
    }).connect({
      baseUrl: server.url,
      allowPrivateNetwork: true,
      secrets: { clientId: 'client', clientSecret: secrets.clientSecret, refreshToken: firstRefresh },
    }),
  }
  await vault.syncDeclared('default', declared)
  ENVIRONMENT['LEAK_BEARER'] = secrets.bearer
  await vault.syncDeclared('default', declared)
  await vault.addConnection({
    tenant: 'default',
    name: 'gone',
    actor: 'operator:ada',
    definition: connectorWith('leak-gone', { kind: 'bearer' }).connect({
      secrets: { token: secrets.removed },
    }),
  })
  await vault.removeConnection('default', 'gone', 'operator:ada')

  const seen: string[] = Object.values(secrets)
  for (const name of Object.keys(declared)) {
    const connection = await vault.loadConnection('default', name)
    await vault.authorize(
      connection,
      { method: 'POST', url: 'https://x.example', headers: {}, body: Buffer.from('{}') },
      { idempotencyKey: 'k', now: fixture.clock.now() },
    )
    seen.push(...(await vault.secretValuesOf(connection)))
  }
  const oauth = await vault.loadConnection('default', 'oauth')
  // The refusal repeats the refresh token in its text, as careless providers do.
  const current = (await vault.secretValuesOf(oauth)).find(
    (value) => value.startsWith('rt_') && value !== firstRefresh,
  )!
  server.failNext(() => ({
    status: 400,
    body: JSON.stringify({ error: 'invalid_grant', error_description: `token ${current} is over` }),
  }))
  const { credentialVersion } = await vault.authorize(
    oauth,
    { method: 'GET', url: 'https://x.example', headers: {}, body: undefined },
    { idempotencyKey: 'k', now: fixture.clock.now() },
  )
  expect(await vault.refreshAfterUnauthorized(oauth, credentialVersion)).toMatchObject({ as: 'refused' })
  const token = await vault.tokens.create({ tenant: 'default', name: 'leak', actor: 'system' })
  await vault.tokens.verify(token.token)
  seen.push(firstRefresh, current, token.token)

  const all = [...new Set(seen)]
  expect(all.length).toBeGreaterThanOrEqual(14)
  const written = await dump()
  expect(written.includes('leak-oauth')).toBe(true) // The dump is of the right database.
  expect(leaksIn(written, all)).toEqual([])
  // Nor in what a person is shown.
  expect(leaksIn(Buffer.from(JSON.stringify(await vault.listConnections('default'))), all)).toEqual([])
})

it('CONTROL: the search finds a secret in each of its forms', async () => {
  const secret = `control-${systemRandom.bytes(12).toString('hex')}+/"&=%`
  const { pool } = fixture.database
  for (const form of [
    secret,
    encodeURIComponent(secret),
    Buffer.from(`user:${secret}`).toString('base64'),
    Buffer.from(`us:${secret}`).toString('base64url'),
    Buffer.from(secret).toString('hex'),
    JSON.stringify({ a: [secret] }),
  ]) {
    await pool.query(
      `insert into installation (name, value) values ('control', $1)
      on conflict (name) do update set value = excluded.value`,
      [Buffer.from(form)],
    )
    expect({ form, found: leaksIn(await dump(), [secret]) }).toEqual({ form, found: [secret] })
    await pool.query(`update installation set value = ''`)
    await pool.query(
      `insert into rejected_samples (tenant, endpoint_id, slot, reason, headers, body)
      values ('default', 'ep', 0, $1, '', '') on conflict (tenant, endpoint_id, slot) do update set reason = excluded.reason`,
      [form],
    )
    expect({ form, found: leaksIn(await dump(), [secret]) }).toEqual({ form, found: [secret] })
    await pool.query('delete from rejected_samples')
  }
})
