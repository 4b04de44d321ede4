import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { HOUR, MINUTE, SECOND } from '../base/index.ts'
import {
  answering,
  by,
  openAuthorizingFixture,
  SCHEME,
  secrets,
  type AuthorizingFixture,
} from './authorizing.fixture.ts'
import { connectorWith } from './vault.fixture.ts'
import type { Vault } from './vault.ts'

/** What must not come of an authorization, whoever does what at the same time. */
let fixture: AuthorizingFixture
beforeAll(async () => {
  fixture = await openAuthorizingFixture()
})
afterAll(() => fixture.close())
beforeEach(() => fixture.clear())

const plain = connectorWith('plain-attacked', SCHEME)
const shops = connectorWith('shops-attacked', {
  ...SCHEME,
  account: [
    {
      from: { kind: 'choice', url: '/shops', id: 'key', name: 'label' },
      to: { kind: 'setting', name: 'shop' },
    },
  ],
})
const several = {
  '/shops': [
    { key: 's1', label: 'Harbour' },
    { key: 's2', label: 'Station' },
  ],
}

async function tokenOf(vault: Vault, name: string): Promise<string | undefined> {
  const connection = await vault.loadConnection('default', name)
  const request = { method: 'GET', url: connection.baseUrl, headers: {}, body: undefined }
  const context = { idempotencyKey: 'k', now: fixture.clock.now() }
  return (await vault.authorize(connection, request, context)).headers['authorization']
}

describe('two callbacks at the same time', () => {
  it('exchange one code once', async () => {
    const { send, asked } = answering({})
    const vault = fixture.node({ send })
    await fixture.connected(vault, 'plain', plain, { secrets })
    const { location, callback } = await fixture.begin(vault, 'plain')
    const back = await by()(location)
    const both = await Promise.allSettled([callback(back), callback(back)])
    expect(both.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    expect(both.find(({ status }) => status === 'rejected')).toMatchObject({
      reason: { code: 'authorization_used' },
    })
    expect(asked.filter(({ url }) => url.endsWith('/token'))).toHaveLength(1)
  })

  it('of two authorizations leave the tokens that were given later', async () => {
    const tokens = (n: number) => ({
      ...several,
      '/token': { access_token: `at_${n}`, refresh_token: `rt_${n}`, token_type: 'Bearer' },
    })
    const [first, second] = [1, 2].map((n) => fixture.node(answering(tokens(n))))
    await fixture.connected(first!, 'shop', shops, { secrets })
    const older = await fixture.agree(first!, 'shop', by())
    expect(older.state).toBe('choosing')
    await fixture.clock.advance(SECOND)
    expect(await fixture.agree(second!, 'shop', by(), 's2')).toMatchObject({ state: 'granted' })
    await fixture.clock.advance(SECOND)
    expect(await first!.authorizations.choose('default', older.id, 's2', 'operator:ada')).toMatchObject({
      state: 'failed',
      code: 'authorization_overtaken',
    })
    expect(await tokenOf(first!, 'shop')).toBe('Bearer at_2')
  })

  it('control: the later one takes the place of the one before', async () => {
    const vault = fixture.node(answering(several))
    await fixture.connected(vault, 'shop', shops, { secrets })
    expect(await fixture.agree(vault, 'shop', by(), 's2')).toMatchObject({ state: 'granted' })
    await fixture.clock.advance(SECOND)
    expect(await fixture.agree(vault, 'shop', by())).toMatchObject({ state: 'granted' })
  })
})

describe('an authorization', () => {
  it('does not bring back a client secret that was changed meanwhile', async () => {
    const other = fixture.node()
    const { send } = answering({})
    const vault = fixture.node({
      send: async (request) => {
        if (request.url.endsWith('/token'))
          await other.addConnection({
            tenant: 'default',
            name: 'plain',
            definition: plain.connect({ secrets: { clientId: 'id', clientSecret: 'newer' } }),
            actor: 'operator:bob',
          })
        return send(request)
      },
    })
    await fixture.connected(vault, 'plain', plain, { secrets })
    expect(await fixture.agree(vault, 'plain', by())).toMatchObject({ state: 'granted' })
    const connection = await vault.loadConnection('default', 'plain')
    const values = await fixture.node().secretValuesOf(connection)
    expect(values).toContain('newer')
    expect(values).not.toContain('secret')
  })

  it('takes the place of another way to authorize that the connection had', async () => {
    const both = connectorWith('both-attacked', { ...SCHEME, alternatives: [{ kind: 'bearer' }] })
    const vault = fixture.node(answering({}))
    await vault.addConnection({
      tenant: 'default',
      name: 'both',
      definition: both.connect({ secrets: { clientId: 'id', clientSecret: 'secret' } }),
      actor: 'operator:ada',
    })
    await fixture.connected(vault, 'both', both, { secrets })
    expect(await fixture.agree(vault, 'both', by())).toMatchObject({ state: 'granted' })
    expect(await tokenOf(vault, 'both')).toBe('Bearer at_1')
  })

  it('shows neither code nor verifier where the token endpoint repeats them', async () => {
    let verifier = ''
    const vault = fixture.node({
      send: (request) => {
        verifier = new URLSearchParams(request.body!.toString()).get('code_verifier')!
        const error = { error: 'invalid_grant', error_description: `no the-code with ${verifier}` }
        const body = Buffer.from(JSON.stringify(error))
        return Promise.resolve({ as: 'answered', status: 400, headers: {}, body, ms: 1 })
      },
    })
    await fixture.connected(vault, 'plain', plain, { secrets })
    const failed = await fixture.agree(vault, 'plain', by({ code: 'the-code' }))
    expect(failed).toMatchObject({ state: 'failed', code: 'invalid_grant' })
    const told = JSON.stringify([failed, await fixture.entries()])
    expect([told.includes('the-code'), told.includes(verifier)]).toEqual([false, false])
  })

  it('says what is missing where the client went while the browser was away, and asks nobody', async () => {
    const { send, asked } = answering({})
    const vault = fixture.node({ send })
    await fixture.connected(vault, 'plain', plain, { secrets })
    const { location, callback } = await fixture.begin(vault, 'plain')
    await fixture.database.pool.query(`delete from secrets where field = 'clientSecret'`)
    await fixture.clock.advance(MINUTE)
    expect(await callback(await by()(location))).toMatchObject({ state: 'failed', code: 'secret_missing' })
    expect(asked).toEqual([])
  })

  it('whose answer nobody can go on with ends with its time, and keeps no other from its turn', async () => {
    const vault = fixture.node(answering({ '/shops': 'reset' }))
    await fixture.connected(vault, 'shop', shops, { secrets })
    const { id } = await fixture.agree(vault, 'shop', by())
    const without = fixture.node({ authOf: () => undefined })
    await fixture.clock.advance(MINUTE)
    expect(await without.authorizations.takeUp()).toBe(1)
    expect(await without.authorizations.read('default', id)).toMatchObject({ state: 'answered' })
    await fixture.clock.advance(10 * MINUTE)
    expect(await without.authorizations.takeUp()).toBe(1)
    expect(await without.authorizations.read('default', id)).toMatchObject({ state: 'failed' })
    expect(await without.authorizations.takeUp()).toBe(0)
  })

  it.each([
    ['the provider says the account', { '/shops': 503 }, 'answered'],
    ['a person chooses the account', several, 'choosing'],
  ])('that waits until %s does not bring back what is revoked meanwhile', async (_, said, state) => {
    const vault = fixture.node(answering({ ...several, '/revoke': {} }))
    await fixture.connected(vault, 'shop', shops, { secrets: { ...secrets, refreshToken: 'rt_0' } })
    expect(await fixture.stateOf('shop')).toBe('active')
    const waiting = await fixture.agree(fixture.node(answering(said)), 'shop', by())
    expect(waiting.state).toBe(state)
    expect(await vault.revokeGrant('default', 'shop', 'operator:ada')).toEqual({ as: 'revoked' })
    await fixture.clock.advance(MINUTE)
    expect(await vault.authorizations.takeUp()).toBe(0)
    await expect(
      vault.authorizations.choose('default', waiting.id, 's2', 'operator:eve'),
    ).rejects.toMatchObject({ code: 'state_conflict' })
    expect(await vault.authorizations.read('default', waiting.id)).toMatchObject({
      state: 'failed',
      code: 'authorization_overtaken',
    })
    expect(await fixture.stateOf('shop')).toBe('needs_reauthorization')
  })

  it('without a token to ask for the account with ends at once', async () => {
    const odd = { access_token: 'a', refresh_token: 'r', token_type: 'mac' }
    const vault = fixture.node(answering({ ...several, '/token': odd }))
    await fixture.connected(vault, 'shop', shops, { secrets })
    expect(await fixture.agree(vault, 'shop', by())).toMatchObject({
      state: 'failed',
      code: 'token_answer_invalid',
    })
  })

  it('of a connection that is removed while the code is exchanged plants nothing', async () => {
    const other = fixture.node()
    const { send } = answering({})
    const vault = fixture.node({
      send: async (request) => {
        if (!request.url.endsWith('/token')) return send(request)
        await other.syncDeclared('default', {})
        await other.removeConnection('default', 'plain', 'operator:bob')
        return send(request)
      },
    })
    await fixture.connected(vault, 'plain', plain, { secrets })
    await expect(fixture.agree(vault, 'plain', by())).rejects.toMatchObject({ code: 'not_found' })
    expect(await fixture.stateOf('plain')).toBe('revoked')
    const { rows } = await fixture.database.pool.query('select field from secrets')
    expect(rows).toEqual([])
  })
})

describe('a grant that gives no refresh token and ends', () => {
  it('is used to its end, which is foretold, and then a person is asked', async () => {
    const short = connectorWith('short-attacked', { ...SCHEME, quirks: { noRefreshToken: true } })
    const said = { access_token: 'at', expires_in: 3600, token_type: 'Bearer' }
    const vault = fixture.node(answering({ '/token': said }))
    await fixture.connected(vault, 'short', short, { secrets })
    expect(await fixture.agree(vault, 'short', by())).toMatchObject({ state: 'granted' })
    const end = new Date(fixture.clock.now() + HOUR)
    const [listed] = await vault.listConnections('default')
    expect(listed!.endings).toContainEqual(
      expect.objectContaining({ what: 'authorization', by: 'person', endsAt: end }),
    )
    await fixture.clock.advance(HOUR - SECOND)
    await vault.refreshAhead()
    expect(await tokenOf(vault, 'short')).toBe('Bearer at')
    expect(await fixture.stateOf('short')).toBe('active')
    await fixture.clock.advance(2 * SECOND)
    await vault.refreshAhead()
    expect(await fixture.stateOf('short')).toBe('needs_reauthorization')
    const refused = (await fixture.entries()).find(({ action }) => action === 'credential.refused')
    expect(refused).toMatchObject({ detail: { reason: expect.stringContaining('has ended') as string } })
  })
})
