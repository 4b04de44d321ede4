import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { HOUR, MINUTE, RetryableError, SECOND } from '../base/index.ts'
import type { ConnectionDefinition, OAuth2Scheme } from '../define/index.ts'
import { openDatabase, transaction, type Queryable } from '../db/index.ts'
import type { Connection } from './connections.ts'
import type { VaultStorage } from './storage.ts'
import { CLIENT, openTokenServer, type TokenServer } from './tokenServer.fixture.ts'
import { connectorWith, openVaultFixture, storageOf, type VaultFixture } from './vault.fixture.ts'
import type { Vault } from './vault.ts'

const SCHEME: OAuth2Scheme = {
  kind: 'oauth2',
  tokenUrl: '/oauth/token',
  authorizeUrl: '/oauth/authorize',
  scopes: ['read'],
  clientAuth: 'basic',
}
const basic = connectorWith('oauth-basic', SCHEME)
const post = connectorWith('oauth-post', { ...SCHEME, clientAuth: 'post' })
const REQUEST = { method: 'GET', url: 'https://api.example/x', headers: {}, body: undefined }

let fixture: VaultFixture
let server: TokenServer
beforeAll(async () => {
  fixture = await openVaultFixture()
})
afterAll(() => fixture.close())
beforeEach(async () => {
  await fixture.clear()
  server = await openTokenServer()
  return () => server.close()
})

function definition(refreshToken: string, connector = basic): ConnectionDefinition {
  return connector.connect({
    baseUrl: server.url,
    allowPrivateNetwork: true,
    secrets: { clientId: CLIENT.id, clientSecret: CLIENT.secret, refreshToken },
  })
}

/** A node whose connection has a grant, and not yet an access token. */
async function connected(name: string, connector = basic): Promise<{ vault: Vault; connection: Connection }> {
  const vault = fixture.node()
  await vault.syncDeclared('default', { [name]: definition(server.newFamily(), connector) })
  return { vault, connection: await vault.loadConnection('default', name) }
}

async function tokenOf(vault: Vault, connection: Connection): Promise<{ token: string; version: string }> {
  const authorized = await vault.authorize(connection, REQUEST, {
    idempotencyKey: 'key',
    now: fixture.clock.now(),
  })
  expect(authorized.secretHeaders).toEqual(['authorization'])
  return {
    token: authorized.headers['authorization']!.replace('Bearer ', ''),
    version: authorized.credentialVersion,
  }
}

async function stateOf(connection: Connection): Promise<string> {
  const { rows } = await fixture.database.pool.query<{ state: string }>(
    'select state from connections where id = $1',
    [connection.id],
  )
  return rows[0]!.state
}

describe('an access token', () => {
  it('is fetched at first use, kept until it nears its end, and then refreshed with the rotated token', async () => {
    const { vault, connection } = await connected('first')
    const first = await tokenOf(vault, connection)
    expect(server.isGood(first.token)).toBe(true)
    await fixture.clock.advance(HOUR - 121 * SECOND)
    expect(await tokenOf(vault, connection)).toEqual(first)
    expect(server.requests.length).toBe(1)
    await fixture.clock.advance(2 * SECOND)
    const second = await tokenOf(vault, connection)
    expect(second.token).not.toBe(first.token)
    expect(server.isGood(second.token)).toBe(true)
    expect(server.requests.length).toBe(2)
    expect(server.deadFamilies()).toBe(0)
  })

  it('is read at use: a refresh by another node is seen by the next call', async () => {
    const { vault, connection } = await connected('shared')
    const other = fixture.node()
    const first = await tokenOf(vault, connection)
    expect(await tokenOf(other, connection)).toEqual(first)
    expect(await other.refreshAfterUnauthorized(connection, first.version)).toEqual({ as: 'refreshed' })
    const second = await tokenOf(vault, connection)
    expect(second.token).not.toBe(first.token)
    expect(await tokenOf(other, connection)).toEqual(second)
  })

  it('of a short life is refreshed in its second half, not at every use', async () => {
    const { vault, connection } = await connected('short')
    server.lifetime = 60
    const first = await tokenOf(vault, connection)
    await fixture.clock.advance(29 * SECOND)
    expect(await tokenOf(vault, connection)).toEqual(first)
    await fixture.clock.advance(2 * SECOND)
    expect(await tokenOf(vault, connection)).not.toEqual(first)
  })

  it.each([
    ['basic', basic],
    ['post', post],
  ] as const)('is asked for with the client shown by %s', async (kind, connector) => {
    const { vault, connection } = await connected(`client-${kind}`, connector)
    await tokenOf(vault, connection)
    const { authorization, form } = server.requests[0]!
    expect(form.get('grant_type')).toBe('refresh_token')
    if (kind === 'basic') {
      // RFC 6749, 2.3.1: both are form-encoded before they are joined.
      const credential = Buffer.from(authorization!.replace('Basic ', ''), 'base64').toString()
      expect(credential).toBe('client%3Aid:client+secret%2F%25')
      expect(form.has('client_secret')).toBe(false)
    } else {
      expect(authorization).toBeUndefined()
      expect([form.get('client_id'), form.get('client_secret')]).toEqual([CLIENT.id, CLIENT.secret])
    }
  })

  it('that the author gave is used before any refresh', async () => {
    const vault = fixture.node()
    const given = definition(server.newFamily())
    const expiresAt = new Date(fixture.clock.now() + HOUR).toISOString()
    await vault.syncDeclared('default', {
      given: { ...given, secrets: { ...given.secrets, accessToken: 'at_given', expiresAt } },
    })
    const connection = await vault.loadConnection('default', 'given')
    expect((await tokenOf(vault, connection)).token).toBe('at_given')
    expect(server.requests.length).toBe(0)
  })

  it('is used until it is refused where the provider says no lifetime', async () => {
    const { vault, connection } = await connected('no-lifetime')
    server.failNext((issued) => {
      const { expires_in: _, ...rest } = JSON.parse(issued()) as Record<string, unknown>
      return { status: 200, body: JSON.stringify(rest) }
    })
    const first = await tokenOf(vault, connection)
    await fixture.clock.advance(1000 * HOUR)
    expect(await tokenOf(vault, connection)).toEqual(first)
    expect(await vault.refreshAfterUnauthorized(connection, first.version)).toEqual({ as: 'refreshed' })
    expect(await tokenOf(vault, connection)).not.toEqual(first)
  })
})

describe('one refresh per expiry', () => {
  const ROUNDS = 5

  /** 50 callers over three nodes at each expiry; the answers of the first are held until all are under way. */
  async function storm(nodes: readonly Vault[], connection: Connection): Promise<void> {
    for (let round = 0; round < ROUNDS; round++) {
      await fixture.clock.advance(2 * HOUR)
      await Promise.allSettled(
        Array.from({ length: 50 }, (_, i) => tokenOf(nodes[i % nodes.length]!, connection)),
      )
    }
  }

  it('by 50 concurrent callers on three nodes, and no grant dies', async () => {
    const { vault, connection } = await connected('storm')
    await storm([vault, fixture.node(), fixture.node()], connection)
    expect(server.requests.length).toBe(ROUNDS)
    expect(server.deadFamilies()).toBe(0)
    expect(server.isGood((await tokenOf(vault, connection)).token)).toBe(true)
    const refreshed = (await fixture.entries()).filter((entry) => entry.action === 'credential.refreshed')
    expect(refreshed.length).toBe(ROUNDS)
  })

  it('although the other nodes come while the token endpoint is still answering the first', async () => {
    const { vault, connection } = await connected('storm-held')
    const nodes = [vault, fixture.node(), fixture.node()]
    const release = server.hold()
    const asked = server.untilRequests(1)
    const callers = Promise.all(Array.from({ length: 50 }, (_, i) => tokenOf(nodes[i % 3]!, connection)))
    await asked
    await untilWaitingForLock(2)
    release()
    expect(new Set((await callers).map((one) => one.token)).size).toBe(1)
    expect(server.requests.length).toBe(1)
    expect(server.deadFamilies()).toBe(0)
  })

  it('also after a 401 that all of them saw', async () => {
    const { vault, connection } = await connected('storm-401')
    const nodes = [vault, fixture.node(), fixture.node()]
    const { version } = await tokenOf(vault, connection)
    const outcomes = await Promise.all(
      Array.from({ length: 50 }, (_, i) => nodes[i % 3]!.refreshAfterUnauthorized(connection, version)),
    )
    expect(outcomes).toEqual(Array.from({ length: 50 }, () => ({ as: 'refreshed' })))
    expect(server.requests.length).toBe(2)
    expect(server.deadFamilies()).toBe(0)
  })

  it('CONTROL: without the row lock the family dies, so the test above can fail', async () => {
    const unlocked = (): Vault => fixture.node({ storage: withoutRowLocks() })
    const { connection } = await connected('storm-control')
    const nodes = [unlocked(), unlocked(), unlocked()]
    await fixture.clock.advance(2 * HOUR)
    const release = server.hold()
    const allAsked = server.untilRequests(3)
    const callers = Promise.allSettled(nodes.map((node) => tokenOf(node, connection)))
    await allAsked
    release()
    await callers
    expect(server.requests.length).toBe(3)
    expect(server.deadFamilies()).toBe(1)
  })

  it('with a holder that loses its lock, the fence lets one write stand and nobody uses the other token', async () => {
    const { connection } = await connected('fence')
    const nodes = [fixture.node({ storage: withoutRowLocks() }), fixture.node({ storage: withoutRowLocks() })]
    const release = server.hold()
    const bothAsked = server.untilRequests(2)
    // A provider that forgives a second use within a grace period: both refreshes are granted.
    for (const n of [1, 2])
      server.failNext(() => ({
        status: 200,
        body: JSON.stringify({
          access_token: `at_${n}`,
          refresh_token: `rt_${n}`,
          token_type: 'bearer',
          expires_in: 3600,
        }),
      }))
    const callers = Promise.all(nodes.map((node) => tokenOf(node, connection)))
    await bothAsked
    release()
    const [one, two] = await callers
    expect(one).toEqual(two)
    const refreshed = (await fixture.entries()).filter((entry) => entry.action === 'credential.refreshed')
    expect(refreshed.length).toBe(1)
  })

  /** Asks the server of the database until so many of its sessions wait for a row. */
  async function untilWaitingForLock(count: number): Promise<void> {
    const waiting = async (): Promise<number> => {
      const { rows } = await fixture.database.pool.query<{ n: number }>(
        `select count(*)::integer as n from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock'`,
      )
      return rows[0]!.n
    }
    while ((await waiting()) < count);
  }

  /** The same database, with the lock taken out of every statement. */
  function withoutRowLocks(): VaultStorage {
    const database = openDatabase({ url: fixture.database.url, max: 5 })
    const unlocked = (client: Queryable): Queryable => ({
      query: (statement, values) => client.query(String(statement).replace(/ for update$/, ''), values),
    })
    return {
      ...storageOf(database),
      transaction: (work) =>
        transaction(database.pool, (client) => work(unlocked(client))).finally(() => database.close()),
    }
  }
})

describe('a token endpoint that fails', () => {
  it.each([
    ['answers 503', () => ({ status: 503, body: 'down' })],
    ['resets the connection', () => 'reset' as const],
    ['answers a web page', () => ({ status: 200, body: '<html>Welcome</html>' })],
    ['refuses the client', () => ({ status: 401, body: '{"error":"invalid_client"}' })],
    ['says invalid_grant with 500', () => ({ status: 500, body: '{"error":"invalid_grant"}' })],
  ])('and %s leaves the grant as it was, and is asked again later', async (_, fault) => {
    const { vault, connection } = await connected('failing')
    server.failNext(fault)
    const error = await tokenOf(vault, connection).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(RetryableError)
    expect((error as RetryableError).retryAt).toBe(fixture.clock.now() + 5 * SECOND)
    // Not asked again at once, by anybody on this node.
    await expect(tokenOf(vault, connection)).rejects.toBeInstanceOf(RetryableError)
    expect(server.requests.length).toBe(1)
    await fixture.clock.advance(5 * SECOND)
    expect(server.isGood((await tokenOf(vault, connection)).token)).toBe(true)
    expect(await stateOf(connection)).toBe('active')
  })

  it('shortly before the end leaves the old token in use', async () => {
    const { vault, connection } = await connected('ahead')
    const first = await tokenOf(vault, connection)
    await fixture.clock.advance(HOUR - MINUTE)
    server.failNext(() => ({ status: 503, body: '' }))
    expect(await tokenOf(vault, connection)).toEqual(first)
    await fixture.clock.advance(MINUTE)
    expect(await tokenOf(vault, connection)).not.toEqual(first)
  })

  it('is asked again when it said, within reason', async () => {
    const { vault, connection } = await connected('retry-after')
    const retryAt = async (header: string): Promise<number | undefined> => {
      server.failNext(() => ({ status: 429, headers: { 'retry-after': header }, body: '{}' }))
      const error = await tokenOf(vault, connection).catch((thrown: RetryableError) => thrown)
      const at = (error as RetryableError).retryAt
      await fixture.clock.advance(HOUR)
      return at
    }
    const now = fixture.clock.now()
    expect(await retryAt('60')).toBe(now + MINUTE)
    expect(await retryAt(new Date(now + HOUR + MINUTE).toUTCString())).toBe(now + HOUR + MINUTE)
    expect(await retryAt('999999')).toBe(now + 2 * HOUR + 15 * MINUTE)
  })

  it('gives a refresh token in an answer that is otherwise unusable: it is kept', async () => {
    const { vault, connection } = await connected('broken-answer')
    server.failNext((issued) => ({
      status: 200,
      body: JSON.stringify({ ...(JSON.parse(issued()) as object), token_type: 'mac' }),
    }))
    await expect(tokenOf(vault, connection)).rejects.toMatchObject({ code: 'token_answer_invalid' })
    expect(server.isGood((await tokenOf(vault, connection)).token)).toBe(true)
    expect(server.deadFamilies()).toBe(0)
  })

  it('adds an id token that nobody asked for: it is ignored', async () => {
    const { vault, connection } = await connected('id-token')
    server.failNext((issued) => ({
      status: 200,
      body: JSON.stringify({ ...(JSON.parse(issued()) as object), id_token: 'not.a.jwt' }),
    }))
    expect(server.isGood((await tokenOf(vault, connection)).token)).toBe(true)
  })
})

describe('a database that fails', () => {
  it('to give the lock in time, because another node holds it, is a reason to try later', async () => {
    const { connection } = await connected('busy')
    const vault = fixture.node({
      storage: {
        ...fixture.storage,
        transaction: () => Promise.reject(Object.assign(new Error('lock timeout'), { code: '55P03' })),
      },
    })
    await expect(tokenOf(vault, connection)).rejects.toMatchObject({
      code: 'credential_busy',
      retryAt: fixture.clock.now() + 5 * SECOND,
    })
    expect(server.requests.length).toBe(0)
  })

  it('between the answer and its commit does not cost the grant', async () => {
    const { connection } = await connected('lost-commit')
    let breaks = 2
    const vault = fixture.node({
      record: () =>
        breaks-- > 0 ? Promise.reject(new RetryableError('database_unavailable', 'away')) : Promise.resolve(),
    })
    await expect(tokenOf(vault, connection)).rejects.toMatchObject({ code: 'database_unavailable' })
    expect(breaks).toBe(0)
    // The provider has rotated already. The next call saves what it gave, and asks for nothing.
    const { token } = await tokenOf(vault, connection)
    expect(server.isGood(token)).toBe(true)
    expect(server.requests.length).toBe(1)
  })

  it('after the commit, with the answer lost, uses what was committed', async () => {
    const { connection } = await connected('lost-answer')
    let commits = 0
    const storage: VaultStorage = {
      ...fixture.storage,
      async transaction(work) {
        const result = await fixture.storage.transaction(work)
        if (commits++ === 0) throw new RetryableError('database_unavailable', 'the answer to COMMIT was lost')
        return result
      },
    }
    const vault = fixture.node({ storage })
    expect(server.isGood((await tokenOf(vault, connection)).token)).toBe(true)
    expect(server.requests.length).toBe(1)
    expect(server.deadFamilies()).toBe(0)
  })
})

describe('a grant that the provider refuses', () => {
  it('waits for a person, with the grant still there and the reason on record', async () => {
    const { vault, connection } = await connected('dead')
    server.failNext(() => ({ status: 400, body: '{"error":"invalid_grant"}' }))
    await expect(tokenOf(vault, connection)).rejects.toMatchObject({
      name: 'PermanentError',
      code: 'needs_reauthorization',
      message: expect.stringContaining('trestle connections add dead') as string,
    })
    expect(await stateOf(connection)).toBe('needs_reauthorization')
    expect((await fixture.entries()).at(-1)).toMatchObject({
      action: 'credential.refused',
      outcome: 'invalid_grant',
      connectionId: connection.id,
    })
    const { rows } = await fixture.database.pool.query(`select 1 from secrets where field = 'grant'`)
    expect(rows.length).toBe(1)
    // Nobody asks again: neither here nor on another node.
    await expect(tokenOf(vault, connection)).rejects.toMatchObject({ code: 'needs_reauthorization' })
    await expect(tokenOf(fixture.node(), connection)).rejects.toMatchObject({ code: 'needs_reauthorization' })
    expect(server.requests.length).toBe(1)
  })

  it('comes to life with a new refresh token, and not with the old one', async () => {
    const { vault, connection } = await connected('reborn')
    server.failNext(() => ({ status: 400, body: '{"error":"invalid_grant"}' }))
    await expect(tokenOf(vault, connection)).rejects.toMatchObject({ code: 'needs_reauthorization' })
    await vault.addConnection({
      tenant: 'default',
      name: 'reborn',
      actor: 'operator:ada',
      definition: definition(server.newFamily()),
    })
    expect(await stateOf(connection)).toBe('active')
    expect(server.isGood((await tokenOf(vault, connection)).token)).toBe(true)
    expect((await fixture.entries()).map((entry) => entry.action)).toContain('connection.reauthorized')
  })

  it('is not believed dead if another grant took its place meanwhile', async () => {
    const { vault, connection } = await connected('overtaken')
    const other = fixture.node()
    const { version } = await tokenOf(vault, connection)
    server.failNext(() => ({ status: 400, body: '{"error":"invalid_grant"}' }))
    // Between the question and its answer somebody who does not hold the lock replaces the grant.
    const sneaky = fixture.node({
      storage: {
        ...fixture.storage,
        transaction: (work) =>
          fixture.storage.transaction((client) =>
            work({
              query: async (statement, values) => {
                const result = await client.query(statement, values)
                if (String(statement).includes('for update') && String(statement).includes('secrets'))
                  await client.query(`update secrets set version = version + 1 where field = 'grant'`)
                return result as never
              },
            }),
          ),
      },
    })
    expect(await sneaky.refreshAfterUnauthorized(connection, version)).toEqual({ as: 'refreshed' })
    expect(await stateOf(connection)).toBe('active')
    expect(server.isGood((await tokenOf(other, connection)).token)).toBe(true)
  })

  it('does not have its newest tokens refreshed for ever by 401s that no token can mend', async () => {
    const { vault, connection } = await connected('hopeless')
    for (let i = 0; i < 3; i++) {
      const { version } = await tokenOf(vault, connection)
      expect(await vault.refreshAfterUnauthorized(connection, version)).toEqual({ as: 'refreshed' })
    }
    const { version } = await tokenOf(vault, connection)
    expect(await vault.refreshAfterUnauthorized(connection, version)).toMatchObject({
      as: 'refused',
      code: 'new_token_refused',
    })
    const asked = server.requests.length
    await fixture.clock.advance(MINUTE)
    expect(await vault.refreshAfterUnauthorized(connection, version)).toEqual({ as: 'refreshed' })
    expect(server.requests.length).toBe(asked + 1)
  })
})

describe('authorizing', () => {
  it('is still to be done: the connection waits for it, and says how', async () => {
    const vault = fixture.node()
    const { secrets, ...rest } = definition('unused')
    const waiting = {
      ...rest,
      secrets: { clientId: secrets!['clientId'], clientSecret: secrets!['clientSecret'] },
    }
    await vault.syncDeclared('default', { waiting })
    const connection = await vault.loadConnection('default', 'waiting')
    expect(connection.state).toBe('needs_reauthorization')
    await expect(tokenOf(vault, connection)).rejects.toMatchObject({ code: 'needs_reauthorization' })
    await vault.syncDeclared('default', { waiting: definition(server.newFamily()) })
    expect(server.isGood((await tokenOf(vault, connection)).token)).toBe(true)
  })

  it('is not undone by a restart with the same refresh token in the configuration', async () => {
    const vault = fixture.node()
    const declared = definition(server.newFamily())
    await vault.syncDeclared('default', { restarted: declared })
    const connection = await vault.loadConnection('default', 'restarted')
    const before = await tokenOf(vault, connection)
    const restarted = fixture.node()
    expect((await restarted.syncDeclared('default', { restarted: declared })).connections[0]!.change).toBe(
      'unchanged',
    )
    expect(await tokenOf(restarted, connection)).toEqual(before)
  })
})
