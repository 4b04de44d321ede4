import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { systemRandom } from '../base/index.ts'
import { env, type ConnectionDefinition } from '../define/index.ts'
import { localMasterKey } from './masterKey.ts'
import {
  connectorWith,
  ENVIRONMENT,
  openVaultFixture,
  SIGNED_WEBHOOKS,
  type VaultFixture,
} from './vault.fixture.ts'

const stripe = connectorWith('payments', { kind: 'bearer' }, { webhooks: SIGNED_WEBHOOKS })
const sms = connectorWith('sms', { kind: 'basic' })
const books = connectorWith('books', { kind: 'bearer' }, { settings: { realmId: 'the company id' } })

let fixture: VaultFixture
beforeAll(async () => {
  fixture = await openVaultFixture()
})
afterAll(() => fixture.close())
beforeEach(async () => {
  await fixture.clear()
  Object.assign(ENVIRONMENT, { PAY_KEY: 'sk_1', HOOK_A: 'hook-a', HOOK_B: 'hook-b', SID: 'AC1', AUTH: 'pw' })
})

const DECLARED: Record<string, ConnectionDefinition> = {
  pay: stripe.connect({ secrets: { token: env('PAY_KEY') }, webhookSecrets: [env('HOOK_A')] }),
  sms: sms.connect({ secrets: { username: env('SID'), password: env('AUTH') } }),
}
const sync = (declared = DECLARED, vault = fixture.vault) => vault.syncDeclared('default', declared)
const actions = async () => (await fixture.entries()).map((entry) => entry.action)

async function rowsOf(table: string): Promise<readonly Record<string, unknown>[]> {
  return (
    await fixture.database.pool.query<Record<string, unknown>>(`select * from ${table} order by 1, 2, 3`)
  ).rows
}

async function everything(): Promise<string> {
  const tables = ['connections', 'secrets', 'endpoints', 'ledger']
  return JSON.stringify(await Promise.all(tables.map(rowsOf)))
}

describe('declared connections', () => {
  it('are written with their settings, endpoint and sealed secrets, on the record', async () => {
    const result = await sync({
      ...DECLARED,
      books: books.connect({
        secrets: { token: 'tok' },
        settings: { realmId: '42' },
        baseUrl: 'http://127.0.0.1:9/',
        allowPrivateNetwork: true,
      }),
    })
    expect(result.connections.map((one) => [one.name, one.change])).toEqual([
      ['books', 'added'],
      ['pay', 'added'],
      ['sms', 'added'],
    ])
    const pay = await fixture.vault.loadConnection('default', 'pay')
    expect(pay).toMatchObject({
      id: result.connections[1]!.id,
      connector: 'payments',
      auth: { kind: 'bearer' },
      state: 'active',
      baseUrl: 'https://api.payments.example',
      settings: {},
      allowPrivateNetwork: false,
      declared: true,
      endpoint: { path: 'pay' },
    })
    expect(await fixture.vault.loadConnection('default', 'books')).toMatchObject({
      baseUrl: 'http://127.0.0.1:9',
      settings: { realmId: '42' },
      allowPrivateNetwork: true,
      endpoint: undefined,
    })
    expect(await fixture.vault.loadConnectionById('default', pay.id)).toEqual(pay)
    expect(await fixture.vault.loadConnectionByPath('default', 'pay')).toEqual(pay)
    expect(await fixture.vault.loadConnectionByPath('default', 'nowhere')).toBeUndefined()
    expect(await fixture.vault.loadConnectionByPath('other', 'pay')).toBeUndefined()
    expect(await fixture.vault.webhookSecrets(pay)).toEqual(['hook-a'])
    expect((await actions()).filter((action) => action === 'connection.added').length).toBe(3)
    expect((await actions()).filter((action) => action === 'credential.added').length).toBe(5)
  })

  it.each([
    '\u0000https://pay.example',
    'https://pay.example/\u0000',
    ' https://pay.example',
    'https://pay\n.example',
  ])('are refused at a base URL that only a parser takes: %j', async (baseUrl) => {
    const definition = connectorWith('odd', { kind: 'bearer' }).connect({ baseUrl, secrets: { token: 't' } })
    await expect(fixture.vault.syncDeclared('default', { odd: definition })).rejects.toThrow(
      'Connection "odd": its base URL has white space or a control character in it.',
    )
    const inTokenUrl = connectorWith('odd-oauth', {
      kind: 'oauth2',
      tokenUrl: '/token',
      grant: 'client_credentials',
      scopes: [],
      clientAuth: 'post',
    }).connect({ tokenUrl: baseUrl, secrets: { clientId: 'id', clientSecret: 'secret' } })
    await expect(fixture.vault.syncDeclared('default', { odd: inTokenUrl })).rejects.toThrow(
      /the token URL .* is neither absolute nor a path/s,
    )
  })

  it('are left untouched by a second start, to the byte', async () => {
    await sync()
    const before = await everything()
    const result = await sync()
    expect(result.connections.map((one) => one.change)).toEqual(['unchanged', 'unchanged'])
    expect(await everything()).toBe(before)
  })

  it('have only that secret sealed again which changed', async () => {
    await sync()
    const before = await rowsOf('secrets')
    ENVIRONMENT['AUTH'] = 'pw-2'
    const result = await sync()
    expect(result.connections.map((one) => one.change)).toEqual(['unchanged', 'changed'])
    const changed = (await rowsOf('secrets')).filter(
      (row, i) => !(row['sealed'] as Buffer).equals(before[i]!['sealed'] as Buffer),
    )
    expect(changed).toMatchObject([{ field: 'password', version: '2' }])
    expect((await fixture.entries()).at(-1)).toMatchObject({
      action: 'credential.rotated',
      detail: { field: 'password', version: '2' },
    })
  })

  it('follow the configuration in address and settings', async () => {
    await sync()
    await sync({
      ...DECLARED,
      pay: { ...DECLARED['pay']!, baseUrl: 'https://sandbox.example', endpoint: 'pay-2' },
    })
    expect(await fixture.vault.loadConnection('default', 'pay')).toMatchObject({
      baseUrl: 'https://sandbox.example',
      endpoint: { path: 'pay-2' },
    })
    expect((await fixture.entries()).at(-1)).toMatchObject({
      action: 'connection.changed',
      detail: { baseUrl: 'https://sandbox.example' },
    })
  })

  it('have their webhook secrets in order through a rotation', async () => {
    await sync()
    const pay = await fixture.vault.loadConnection('default', 'pay')
    const rotate = async (...secrets: ConnectionDefinition['webhookSecrets'] & object) => {
      await sync({ ...DECLARED, pay: { ...DECLARED['pay']!, webhookSecrets: secrets } })
      return fixture.vault.webhookSecrets(pay)
    }
    expect(await rotate(env('HOOK_B'), env('HOOK_A'))).toEqual(['hook-b', 'hook-a'])
    expect(await rotate(env('HOOK_B'))).toEqual(['hook-b'])
    expect(await actions()).toContain('credential.revoked')
    const many = Array.from({ length: 10 }, (_, i) => `hook-${i}`)
    expect(await rotate(...many)).toEqual(many)
  })

  it('are the same for nodes that start at once', async () => {
    const nodes = [fixture.node(), fixture.node(), fixture.node(), fixture.node()]
    await Promise.all(nodes.map((node) => sync(DECLARED, node)))
    expect((await rowsOf('connections')).length).toBe(2)
    expect((await rowsOf('endpoints')).length).toBe(1)
    expect((await rowsOf('secrets')).map((row) => row['version'])).toEqual(['1', '1', '1', '1'])
    expect((await actions()).filter((action) => action === 'connection.added').length).toBe(2)
  })

  it('that are declared no more stay, and can then be removed', async () => {
    await sync()
    const { vault } = fixture
    await expect(vault.removeConnection('default', 'pay', 'operator:ada')).rejects.toMatchObject({
      name: 'UsageError',
      code: 'connection_declared',
    })
    expect((await sync({ sms: DECLARED['sms']! })).undeclared).toEqual(['pay'])
    expect((await vault.loadConnection('default', 'pay')).declared).toBe(false)
    await vault.removeConnection('default', 'pay', 'operator:ada')
    expect((await vault.loadConnection('default', 'pay')).state).toBe('revoked')
  })
})

describe('a mistake in the configuration', () => {
  it('is refused with the connection, the field and the variable, all mistakes at once, and nothing written', async () => {
    delete ENVIRONMENT['PAY_KEY']
    ENVIRONMENT['AUTH'] = ''
    const before = await everything()
    const error = await sync({
      ...DECLARED,
      books: books.connect({ secrets: { token: 'tok' } }),
    }).catch((thrown: Error) => thrown)
    expect(error).toMatchObject({ name: 'UsageError', code: 'connections_invalid' })
    const lines = (error as Error).message.split('\n')
    expect(lines).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/"pay".*"token".*PAY_KEY/),
        expect.stringMatching(/"sms".*"password".*AUTH/),
        expect.stringMatching(/"books".*"realmId".*the company id/),
      ]),
    )
    expect(await everything()).toBe(before)
  })

  it.each<[string, ConnectionDefinition, RegExp]>([
    [
      'a token URL that is none',
      connectorWith('odd-oauth', {
        kind: 'oauth2',
        tokenUrl: 'oauth/token',
        authorizeUrl: '',
        scopes: [],
        clientAuth: 'basic',
      }).connect({ secrets: { clientId: 'a', clientSecret: 'b', refreshToken: 'c' } }),
      /token URL "oauth\/token"/,
    ],
    ['no secret at all', stripe.connect({}), /no secret "token".*trestle connections add/],
    [
      'a secret of another scheme',
      stripe.connect({ secrets: { token: 'x', apiKey: 'y' } }),
      /has no secret "apiKey"/,
    ],
    ['a line break behind a secret', stripe.connect({ secrets: { token: 'x\n' } }), /white space/],
    [
      'a line break within a secret',
      stripe.connect({ secrets: { token: 'x\r\ny: z' } }),
      /control character/,
    ],
    ['a header that cannot be sent', stripe.connect({ secrets: { token: 'kéy' } }), /HTTP header/],
    ['a colon in a user name', sms.connect({ secrets: { username: 'a:b', password: 'c' } }), /colon/],
    [
      'a base URL that is none',
      stripe.connect({ secrets: { token: 'x' }, baseUrl: 'example.com' }),
      /base URL/,
    ],
    [
      'credentials in the base URL',
      stripe.connect({ secrets: { token: 'x' }, baseUrl: 'https://u:p@x.example' }),
      /base URL/,
    ],
    [
      'an endpoint that cannot be verified',
      stripe.connect({ secrets: { token: 'x' }, endpoint: 'in' }),
      /webhookSecrets/,
    ],
    [
      'an endpoint of a connector without webhooks',
      books.connect({ secrets: { token: 'x' }, settings: { realmId: '1' }, endpoint: 'in' }),
      /no webhooks/,
    ],
    [
      'a path for an endpoint',
      stripe.connect({ secrets: { token: 'x' }, endpoint: 'a/../b', webhookSecrets: ['s'] }),
      /not a path/,
    ],
    [
      'too many webhook secrets',
      stripe.connect({
        secrets: { token: 'x' },
        webhookSecrets: Array.from({ length: 11 }, (_, i) => `s${i}`),
      }),
      /more than 10/,
    ],
  ])('such as %s is refused', async (_, definition, message) => {
    await expect(sync({ one: definition })).rejects.toMatchObject({
      code: 'connections_invalid',
      message: expect.stringMatching(message) as string,
    })
    expect(await rowsOf('connections')).toEqual([])
  })

  it('such as one endpoint for two connections is refused, whoever came first', async () => {
    const twice = { a: { ...DECLARED['pay']!, endpoint: 'in' }, b: { ...DECLARED['pay']!, endpoint: 'in' } }
    await expect(sync(twice)).rejects.toMatchObject({
      message: expect.stringMatching(/"b".*belongs to.*"a"/) as string,
    })
    await sync({ a: twice.a })
    await expect(sync({ b: twice.b })).rejects.toMatchObject({
      message: expect.stringContaining('trestle connections remove a') as string,
    })
    await fixture.vault.removeConnection('default', 'a', 'operator:ada')
    expect((await sync({ b: twice.b })).connections[0]!.change).toBe('added')
  })

  it('such as a name that is another provider already is refused', async () => {
    await sync()
    await expect(
      sync({ ...DECLARED, pay: sms.connect({ secrets: { username: 'a', password: 'b' } }) }),
    ).rejects.toMatchObject({
      message: expect.stringMatching(/"pay".*payments already/) as string,
    })
  })

  it('never shows a secret in its message', async () => {
    const error = await sync({ one: stripe.connect({ secrets: { token: 'sk_live_visible ' } }) }).catch(
      (thrown: Error) => thrown,
    )
    expect((error as Error).message).not.toContain('sk_live_visible')
  })
})

describe('connections that an operator adds', () => {
  const add = (name: string, definition: ConnectionDefinition) =>
    fixture.vault.addConnection({ tenant: 'default', name, definition, actor: 'operator:ada' })

  it('work like declared ones, and are not touched by the configuration', async () => {
    await add('extra', stripe.connect({ secrets: { token: 'sk_extra' }, webhookSecrets: ['hook'] }))
    await sync()
    const extra = await fixture.vault.loadConnection('default', 'extra')
    expect(extra).toMatchObject({ declared: false, state: 'active', endpoint: { path: 'extra' } })
    const authorized = await fixture.vault.authorize(
      extra,
      { method: 'GET', url: 'https://x.example', headers: {}, body: undefined },
      { idempotencyKey: 'k', now: 0 },
    )
    expect(authorized.headers['authorization']).toBe('Bearer sk_extra')
    expect((await fixture.entries())[0]).toMatchObject({ actor: 'operator:ada' })
  })

  it('give a declared one the secrets that the configuration leaves to the vault, and nothing else', async () => {
    const declared = { pay: stripe.connect({ baseUrl: 'https://declared.example', endpoint: 'in' }) }
    await expect(sync(declared)).rejects.toMatchObject({ code: 'connections_invalid' })
    await add('pay', stripe.connect({ secrets: { token: 'sk_vault' }, webhookSecrets: ['hook'] }))
    await sync(declared)
    await add(
      'pay',
      stripe.connect({ secrets: { token: 'sk_vault_2' }, baseUrl: 'https://elsewhere.example' }),
    )
    const pay = await fixture.vault.loadConnection('default', 'pay')
    expect(pay).toMatchObject({
      baseUrl: 'https://declared.example',
      declared: true,
      endpoint: { path: 'in' },
    })
    expect(await fixture.vault.secretValuesOf(pay)).toEqual(['sk_vault_2', 'hook'])
    expect((await sync(declared)).connections[0]!.change).toBe('unchanged')
  })

  it('leave nothing to open when they are removed, and can come back under the same id', async () => {
    const { id } = await add(
      'extra',
      stripe.connect({ secrets: { token: 'sk_extra' }, webhookSecrets: ['hook'] }),
    )
    await fixture.vault.removeConnection('default', 'extra', 'operator:ada')
    expect([await rowsOf('secrets'), await rowsOf('endpoints')]).toEqual([[], []])
    expect(await rowsOf('connections')).toMatchObject([{ id, state: 'revoked' }])
    expect((await fixture.entries()).at(-1)).toMatchObject({
      action: 'connection.removed',
      actor: 'operator:ada',
      connectionId: id,
    })
    await expect(fixture.vault.removeConnection('default', 'extra', 'operator:ada')).rejects.toMatchObject({
      code: 'not_found',
    })
    expect(await add('extra', stripe.connect({ secrets: { token: 'sk_new' } }))).toMatchObject({
      id,
      change: 'added',
    })
    expect((await fixture.vault.loadConnection('default', 'extra')).state).toBe('active')
  })

  it('are listed with the names of their secrets', async () => {
    await sync()
    const listed = await fixture.vault.listConnections('default')
    expect(listed.map((one) => [one.name, one.secrets.map((secret) => secret.field)])).toEqual([
      ['pay', ['token', 'webhookSecret.0']],
      ['sms', ['password', 'username']],
    ])
    await expect(fixture.vault.loadConnection('default', 'nope')).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringContaining('pay, sms') as string,
    })
  })
})

describe('the master key', () => {
  it('that is not the former one stops everything before a byte is written, with one message', async () => {
    await sync()
    const before = await everything()
    const stranger = fixture.node({ key: localMasterKey(systemRandom.bytes(32), systemRandom) })
    const refused = {
      name: 'PermanentError',
      code: 'master_key_wrong',
      message: expect.stringMatching(/4 of 4 secrets.*TRESTLE_MASTER_KEY/) as string,
    }
    ENVIRONMENT['PAY_KEY'] = 'sk_changed'
    await expect(sync({}, stranger)).rejects.toMatchObject(refused)
    await expect(sync(DECLARED, stranger)).rejects.toMatchObject(refused)
    await expect(
      stranger.addConnection({ tenant: 'default', name: 'x', definition: DECLARED['pay']!, actor: 'system' }),
    ).rejects.toMatchObject(refused)
    await expect(stranger.checkMasterKey()).rejects.toMatchObject(refused)
    expect(await everything()).toBe(before)
    await expect(fixture.vault.checkMasterKey()).resolves.toBeUndefined()
  })

  it('keeps a secret of the installation under its name', async () => {
    const one = fixture.vault.installationSeal('ledger.private_key')
    const sealed = await one.seal(Buffer.from('seed'))
    expect((await one.open(sealed)).toString()).toBe('seed')
    await expect(fixture.vault.installationSeal('other').open(sealed)).rejects.toMatchObject({
      code: 'secret_unreadable',
    })
  })
})

describe('a change and its ledger entry', () => {
  it('are one transaction: without the entry nothing is changed', async () => {
    const failing = fixture.node({ record: () => Promise.reject(new Error('no ledger')) })
    await expect(sync(DECLARED, failing)).rejects.toThrow('no ledger')
    expect(await everything()).toBe('[[],[],[],[]]')
    await sync()
    await sync({})
    const before = await everything()
    await expect(failing.removeConnection('default', 'pay', 'operator:ada')).rejects.toThrow('no ledger')
    expect(await everything()).toBe(before)
  })
})
