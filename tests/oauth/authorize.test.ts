import { systemClock } from '../../src/base/index.ts'
import { createEgress, type Egress, type EgressRequest } from '../../src/egress/index.ts'
import { openServer, type ServerFixture } from '../../src/server/server.fixture.ts'
import { connectorWith } from '../../src/vault/vault.fixture.ts'
import type { OAuth2Scheme } from '../../src/define/index.ts'
import type { Connection } from '../../src/vault/index.ts'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Browser, locationOf } from './browser.ts'
import { CLIENT, openConsentServer, type ConsentServer } from './consent.ts'

/**
 * A person authorizes a connection: Trestle over HTTP, a real authorization server (oidc-provider) and a browser with
 * cookies that follows its redirects.
 */
const SCHEME: OAuth2Scheme = {
  kind: 'oauth2',
  tokenUrl: '/token',
  authorizeUrl: '/auth',
  revocationUrl: '/token/revocation',
  // What this server wants before it gives a refresh token.
  authorizeParameters: { prompt: 'consent' },
  scopes: ['openid', 'offline_access'],
  clientAuth: 'basic',
}
/** Told apart by their redirect URIs. The issuer is known only when the server runs, and is looked at when it answers. */
const portal = connectorWith('portal', { ...SCHEME })
const twoFold = connectorWith('two-fold', {
  ...SCHEME,
  account: [
    {
      from: {
        kind: 'choice',
        url: '/accounts',
        id: 'key',
        name: 'label',
        only: { field: 'kind', is: 'shop' },
      },
      to: { kind: 'setting', name: 'shop' },
    },
  ],
})
const realm = connectorWith('realm', {
  ...SCHEME,
  account: [{ from: { kind: 'callback', parameter: 'realmId' }, to: { kind: 'setting', name: 'realmId' } }],
})
const CONNECTORS = [portal, twoFold, realm]

let egress: Egress
let provider: ConsentServer
let trestle: ServerFixture
/** What happens to a request of the vault on its way out; put back before each test. */
let onTheWay: (request: EgressRequest) => ReturnType<Egress['send']>

beforeAll(async () => {
  egress = createEgress({ clock: systemClock })
  trestle = await openServer({ connectors: CONNECTORS, send: (request) => onTheWay(request) })
  provider = await openConsentServer()
  provider.serve(CONNECTORS.map(({ name }) => `${trestle.url}/oauth/callback/${name}`))
  Object.assign(portal.auth, { issuer: provider.url })
})
afterAll(async () => {
  await trestle.close()
  await provider.close()
  await egress.destroy()
})
beforeEach(() => {
  onTheWay = (request) => egress.send(request)
  provider.api.clear()
})

let count = 0
/** A connection that has its client and no grant. */
async function fresh(connector = portal): Promise<string> {
  const name = `${connector.name}-${++count}`
  const secrets = { clientId: CLIENT.id, clientSecret: CLIENT.secret }
  const definition = connector.connect({ baseUrl: provider.url, allowPrivateNetwork: true, secrets })
  await trestle.vault.addConnection({ tenant: 'default', name, definition, actor: 'operator:ada' })
  return name
}

async function begin(name: string, body: object = {}): Promise<{ id: string; address: string }> {
  const { status, json } = await trestle.post(`/api/v1/connections/${name}/authorizations`, body)
  expect([status, json.state]).toEqual([200, 'begun'])
  return json
}

/** Begins, opens the address and agrees; the callback is not asked yet. */
async function agreed(
  name: string,
): Promise<{ id: string; address: string; browser: Browser; back: string }> {
  const browser = new Browser()
  const { id, address } = await begin(name)
  const back = await provider.agree(browser, locationOf(await browser.go(address))!)
  return { id, address, browser, back }
}

async function authorized(name: string): Promise<Connection> {
  const { browser, back } = await agreed(name)
  expect((await browser.go(back)).text).toContain('is authorized')
  return trestle.vault.loadConnection('default', name)
}

async function stateOf(id: string): Promise<{ state: string; code: string | null; reason: string | null }> {
  return (await trestle.get(`/api/v1/authorizations/${id}`)).json
}

const rowsOf = async (sql: string, ...values: unknown[]): Promise<readonly Record<string, unknown>[]> =>
  (await trestle.engine.database.pool.query<Record<string, unknown>>(sql, values)).rows

/** Everything of a connection, and all that the ledger has of it but for what is begun. */
async function everythingOf(name: string): Promise<unknown> {
  const [connection] = await rowsOf(`select * from connections where name = $1`, name)
  const secrets = await rowsOf(
    `select * from secrets where connection_id = $1 order by field`,
    connection!['id'],
  )
  return { connection, secrets }
}

async function tokenOf(connection: Connection): Promise<{ token: string; version: string }> {
  const request = { method: 'GET', url: `${provider.url}/api`, headers: {}, body: undefined }
  const context = { idempotencyKey: 'key', now: systemClock.now() }
  const { headers, credentialVersion } = await trestle.vault.authorize(connection, request, context)
  return { token: headers['authorization']!.replace('Bearer ', ''), version: credentialVersion }
}

describe('a person authorizes a connection', () => {
  it('and it works from then on, by tokens that are kept fresh', async () => {
    const name = await fresh()
    const before = await trestle.vault.loadConnection('default', name)
    expect(before.state).toBe('needs_reauthorization')
    const { id, browser, back } = await agreed(name)
    expect((await stateOf(id)).state).toBe('opened')
    const page = await browser.go(back)
    expect([page.status, page.text]).toEqual([200, expect.stringContaining(`${name}</code> is authorized`)])
    expect(await stateOf(id)).toMatchObject({ state: 'granted', code: null })
    expect(await rowsOf('select answer from authorizations where id = $1', id)).toEqual([{ answer: null }])

    const connection = await trestle.vault.loadConnection('default', name)
    expect(connection.state).toBe('active')
    const first = await tokenOf(connection)
    expect(await provider.isGood(first.token)).toBe(true)
    expect(await trestle.vault.refreshAfterUnauthorized(connection, first.version)).toEqual({
      as: 'refreshed',
    })
    const second = await tokenOf(connection)
    expect(second.token).not.toBe(first.token)
    expect(await provider.isGood(second.token)).toBe(true)

    const entries = await rowsOf(
      `select action, actor, outcome from ledger where target = $1 and action !~ 'credential' order by id`,
      connection.id,
    )
    expect(entries.map(({ action, outcome }) => [action, outcome])).toEqual([
      ['connection.added', 'succeeded'],
      ['authorization.begun', 'succeeded'],
      ['authorization.granted', 'succeeded'],
      ['connection.reauthorized', 'succeeded'],
    ])
    expect(entries[2]!['actor']).toMatch(/^token:tok_\w+\/admin$/)
  })

  it('with PKCE: the challenge of S256 goes with the browser, the verifier with the code', async () => {
    const browser = new Browser()
    const { address } = await begin(await fresh())
    const start = await browser.go(address)
    const consent = new URL(locationOf(start)!)
    expect(Object.fromEntries(consent.searchParams)).toMatchObject({
      response_type: 'code',
      client_id: CLIENT.id,
      redirect_uri: `${trestle.url}/oauth/callback/portal`,
      scope: 'openid offline_access',
      code_challenge_method: 'S256',
      code_challenge: expect.stringMatching(/^[\w-]{43}$/),
      state: expect.stringMatching(/^[\w-]{43}$/),
      prompt: 'consent',
    })
    const asked = provider.questions.length
    await browser.go(await provider.agree(browser, consent.href))
    expect(provider.questions.slice(asked)).toEqual([
      expect.objectContaining({
        grant_type: 'authorization_code',
        code_verifier: expect.stringMatching(/^[\w-]{43}$/),
        redirect_uri: `${trestle.url}/oauth/callback/portal`,
      }),
    ])
  })

  it('CONTROL: the server does look at the verifier', async () => {
    onTheWay = (request) =>
      egress.send({
        ...request,
        body: Buffer.from(
          request.body!.toString().replace(/code_verifier=[^&]+/, `code_verifier=${'x'.repeat(43)}`),
        ),
      })
    const name = await fresh()
    const before = await everythingOf(name)
    const { id, browser, back } = await agreed(name)
    expect((await browser.go(back)).status).toBe(400)
    expect(await stateOf(id)).toMatchObject({ state: 'failed', code: 'invalid_grant' })
    expect(await everythingOf(name)).toEqual(before)
  })

  it('by a cookie that no script reads, that no form of another site brings along, and that ends', async () => {
    const browser = new Browser()
    const { address } = await begin(await fresh())
    const start = await browser.go(address)
    expect(browser.attributesOf('trestle_oauth_aut_')).toBe(
      'Max-Age=3600; Path=/oauth; HttpOnly; SameSite=Lax',
    )
    expect(start.headers).toMatchObject({ 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' })
  })

  it('anew, in place of the grant that it had', async () => {
    const name = await fresh()
    const connection = await authorized(name)
    const first = await tokenOf(connection)
    await authorized(name)
    const second = await tokenOf(connection)
    expect(BigInt(second.version)).toBe(BigInt(first.version) + 1n)
    expect(await provider.isGood(second.token)).toBe(true)
  })

  it('and nothing of its secrets stands in the database, the ledger or a page', async () => {
    const name = await fresh()
    const { id, address, browser, back } = await agreed(name)
    const page = await browser.go(back)
    const connection = await trestle.vault.loadConnection('default', name)
    const { token } = await tokenOf(connection)
    const { code = '', state = '' } = Object.fromEntries(new URL(back).searchParams)
    const secrets = [
      code,
      state,
      address.split('/').at(-1)!,
      browser.cookiesFor(new URL(back)).split('=').at(-1)!,
      token,
    ]
    expect(secrets.every((secret) => secret.length > 20)).toBe(true)
    const tables = ['authorizations', 'ledger', 'secrets', 'connections', 'grant_refreshes']
    const rows = await Promise.all(
      tables.map((table) => rowsOf(`select t::text as row, t.* from ${table} t`)),
    )
    const dump = rows
      .flat()
      .flatMap((row) => Object.values(row))
      .map((value) => (Buffer.isBuffer(value) ? value.toString('latin1') : String(value)))
      .join('\n')
    const seen = `${dump}\n${page.text}\n${JSON.stringify(await stateOf(id))}`
    expect(secrets.filter((secret) => seen.includes(secret))).toEqual([])
    expect(seen).toContain(id)
  })
})

describe('an attack changes nothing:', () => {
  /** Sends the callback in a way that must not go, and looks whether the true one still does. */
  async function tried(
    attack: (of: { browser: Browser; back: string; id: string }) => Promise<{ status: number; text: string }>,
    expected: readonly [status: number, code: string],
    { stillGoes = true } = {},
  ): Promise<void> {
    const name = await fresh()
    const { id, browser, back } = await agreed(name)
    const before = await everythingOf(name)
    const asked = provider.questions.length
    const { status, text } = await attack({ browser, back, id })
    expect([status, text]).toEqual([expected[0], expect.stringContaining(expected[1])])
    expect(await everythingOf(name)).toEqual(before)
    expect(provider.questions.length).toBe(asked)
    const real = await browser.go(back)
    expect([real.status === 200, (await trestle.vault.loadConnection('default', name)).state]).toEqual(
      stillGoes ? [true, 'active'] : [false, 'needs_reauthorization'],
    )
  }
  const altered = (back: string, change: (query: URLSearchParams) => void): string => {
    const url = new URL(back)
    change(url.searchParams)
    return url.href
  }

  it('a made-up state', () =>
    tried(
      ({ browser, back }) => browser.go(altered(back, (query) => query.set('state', 'x'.repeat(43)))),
      [404, 'authorization_unknown'],
    ))

  it('no state', () =>
    tried(
      ({ browser, back }) => browser.go(altered(back, (query) => query.delete('state'))),
      [404, 'authorization_unknown'],
    ))

  it('two states', () =>
    tried(
      ({ browser, back }) => browser.go(altered(back, (query) => query.append('state', 'x'))),
      [404, 'authorization_unknown'],
    ))

  it('two codes', () =>
    tried(
      ({ browser, back }) => browser.go(altered(back, (query) => query.append('code', 'x'))),
      [400, 'callback_invalid'],
    ))

  it('no code', () =>
    tried(
      ({ browser, back }) => browser.go(altered(back, (query) => query.delete('code'))),
      [400, 'callback_invalid'],
    ))

  it("the victim's browser, which never began (CSRF: an attacker's code behind a link)", () =>
    tried(({ back }) => new Browser().go(back), [403, 'authorization_other_browser']))

  it('a browser that began another authorization', () =>
    tried(
      async ({ back }) => {
        const other = new Browser()
        await other.go((await begin(await fresh())).address)
        return other.go(back)
      },
      [403, 'authorization_other_browser'],
    ))

  it("a code of another authorization behind one's own state, which the server refuses by PKCE", async () => {
    const name = await fresh()
    const [own, foreign] = [await agreed(name), await agreed(await fresh())]
    const before = await everythingOf(name)
    const injected = altered(own.back, (query) =>
      query.set('code', new URL(foreign.back).searchParams.get('code')!),
    )
    expect((await own.browser.go(injected)).status).toBe(400)
    expect(await stateOf(own.id)).toMatchObject({ state: 'failed', code: 'invalid_grant' })
    expect(await everythingOf(name)).toEqual(before)
  })

  it('another issuer (RFC 9207: mix-up)', () =>
    tried(
      ({ browser, back }) => browser.go(altered(back, (query) => query.set('iss', 'https://evil.example'))),
      [403, 'issuer_differs'],
    ))

  it('no issuer, from a provider that says it', () =>
    tried(
      ({ browser, back }) => browser.go(altered(back, (query) => query.delete('iss'))),
      [403, 'issuer_differs'],
    ))

  it("an answer at another provider's redirect URI (mix-up without an issuer, RFC 9700, 4.4.2)", () =>
    tried(
      ({ browser, back }) => browser.go(back.replace('/callback/portal', '/callback/realm')),
      [404, 'authorization_unknown'],
    ))

  it('an answer that comes after its time', () =>
    tried(
      async ({ browser, back, id }) => {
        await rowsOf(`update authorizations set ends_at = now() - interval '1 second' where id = $1`, id)
        const page = await browser.go(back)
        expect((await stateOf(id)).state).toBe('expired')
        return page
      },
      [410, 'authorization_expired'],
      { stillGoes: false },
    ))

  it('an answer to what was cancelled', () =>
    tried(
      async ({ browser, back, id }) => {
        expect((await trestle.post(`/api/v1/authorizations/${id}/cancel`)).json.state).toBe('cancelled')
        return browser.go(back)
      },
      [404, 'authorization_unknown'],
      { stillGoes: false },
    ))

  it('a HEAD, which asks nothing and uses nothing up', () =>
    tried(
      async ({ back }) => {
        const answer = await fetch(back, { method: 'HEAD', redirect: 'manual' })
        return { status: answer.status === 200 ? 404 : 0, text: 'authorization_unknown' }
      },
      [404, 'authorization_unknown'],
    ))

  it('the same answer again, and many times at once: the code is asked with once', async () => {
    const name = await fresh()
    const { id, browser, back } = await agreed(name)
    const asked = provider.questions.length
    const pages = await Promise.all(Array.from({ length: 8 }, () => browser.go(back)))
    expect(pages.map(({ status }) => status).sort((a, b) => a - b)).toEqual([
      200, 410, 410, 410, 410, 410, 410, 410,
    ])
    expect(provider.questions.length).toBe(asked + 1)
    const before = await everythingOf(name)
    expect((await browser.go(back)).text).toContain('authorization_used')
    expect(await everythingOf(name)).toEqual(before)
    expect((await stateOf(id)).state).toBe('granted')
  })

  it('the start address in a second browser; the first may come again', async () => {
    const { address } = await begin(await fresh())
    const [first, second] = [new Browser(), new Browser()]
    const start = await first.go(address)
    expect((await second.go(address)).text).toContain('authorization_other_browser')
    expect(locationOf(await first.go(address))).toBe(locationOf(start))
  })

  it('a look ahead takes no start address up', async () => {
    const { address } = await begin(await fresh())
    await fetch(address, { method: 'HEAD', redirect: 'manual' })
    await fetch(address, { headers: { 'sec-purpose': 'prefetch' }, redirect: 'manual' })
    expect((await new Browser().go(address)).status).toBe(302)
  })

  it('a made-up start address', async () => {
    expect(await new Browser().go(`${trestle.url}/oauth/start/${'x'.repeat(43)}`)).toMatchObject({
      status: 404,
    })
  })
})

describe('a person who does not agree', () => {
  it('is told so, and the connection stays as it was', async () => {
    const name = await fresh()
    const before = await everythingOf(name)
    const browser = new Browser()
    const { id, address } = await begin(name)
    const back = await provider.refuse(browser, locationOf(await browser.go(address))!)
    const page = await browser.go(back)
    expect([page.status, page.text]).toEqual([400, expect.stringContaining('access_denied')])
    expect(await stateOf(id)).toMatchObject({ state: 'failed', code: 'access_denied' })
    expect(await everythingOf(name)).toEqual(before)
    const [entry] = await rowsOf(
      `select outcome from ledger where action = 'authorization.failed' order by id desc`,
    )
    expect(entry).toEqual({ outcome: 'access_denied' })
  })

  it('what the provider says is shown as text', async () => {
    const { browser, back } = await agreed(await fresh())
    const url = new URL(back)
    url.searchParams.set('error', 'server_error')
    url.searchParams.set('error_description', '<script>alert(1)</script>')
    const { text } = await browser.go(url.href)
    expect(text).not.toContain('<script>')
    expect(text).toContain('&lt;script&gt;')
  })
})
