import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { DAY, HOUR, MINUTE } from '../base/index.ts'
import type { Connection } from './connections.ts'
import { FORMER_FIRST_MS } from './formers.ts'
import {
  connectorWith,
  ENVIRONMENT,
  openVaultFixture,
  SIGNED_WEBHOOKS,
  type VaultFixture,
} from './vault.fixture.ts'

let fixture: VaultFixture
beforeAll(async () => {
  fixture = await openVaultFixture()
})
beforeEach(() => fixture.clear())
afterAll(() => fixture.close())

const shop = connectorWith('shop', { kind: 'api_key', header: 'X-Key' }, { webhooks: SIGNED_WEBHOOKS })
const ACTOR = 'operator:test'

async function added(): Promise<Connection> {
  await fixture.vault.addConnection({
    tenant: 'default',
    name: 'shop',
    definition: shop.connect({ secrets: { apiKey: 'key-1' }, webhookSecrets: ['hook-1'] }),
    actor: ACTOR,
  })
  return fixture.vault.loadConnection('default', 'shop')
}

const request = { method: 'GET', url: 'https://api.shop.example/', headers: {}, body: undefined }
const authorize = (connection: Connection) =>
  fixture.vault.authorize(connection, request, { idempotencyKey: 'k', now: fixture.clock.now() })
const keyOf = async (connection: Connection) => (await authorize(connection)).headers['x-key']
const rotate = (secrets: Record<string, string>, overlapMs?: number) =>
  fixture.vault.rotate('default', 'shop', { secrets, overlapMs }, ACTOR)
/** Says that the credential in use is refused. */
const refuse = async (connection: Connection) =>
  fixture.vault.refreshAfterUnauthorized(connection, (await authorize(connection)).credentialVersion)
const checks = async () =>
  (await fixture.database.pool.query<Record<string, unknown>>('select * from connection_checks')).rows

describe('a rotated API key', () => {
  it('is used; the former one is once more where it is refused, until its overlap ends', async () => {
    const connection = await added()
    await rotate({ apiKey: 'key-2' }, HOUR)
    expect(await keyOf(connection)).toBe('key-2')
    expect(await refuse(connection)).toEqual({ as: 'refreshed' })
    expect(await keyOf(connection)).toBe('key-1')
    expect(await checks()).toMatchObject([{ former_used_at: expect.any(Date) as Date }])
    // The provider ends the former one: back to the new one.
    expect(await refuse(connection)).toEqual({ as: 'refreshed' })
    expect(await keyOf(connection)).toBe('key-2')
    expect(await refuse(connection)).toEqual({ as: 'refreshed' })
    expect(await keyOf(connection)).toBe('key-1')
    await fixture.clock.advance(FORMER_FIRST_MS)
    expect(await keyOf(connection)).toBe('key-2')

    await fixture.clock.advance(HOUR)
    expect(await refuse(connection)).toMatchObject({ as: 'refused', code: 'credential_refused' })
    expect(await keyOf(connection)).toBe('key-2')
  })

  it('is in the ledger with its actor and without a value, and no listing or redaction forgets the former one', async () => {
    const connection = await added()
    await rotate({ apiKey: 'key-2' })
    const entries = await fixture.entries()
    expect(entries.filter(({ action }) => action === 'credential.rotated')).toMatchObject([
      { actor: ACTOR, detail: { field: 'apiKey', version: '2', formerUntil: expect.any(String) as string } },
    ])
    expect(JSON.stringify(entries)).not.toMatch(/key-[12]/)
    expect(await fixture.vault.secretValuesOf(connection)).toEqual(expect.arrayContaining(['key-1', 'key-2']))
    const [listed] = await fixture.vault.listConnections('default')
    expect(listed!.endings).toMatchObject([{ what: 'former secret', field: 'apiKey', by: 'person' }])
  })

  it('that is the present one, of another kind or unusable is refused, and changes nothing', async () => {
    const connection = await added()
    for (const [secrets, code] of [
      [{ apiKey: 'key-1' }, 'secret_same'],
      [{ password: 'x' }, 'secret_unknown'],
      [{ apiKey: ' x' }, 'secret_invalid'],
      [{}, 'secret_missing'],
    ] as const)
      await expect(rotate(secrets)).rejects.toMatchObject({ code })
    await expect(rotate({ apiKey: 'key-2' }, 31 * DAY)).rejects.toMatchObject({ code: 'overlap_invalid' })
    expect(await keyOf(connection)).toBe('key-1')
  })

  it('can be taken back by rotating to the former one', async () => {
    const connection = await added()
    await rotate({ apiKey: 'key-2' })
    await rotate({ apiKey: 'key-1' })
    expect(await keyOf(connection)).toBe('key-1')
    await refuse(connection)
    expect(await keyOf(connection)).toBe('key-2')
  })

  it('is not overruled by a configuration that has the former one still, and is by one with a third', async () => {
    ENVIRONMENT['KEY'] = 'key-1'
    const declared = {
      shop: shop.connect({ secrets: { apiKey: { env: 'KEY' } }, webhookSecrets: ['hook-1'] }),
    }
    await fixture.vault.syncDeclared('default', declared)
    const connection = await fixture.vault.loadConnection('default', 'shop')
    await rotate({ apiKey: 'key-2', webhookSecret: 'hook-2' }, MINUTE)
    await fixture.clock.advance(DAY)
    await fixture.vault.dropFormers('default')
    await fixture.vault.syncDeclared('default', declared)
    expect(await keyOf(connection)).toBe('key-2')
    expect(await fixture.vault.webhookSecrets(connection)).toEqual(['hook-2'])
    ENVIRONMENT['KEY'] = 'key-3'
    await fixture.vault.syncDeclared('default', declared)
    expect(await keyOf(connection)).toBe('key-3')
  })
})

describe('a name and its password', () => {
  const mail = connectorWith('mailbox', { kind: 'basic' })
  const rotated = (secrets: Record<string, string>) =>
    fixture.vault.rotate('default', 'mailbox', { secrets }, ACTOR)
  const shown = async (connection: Connection) =>
    Buffer.from(
      (await authorize(connection)).headers['authorization']!.replace('Basic ', ''),
      'base64',
    ).toString()

  async function mailbox(): Promise<Connection> {
    const secrets = { username: 'u1', password: 'p1' }
    const definition = mail.connect({ secrets })
    await fixture.vault.addConnection({ tenant: 'default', name: 'mailbox', definition, actor: ACTOR })
    return fixture.vault.loadConnection('default', 'mailbox')
  }

  it('that were put aside are used as they belong together, also after a second rotation', async () => {
    const connection = await mailbox()
    await rotated({ username: 'u2', password: 'p2' })
    await refuse(connection)
    expect(await shown(connection)).toBe('u1:p1')
    await rotated({ password: 'p3' })
    expect(await shown(connection)).toBe('u2:p3')
    await refuse(connection)
    expect(await shown(connection)).toBe('u2:p2')
    await rotated({ username: 'u3' })
    await refuse(connection)
    expect(await shown(connection)).toBe('u2:p3')
  })

  it('are redacted in every form in which requests may have carried them', async () => {
    const connection = await mailbox()
    await rotated({ username: 'u2', password: 'p2' })
    const values = await fixture.vault.secretValuesOf(connection)
    for (const pair of ['u1:p1', 'u2:p2']) expect(values).toContain(Buffer.from(pair).toString('base64'))
  })
})

it('verifies webhooks with both secrets until the overlap ends, and then drops the former one', async () => {
  const connection = await added()
  await rotate({ webhookSecret: 'hook-2' }, HOUR)
  await rotate({ webhookSecret: 'hook-3' }, 2 * HOUR)
  expect(await fixture.vault.webhookSecrets(connection)).toEqual(['hook-3', 'hook-2', 'hook-1'])
  await fixture.clock.advance(HOUR)
  expect(await fixture.vault.webhookSecrets(connection)).toEqual(['hook-3', 'hook-2'])
  await fixture.clock.advance(HOUR)
  expect(await fixture.vault.webhookSecrets(connection)).toEqual(['hook-3'])
  expect(await fixture.vault.dropFormers('default')).toBe(2)
})

it('is known to another node at once where it asks anew, though it has the former one in memory', async () => {
  const connection = await added()
  const other = fixture.node()
  expect(await other.webhookSecrets(connection)).toEqual(['hook-1'])
  await rotate({ webhookSecret: 'hook-2' })
  expect(await other.webhookSecrets(connection)).toEqual(['hook-1'])
  expect(await other.webhookSecrets(connection, { fresh: true })).toEqual(['hook-2', 'hook-1'])
})

describe('a check', () => {
  const settle = async (credential: 'accepted' | 'refused' | 'unknown') => {
    const by = { checker: 'nod_1', most: 10 }
    const [due] = await fixture.vault.claimChecks('default', by)
    if (due)
      await fixture.vault.settleCheck(due, 'nod_1', { credential, outcome: 'parked', code: 'x', reason: 'r' })
    return due
  }
  const stateOf = async () =>
    (await fixture.database.pool.query<{ state: string }>('select state from connections')).rows[0]!.state
  const returns = async () => (await fixture.database.pool.query('select 1 from credential_returns')).rowCount

  it('is due after a day without a call, for one node', async () => {
    const connection = await added()
    const claim = (checker: string) => fixture.vault.claimChecks('default', { checker, most: 10 })
    expect(await claim('a')).toEqual([])
    fixture.vault.noteUse(connection)
    await fixture.clock.advance(2 * MINUTE)
    await fixture.vault.drain() // The use is written, and not only on its way.
    await fixture.clock.advance(23 * HOUR)
    expect(await claim('a')).toEqual([])
    await fixture.clock.advance(HOUR)
    await fixture.database.pool.query(
      `insert into breakers (tenant, connection_id, op_group, connector, state, outage_id) values ('default', $1, '', 'shop', 'isolated', 'out_1')`,
      [connection.id],
    )
    expect(await claim('a')).toEqual([])
    await fixture.database.pool.query('delete from breakers')
    const claimed = await Promise.all([
      claim('a'),
      fixture.node().claimChecks('default', { checker: 'b', most: 10 }),
    ])
    expect(claimed.flat()).toHaveLength(1)
  })

  it('that is refused parks the connection; accepted again, it goes on by itself', async () => {
    const connection = await added()
    await refuse(connection)
    expect(await settle('refused')).toBeDefined()
    expect(await stateOf()).toBe('needs_reauthorization')
    await expect(authorize(connection)).rejects.toMatchObject({ code: 'needs_reauthorization' })
    await fixture.database.pool.query('delete from credential_returns')
    await fixture.clock.advance(6 * MINUTE)
    expect(await settle('accepted')).toBeDefined()
    expect(await stateOf()).toBe('active')
    expect(await returns()).toBe(1)
    expect((await fixture.entries()).map(({ action }) => action)).toEqual(
      expect.arrayContaining(['credential.refused', 'connection.reauthorized']),
    )
  })

  it('that alone met a refusal is made once more before it parks', async () => {
    await added()
    await settle('unknown')
    await fixture.clock.advance(2 * DAY)
    expect(await settle('refused')).toBeDefined()
    expect(await stateOf()).toBe('active')
    expect(await settle('refused')).toBeUndefined()
    await fixture.clock.advance(MINUTE)
    expect(await settle('refused')).toBeDefined()
    expect(await stateOf()).toBe('needs_reauthorization')
  })

  it('that alone met a refusal, and is accepted the second time, leaves all as it was', async () => {
    const connection = await added()
    await refuse(connection)
    await settle('accepted')
    await fixture.clock.advance(2 * DAY)
    await settle('refused')
    await fixture.clock.advance(MINUTE)
    await settle('accepted')
    expect(await stateOf()).toBe('active')
    expect((await fixture.entries()).map(({ action }) => action)).not.toContain('credential.refused')
  })

  it('that is accepted lets those go on who were refused before it, once', async () => {
    const connection = await added()
    await fixture.database.pool.query('delete from credential_returns')
    await refuse(connection)
    await settle('accepted')
    expect(await returns()).toBe(1)
    await fixture.database.pool.query('delete from credential_returns')
    // Some calls are refused although the check is not: they look again by themselves.
    await fixture.clock.advance(6 * MINUTE)
    await refuse(connection)
    await settle('accepted')
    expect(await returns()).toBe(0)
  })

  it('counts for a connection that has a key where others of its connector have a grant', async () => {
    const both = connectorWith('either', {
      kind: 'oauth2',
      tokenUrl: 'https://either.example/token',
      authorizeUrl: 'https://either.example/authorize',
      scopes: [],
      clientAuth: 'post',
      alternatives: [{ kind: 'bearer' }],
    })
    const definition = both.connect({ secrets: { token: 'key' } })
    await fixture.vault.addConnection({ tenant: 'default', name: 'either', definition, actor: ACTOR })
    await refuse(await fixture.vault.loadConnection('default', 'either'))
    await settle('refused')
    expect(await stateOf()).toBe('needs_reauthorization')
    await fixture.clock.advance(6 * MINUTE)
    await settle('accepted')
    expect(await stateOf()).toBe('active')
  })

  it('of a key whose former one was refused is no confirmation', async () => {
    const connection = await added()
    await refuse(connection)
    await rotate({ apiKey: 'key-2' }, 0)
    await settle('refused')
    expect(await stateOf()).toBe('active')
  })

  it('begins anew with a refusal that comes long after the last', async () => {
    const connection = await added()
    await refuse(connection)
    await settle('accepted')
    await fixture.clock.advance(DAY / 2)
    await refuse(connection)
    const now = new Date(fixture.clock.now())
    const own = (await checks()).find((row) => row['connection_id'] === connection.id)
    expect(own).toMatchObject({ refused_since: now, refused_at: now, due_at: now })
  })

  it('of a key that was replaced meanwhile says nothing of the new one', async () => {
    const connection = await added()
    await refuse(connection)
    const [due] = await fixture.vault.claimChecks('default', { checker: 'nod_1', most: 10 })
    await rotate({ apiKey: 'key-2' }, 0)
    const refused = { credential: 'refused', outcome: 'parked', code: 'x', reason: 'r' } as const
    await fixture.vault.settleCheck(due!, 'nod_1', refused)
    expect(await stateOf()).toBe('active')
  })

  it('that is refused parks nothing while the former key counts', async () => {
    const connection = await added()
    await rotate({ apiKey: 'key-2' }, HOUR)
    await refuse(connection)
    await settle('refused')
    expect(await stateOf()).toBe('active')
  })
})
