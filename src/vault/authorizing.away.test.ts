/** The database is away when the token endpoint has answered to the code of an authorization. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { MINUTE, RetryableError, SECOND } from '../base/index.ts'
import {
  answering,
  by,
  openAuthorizingFixture,
  SCHEME,
  secrets,
  type AuthorizingFixture,
} from './authorizing.fixture.ts'
import { GRANT_FIELD } from './secrets.ts'
import { connectorWith } from './vault.fixture.ts'
import type { Vault } from './vault.ts'

const plain = connectorWith('plain-away', SCHEME)
const shop = connectorWith('shop-away', {
  ...SCHEME,
  account: [
    {
      from: { kind: 'choice', url: '/shops', id: 'key', name: 'label' },
      to: { kind: 'setting', name: 'shop' },
    },
  ],
})
const request = { method: 'GET', url: 'https://api.example/x', headers: {}, body: undefined } as const

let fixture: AuthorizingFixture
beforeAll(async () => {
  fixture = await openAuthorizingFixture()
})
beforeEach(() => fixture.clear())
afterAll(() => fixture.close())

/** A node that loses the database once its token endpoint has answered, until `comeBack`. No account is known to it. */
function losingNode(token: string) {
  let isAway = false
  let tries = 0
  const { send } = answering({
    '/token': { access_token: token, refresh_token: `r-${token}`, token_type: 'Bearer' },
    '/shops': 503,
  })
  const vault = fixture.node({
    async send(asked) {
      const answer = await send(asked)
      if (asked.url.endsWith('/token')) isAway = true
      return answer
    },
    storage: {
      ...fixture.storage,
      transaction(work) {
        if (!isAway) return fixture.storage.transaction(work)
        tries++
        return Promise.reject(new RetryableError('database_unavailable', 'away'))
      },
    },
  })
  return { vault, tried: () => tries, comeBack: () => (isAway = false) }
}

const tokenOf = async (vault: Vault) => {
  const connection = await vault.loadConnection('default', 'plain')
  return (await vault.authorize(connection, request, { idempotencyKey: 'k', now: 0 })).headers[
    'authorization'
  ]
}
const outcomes = async () =>
  (await fixture.entries())
    .filter(({ action }) => action === 'authorization.failed' || action === 'authorization.granted')
    .map(({ action }) => action)

/** The code is asked with, the answer cannot be written, and more than a minute goes by. */
async function answeredAway(token: string, connector = plain, forMs = 2 * MINUTE) {
  const node = losingNode(token)
  await fixture.connected(node.vault, 'plain', connector, { secrets })
  const agreed = fixture.agree(node.vault, 'plain', by())
  await expect.poll(node.tried).toBeGreaterThan(0)
  await fixture.clock.advance(forMs)
  return { ...node, agreed }
}

it('the answer is put in place when it is back, however long that takes', async () => {
  const { vault, comeBack, agreed } = await answeredAway('at-1')
  comeBack()
  // It knows that it has the answer, and does not give it up before it has written it.
  await vault.authorizations.takeUp()
  expect(await agreed).toMatchObject({ state: 'granted' })
  expect(await tokenOf(vault)).toBe('Bearer at-1')
  expect(await outcomes()).toEqual(['authorization.granted'])
})

it('also where another node has given it up meanwhile', async () => {
  const { comeBack, agreed, vault } = await answeredAway('at-1')
  const other = fixture.node()
  await other.authorizations.takeUp()
  expect(await outcomes()).toEqual(['authorization.failed'])
  comeBack()
  expect(await agreed).toMatchObject({ state: 'granted' })
  expect(await tokenOf(vault)).toBe('Bearer at-1')
})

it('but not in place of one that a person gave later', async () => {
  const { comeBack, agreed } = await answeredAway('at-1')
  const other = fixture.node(
    answering({ '/token': { access_token: 'at-2', refresh_token: 'r', token_type: 'Bearer' } }),
  )
  await other.authorizations.takeUp()
  await fixture.clock.advance(SECOND)
  expect(await fixture.agree(other, 'plain', by())).toMatchObject({ state: 'granted' })
  comeBack()
  expect(await agreed).toMatchObject({ state: 'failed', code: 'authorization_overtaken' })
  expect(await tokenOf(other)).toBe('Bearer at-2')
})

it('its account may still be asked for, however long the database was away', async () => {
  const { vault, comeBack, agreed } = await answeredAway('at-1', shop, 15 * MINUTE)
  comeBack()
  expect(await agreed).toMatchObject({ state: 'answered', code: 'account_unknown' })
  await fixture.clock.advance(9 * MINUTE)
  const { send } = answering({ '/shops': [{ key: 's1', label: 'Harbour' }] })
  expect(await fixture.node({ send }).authorizations.takeUp()).toBe(1)
  expect(await outcomes()).toEqual(['authorization.granted'])
  expect(await tokenOf(vault)).toBe('Bearer at-1')
})

describe('what a person does meanwhile is not undone, whether it was given up or not:', () => {
  const revoke = async (other: Vault) => {
    expect(await other.revokeGrant('default', 'plain', 'operator:ada')).toEqual({ as: 'revoked' })
  }
  const add = async (other: Vault) => {
    const definition = plain.connect({ secrets: { ...secrets, refreshToken: 'by-hand' } })
    await other.addConnection({ tenant: 'default', name: 'plain', definition, actor: 'operator:ada' })
  }
  const grants = async () =>
    (await fixture.database.pool.query('select version, sealed from secrets where field = $1', [GRANT_FIELD]))
      .rows
  it.each([
    ['a revocation', 'given up', revoke, 'needs_reauthorization'],
    ['a revocation', 'asking', revoke, 'needs_reauthorization'],
    ['a newer token by hand', 'given up', add, 'active'],
    ['a newer token by hand', 'asking', add, 'active'],
  ] as const)('%s (%s)', async (_, stands, act, state) => {
    const other = fixture.node(answering({ '/revoke': {} }))
    await fixture.connected(other, 'plain', plain, { secrets })
    expect(await fixture.agree(other, 'plain', by())).toMatchObject({ state: 'granted' })
    const { comeBack, agreed } = await answeredAway('at-late')
    if (stands === 'given up') await other.authorizations.takeUp()
    await act(other)
    const left = await grants()
    expect(left).toHaveLength(1)
    comeBack()
    expect(await agreed).toMatchObject({ state: 'failed', code: 'authorization_overtaken' })
    expect(await fixture.stateOf('plain')).toBe(state)
    expect(await grants()).toEqual(left)
    const told = (await fixture.entries()).filter(({ outcome }) => outcome === 'authorization_overtaken')
    expect(told).toMatchObject([{ action: 'authorization.failed' }])
  })
})

it('one that failed for another reason stays so', async () => {
  const { comeBack, agreed } = await answeredAway('at-1')
  await fixture.database.pool.query(`update authorizations set state = 'failed', code = 'account_differs'`)
  comeBack()
  expect(await agreed).toMatchObject({ state: 'failed', code: 'account_differs' })
})
