import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { HOUR, MINUTE, RetryableError, SECOND } from '../base/index.ts'
import { BASIC, openOAuthFixture, POST, type OAuthFixture } from './oauth.fixture.ts'
import { CLIENT } from './tokenServer.fixture.ts'

let oauth: OAuthFixture
beforeAll(async () => {
  oauth = await openOAuthFixture()
})
afterAll(() => oauth.close())
beforeEach(() => oauth.renew())

describe('an access token', () => {
  it('is fetched at first use, kept until it nears its end, and then refreshed with the rotated token', async () => {
    const { vault, connection } = await oauth.connected('first')
    const first = await oauth.tokenOf(vault, connection)
    expect(oauth.server.isGood(first.token)).toBe(true)
    await oauth.clock.advance(HOUR - 121 * SECOND)
    expect(await oauth.tokenOf(vault, connection)).toEqual(first)
    expect(oauth.server.requests.length).toBe(1)
    await oauth.clock.advance(2 * SECOND)
    // Whoever comes now is not kept waiting: the old one is good for two minutes yet.
    expect(await oauth.tokenOf(vault, connection)).toEqual(first)
    await vault.drain()
    const second = await oauth.tokenOf(vault, connection)
    expect(second.token).not.toBe(first.token)
    expect(oauth.server.isGood(second.token)).toBe(true)
    expect(oauth.server.requests.length).toBe(2)
    expect(oauth.server.deadFamilies()).toBe(0)
  })

  it('is fetched ahead of the first use, too, where only a refresh token was given', async () => {
    const { vault, connection } = await oauth.connected('given')
    expect(await vault.refreshAhead()).toBe(1)
    expect(oauth.server.requests.length).toBe(1)
    await oauth.tokenOf(vault, connection)
    expect(oauth.server.requests.length).toBe(1)
  })

  it('that did not come is not fetched at every look, but after a while', async () => {
    const { vault } = await oauth.connected('without')
    oauth.server.failNext((issued) => {
      const { access_token: _, ...rest } = JSON.parse(issued()) as Record<string, unknown>
      return { status: 200, body: JSON.stringify(rest) }
    })
    expect(await vault.refreshAhead()).toBe(1)
    expect(await vault.refreshAhead()).toBe(0)
    await oauth.clock.advance(15 * MINUTE)
    expect(await vault.refreshAhead()).toBe(1)
    expect(oauth.server.requests.length).toBe(2)
    expect(oauth.server.deadFamilies()).toBe(0)
  })

  it('is read at use: a refresh by another node is seen by the next call', async () => {
    const { vault, connection } = await oauth.connected('shared')
    const other = oauth.node()
    const first = await oauth.tokenOf(vault, connection)
    expect(await oauth.tokenOf(other, connection)).toEqual(first)
    expect(await other.refreshAfterUnauthorized(connection, first.version)).toEqual({ as: 'refreshed' })
    const second = await oauth.tokenOf(vault, connection)
    expect(second.token).not.toBe(first.token)
    expect(await oauth.tokenOf(other, connection)).toEqual(second)
  })

  it('of a short life is refreshed in its second half, not at every use', async () => {
    const { vault, connection } = await oauth.connected('short')
    oauth.server.lifetime = 60
    const first = await oauth.tokenOf(vault, connection)
    await oauth.clock.advance(29 * SECOND)
    expect(await oauth.tokenOf(vault, connection)).toEqual(first)
    await oauth.clock.advance(2 * SECOND)
    await oauth.tokenOf(vault, connection)
    await vault.drain()
    expect(await oauth.tokenOf(vault, connection)).not.toEqual(first)
  })

  it('is asked for with the client shown by HTTP basic, form-encoded (RFC 6749, 2.3.1)', async () => {
    const { vault, connection } = await oauth.connected('client-basic', BASIC)
    await oauth.tokenOf(vault, connection)
    const { authorization, form } = oauth.server.requests[0]!
    const credential = Buffer.from(authorization!.replace('Basic ', ''), 'base64').toString()
    expect(credential).toBe('client%3Aid:client+secret%2F%25')
    expect(form.get('grant_type')).toBe('refresh_token')
    expect(form.has('client_secret')).toBe(false)
  })

  it('is asked for with the client shown in the body where the provider wants that', async () => {
    const { vault, connection } = await oauth.connected('client-post', POST)
    await oauth.tokenOf(vault, connection)
    const { authorization, form } = oauth.server.requests[0]!
    expect(authorization).toBeUndefined()
    expect([form.get('client_id'), form.get('client_secret')]).toEqual([CLIENT.id, CLIENT.secret])
  })

  it("is asked for within 20 s, under the connection's own policy", async () => {
    const { connection } = await oauth.connected('bounded')
    const sent: unknown[] = []
    const vault = oauth.node({
      send: (request) => {
        sent.push([request.method, request.url, request.timeoutMs, request.allowPrivate])
        return Promise.resolve({ as: 'unknown', code: 'timeout', reason: 'No answer within 20000 ms.' })
      },
    })
    await expect(oauth.tokenOf(vault, connection)).rejects.toMatchObject({ code: 'timeout' })
    expect(sent).toEqual([['POST', `${oauth.server.url}/oauth/token`, 20_000, true]])
  })

  it('that the author gave is used before any refresh', async () => {
    const vault = oauth.node()
    const given = oauth.definition(oauth.server.newFamily())
    const expiresAt = new Date(oauth.clock.now() + HOUR).toISOString()
    await vault.syncDeclared('default', {
      given: { ...given, secrets: { ...given.secrets, accessToken: 'at_given', expiresAt } },
    })
    const connection = await vault.loadConnection('default', 'given')
    expect((await oauth.tokenOf(vault, connection)).token).toBe('at_given')
    expect(oauth.server.requests.length).toBe(0)
  })

  it('is used until it is refused where the provider says no lifetime', async () => {
    const { vault, connection } = await oauth.connected('no-lifetime')
    oauth.server.failNext((issued) => {
      const { expires_in: _, ...rest } = JSON.parse(issued()) as Record<string, unknown>
      return { status: 200, body: JSON.stringify(rest) }
    })
    const first = await oauth.tokenOf(vault, connection)
    await oauth.clock.advance(1000 * HOUR)
    expect(await oauth.tokenOf(vault, connection)).toEqual(first)
    expect(await vault.refreshAfterUnauthorized(connection, first.version)).toEqual({ as: 'refreshed' })
    expect(await oauth.tokenOf(vault, connection)).not.toEqual(first)
  })
})

describe('a token endpoint that fails', () => {
  it.each([
    ['answers 503', () => ({ status: 503, body: 'down' })],
    ['resets the connection', () => 'reset' as const],
    ['answers a web page', () => ({ status: 200, body: '<html>Welcome</html>' })],
    ['refuses the client', () => ({ status: 401, body: '{"error":"invalid_client"}' })],
    ['says invalid_grant with 500', () => ({ status: 500, body: '{"error":"invalid_grant"}' })],
  ])('and %s leaves the grant as it was, and is asked again later', async (_, fault) => {
    const { vault, connection } = await oauth.connected('failing')
    oauth.server.failNext(fault)
    const error = await oauth.tokenOf(vault, connection).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(RetryableError)
    expect((error as RetryableError).retryAt).toBe(oauth.clock.now() + 5 * SECOND)
    // Not asked again at once, by anybody on this node.
    await expect(oauth.tokenOf(vault, connection)).rejects.toBeInstanceOf(RetryableError)
    expect(oauth.server.requests.length).toBe(1)
    await oauth.clock.advance(5 * SECOND)
    expect(oauth.server.isGood((await oauth.tokenOf(vault, connection)).token)).toBe(true)
    expect(await oauth.stateOf(connection)).toBe('active')
  })

  it('shortly before the end leaves the old token in use', async () => {
    const { vault, connection } = await oauth.connected('ahead')
    const first = await oauth.tokenOf(vault, connection)
    await oauth.clock.advance(HOUR - MINUTE)
    oauth.server.failNext(() => ({ status: 503, body: '' }))
    expect(await oauth.tokenOf(vault, connection)).toEqual(first)
    await vault.drain()
    await oauth.clock.advance(MINUTE)
    expect(await oauth.tokenOf(vault, connection)).not.toEqual(first)
  })

  it('is asked again when it said, within reason', async () => {
    const { vault, connection } = await oauth.connected('retry-after')
    const retryAt = async (header: string): Promise<number | undefined> => {
      oauth.server.failNext(() => ({ status: 429, headers: { 'retry-after': header }, body: '{}' }))
      const error = await oauth.tokenOf(vault, connection).catch((thrown: RetryableError) => thrown)
      const at = (error as RetryableError).retryAt
      await oauth.clock.advance(HOUR)
      return at
    }
    const now = oauth.clock.now()
    expect(await retryAt('60')).toBe(now + MINUTE)
    expect(await retryAt(new Date(now + HOUR + MINUTE).toUTCString())).toBe(now + HOUR + MINUTE)
    expect(await retryAt('999999')).toBe(now + 2 * HOUR + 15 * MINUTE)
  })

  it('gives a refresh token in an answer that is otherwise unusable: it is kept', async () => {
    const { vault, connection } = await oauth.connected('broken-answer')
    oauth.server.failNext((issued) => ({
      status: 200,
      body: JSON.stringify({ ...(JSON.parse(issued()) as object), token_type: 'mac' }),
    }))
    await expect(oauth.tokenOf(vault, connection)).rejects.toMatchObject({ code: 'token_answer_invalid' })
    expect(oauth.server.isGood((await oauth.tokenOf(vault, connection)).token)).toBe(true)
    expect(oauth.server.deadFamilies()).toBe(0)
  })

  it('adds an id token that nobody asked for: it is ignored', async () => {
    const { vault, connection } = await oauth.connected('id-token')
    oauth.server.failNext((issued) => ({
      status: 200,
      body: JSON.stringify({ ...(JSON.parse(issued()) as object), id_token: 'not.a.jwt' }),
    }))
    expect(oauth.server.isGood((await oauth.tokenOf(vault, connection)).token)).toBe(true)
  })
})

describe('a grant that the provider refuses', () => {
  it('waits for a person, with the grant still there and the reason on record', async () => {
    const { vault, connection } = await oauth.connected('dead')
    oauth.server.failNext(() => ({ status: 400, body: '{"error":"invalid_grant"}' }))
    await expect(oauth.tokenOf(vault, connection)).rejects.toMatchObject({
      name: 'PermanentError',
      code: 'needs_reauthorization',
      message: expect.stringContaining('trestle connections add dead') as string,
    })
    expect(await oauth.stateOf(connection)).toBe('needs_reauthorization')
    expect((await oauth.entries()).at(-1)).toMatchObject({
      action: 'credential.refused',
      outcome: 'invalid_grant',
      connectionId: connection.id,
    })
    const { rows } = await oauth.database.pool.query(`select 1 from secrets where field = 'grant'`)
    expect(rows.length).toBe(1)
    // Nobody asks again: neither here nor on another node.
    await expect(oauth.tokenOf(vault, connection)).rejects.toMatchObject({ code: 'needs_reauthorization' })
    await expect(oauth.tokenOf(oauth.node(), connection)).rejects.toMatchObject({
      code: 'needs_reauthorization',
    })
    expect(oauth.server.requests.length).toBe(1)
  })

  it('comes to life with a new refresh token, and not with the old one', async () => {
    const { vault, connection } = await oauth.connected('reborn')
    oauth.server.failNext(() => ({ status: 400, body: '{"error":"invalid_grant"}' }))
    await expect(oauth.tokenOf(vault, connection)).rejects.toMatchObject({ code: 'needs_reauthorization' })
    await vault.addConnection({
      tenant: 'default',
      name: 'reborn',
      actor: 'operator:ada',
      definition: oauth.definition(oauth.server.newFamily()),
    })
    expect(await oauth.stateOf(connection)).toBe('active')
    expect(oauth.server.isGood((await oauth.tokenOf(vault, connection)).token)).toBe(true)
    expect((await oauth.entries()).map((entry) => entry.action)).toContain('connection.reauthorized')
  })

  it('is not believed dead if another grant took its place meanwhile', async () => {
    const { vault, connection } = await oauth.connected('overtaken')
    const other = oauth.node()
    const { version } = await oauth.tokenOf(vault, connection)
    oauth.server.failNext(() => ({ status: 400, body: '{"error":"invalid_grant"}' }))
    // Between the question and its answer somebody who does not wait for a turn replaces the grant.
    const sneaky = oauth.node({
      send: async (request) => {
        const result = await oauth.send(request)
        await oauth.database.pool.query(`update secrets set version = version + 1 where field = 'grant'`)
        return result
      },
    })
    expect(await sneaky.refreshAfterUnauthorized(connection, version)).toEqual({ as: 'refreshed' })
    expect(await oauth.stateOf(connection)).toBe('active')
    expect(oauth.server.isGood((await oauth.tokenOf(other, connection)).token)).toBe(true)
  })

  it('does not have its newest tokens refreshed for ever by 401s that no token can mend', async () => {
    const { vault, connection } = await oauth.connected('hopeless')
    for (let i = 0; i < 3; i++) {
      const { version } = await oauth.tokenOf(vault, connection)
      expect(await vault.refreshAfterUnauthorized(connection, version)).toEqual({ as: 'refreshed' })
    }
    const { version } = await oauth.tokenOf(vault, connection)
    expect(await vault.refreshAfterUnauthorized(connection, version)).toMatchObject({
      as: 'refused',
      code: 'new_token_refused',
    })
    const asked = oauth.server.requests.length
    await oauth.clock.advance(MINUTE)
    expect(await vault.refreshAfterUnauthorized(connection, version)).toEqual({ as: 'refreshed' })
    expect(oauth.server.requests.length).toBe(asked + 1)
  })
})

describe('authorizing', () => {
  it('is still to be done: the connection waits for it, and says how', async () => {
    const vault = oauth.node()
    const { secrets, ...rest } = oauth.definition('unused')
    const waiting = {
      ...rest,
      secrets: { clientId: secrets!['clientId'], clientSecret: secrets!['clientSecret'] },
    }
    await vault.syncDeclared('default', { waiting })
    const connection = await vault.loadConnection('default', 'waiting')
    expect(connection.state).toBe('needs_reauthorization')
    await expect(oauth.tokenOf(vault, connection)).rejects.toMatchObject({ code: 'needs_reauthorization' })
    await vault.syncDeclared('default', { waiting: oauth.definition(oauth.server.newFamily()) })
    expect(oauth.server.isGood((await oauth.tokenOf(vault, connection)).token)).toBe(true)
  })

  it('by an operator is not undone by a restart with the stale token in the configuration', async () => {
    const vault = oauth.node()
    const declared = oauth.definition(oauth.server.newFamily())
    await vault.syncDeclared('default', { renewed: declared })
    const connection = await vault.loadConnection('default', 'renewed')
    oauth.server.failNext(() => ({ status: 400, body: '{"error":"invalid_grant"}' }))
    await expect(oauth.tokenOf(vault, connection)).rejects.toMatchObject({ code: 'needs_reauthorization' })
    const renewed = oauth.definition(oauth.server.newFamily())
    await vault.addConnection({
      tenant: 'default',
      name: 'renewed',
      actor: 'operator:ada',
      definition: renewed,
    })
    const before = await oauth.tokenOf(vault, connection)
    const restarted = oauth.node()
    await restarted.syncDeclared('default', { renewed: declared })
    expect(await oauth.tokenOf(restarted, connection)).toEqual(before)
    expect(await restarted.refreshAfterUnauthorized(connection, before.version)).toEqual({
      as: 'refreshed',
    })
    // A new one in the configuration counts again.
    const third = oauth.definition(oauth.server.newFamily())
    await restarted.syncDeclared('default', { renewed: third })
    await oauth.tokenOf(restarted, connection)
    expect(oauth.server.requests.at(-1)!.form.get('refresh_token')).toBe(third.secrets!['refreshToken'])
  })

  it('is not undone by a restart with the same refresh token in the configuration', async () => {
    const vault = oauth.node()
    const declared = oauth.definition(oauth.server.newFamily())
    await vault.syncDeclared('default', { restarted: declared })
    const connection = await vault.loadConnection('default', 'restarted')
    const before = await oauth.tokenOf(vault, connection)
    const restarted = oauth.node()
    expect((await restarted.syncDeclared('default', { restarted: declared })).connections[0]!.change).toBe(
      'unchanged',
    )
    expect(await oauth.tokenOf(restarted, connection)).toEqual(before)
  })
})
