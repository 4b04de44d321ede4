/** Tokens that a refresh brings after a person took its grant back. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { MINUTE } from '../base/index.ts'
import type { EgressRequest, EgressResult } from '../egress/index.ts'
import {
  by,
  openAuthorizingFixture,
  SCHEME,
  secrets,
  type AuthorizingFixture,
} from './authorizing.fixture.ts'
import type { Connection } from './connections.ts'
import type { VaultStorage } from './storage.ts'
import { connectorWith } from './vault.fixture.ts'
import type { Vault, VaultOptions } from './vault.ts'

const plain = connectorWith('plain-late', SCHEME)

let fixture: AuthorizingFixture
beforeAll(async () => {
  fixture = await openAuthorizingFixture()
})
beforeEach(() => fixture.clear())
afterAll(() => fixture.close())

/** A provider that rotates its refresh tokens; the answer to a refresh is held until it is let go. */
function provider() {
  let tokens = 0
  let letGo = (): void => undefined
  let isAsked = (): void => undefined
  const held = new Promise<void>((resolve) => (letGo = resolve))
  const asked = new Promise<void>((resolve) => (isAsked = resolve))
  const revoked: (string | null)[] = []
  const shown: (string | null)[] = []
  const self = {
    revoked,
    /** The client's secrets that the revocation endpoint was shown. */
    shown,
    /** What the revocation endpoint answers. */
    status: 200,
    rotates: true,
    /** A refresh has been asked for. */
    asked,
    letGo: () => letGo(),
    send: async ({ url, body }: Pick<EgressRequest, 'url' | 'body'>): Promise<EgressResult> => {
      const form = new URLSearchParams(body?.toString())
      const said = (status: number, json: object): EgressResult => ({
        as: 'answered',
        status,
        headers: {},
        body: Buffer.from(JSON.stringify(json)),
        ms: 1,
      })
      if (url.endsWith('/revoke')) {
        revoked.push(form.get('token'))
        shown.push(form.get('client_secret'))
        return said(self.status, {})
      }
      tokens++
      if (form.get('grant_type') === 'refresh_token') {
        isAsked()
        await held
      }
      const given = {
        access_token: `at_${tokens}`,
        refresh_token: self.rotates ? `rt_${tokens}` : 'rt_1',
        token_type: 'Bearer',
        expires_in: 3600,
      }
      return said(200, given)
    },
  }
  return self
}

const request = { method: 'GET', url: 'https://api.example/x', headers: {}, body: undefined } as const

/** A connection whose refresh is under way. */
async function refreshing(changes: Partial<VaultOptions> = {}) {
  const at = provider()
  const vault = fixture.node({ send: at.send, ...changes })
  await fixture.connected(vault, 'plain', plain, { secrets })
  await fixture.agree(vault, 'plain', by())
  const connection = await vault.loadConnection('default', 'plain')
  const { credentialVersion } = await vault.authorize(connection, request, { idempotencyKey: 'k', now: 0 })
  const refresh = vault.refreshAfterUnauthorized(connection, credentialVersion)
  await at.asked
  return { at, vault, connection, refresh }
}

/** A connection whose grant was taken back, and whose refresh has brought others after that. */
async function late() {
  const { at, vault, connection, refresh } = await refreshing()
  await vault.revokeGrant('default', 'plain', 'operator:ada')
  at.letGo()
  await refresh
  return { at, vault, connection }
}

/** Another node: what is left to do must not need the one that did the rest. */
const look = (at: ReturnType<typeof provider>): Promise<number> =>
  fixture.node({ send: at.send }).refreshLeftBehind()
const rows = async () =>
  (
    await fixture.database.pool.query<{ state: string }>(
      `select state from grant_refreshes where state <> 'taken_back'`,
    )
  ).rows
const outcomes = async () =>
  (await fixture.entries()).filter(({ action }) => action === 'grant.revoked').map(({ outcome }) => outcome)
const dueNow = () => fixture.database.pool.query('update grant_refreshes set lease_until = clock_timestamp()')
const removed = async (vault: Vault) => {
  await vault.syncDeclared('default', {})
  return vault.removeConnection('default', 'plain', 'operator:ada')
}
const inState = (state: string) => fixture.database.pool.query('update connections set state = $1', [state])
const stateOf = async ({ id }: Connection) =>
  (await fixture.database.pool.query<{ state: string }>('select state from connections where id = $1', [id]))
    .rows[0]!.state

const pool = () => fixture.database.pool
const noLateOnes = "alter table grant_refreshes add constraint died check (state <> 'revoking')"
const lateOnesAgain = () => pool().query('alter table grant_refreshes drop constraint died')
const noNewGrants = 'alter table secrets add constraint died check (version < 0) not valid'

/** The answer is kept, and the node dies before its turn is over. */
async function dies(refresh: Promise<unknown>, at: ReturnType<typeof provider>, how: string) {
  await pool().query(how)
  at.letGo()
  await expect(refresh).rejects.toThrow('died')
  expect(await rows()).toEqual([{ state: 'answered' }])
}

/** For the answer of a node that died, and then for what it brought. */
async function lookTwice(at: ReturnType<typeof provider>): Promise<void> {
  await pool().query(`update grant_refreshes set lease_until = clock_timestamp() - interval '1 minute'`)
  await look(at)
  await look(at)
}

describe('tokens that come after their grant was taken back', () => {
  it('are taken back, too, by any node', async () => {
    const { at, vault, connection, refresh } = await refreshing()
    expect(await vault.revokeGrant('default', 'plain', 'operator:ada')).toEqual({ as: 'revoked' })
    at.letGo()
    expect(await refresh).toMatchObject({ as: 'refused', code: 'needs_reauthorization' })
    expect(at.revoked).toEqual(['rt_1'])
    expect(await look(at)).toBe(1)
    expect(at.revoked).toEqual(['rt_1', 'rt_2'])
    expect(await rows()).toEqual([])
    expect(await outcomes()).toEqual(['succeeded', 'succeeded'])
    expect(await look(at)).toBe(0)
    expect(await stateOf(connection)).toBe('needs_reauthorization')
  })

  it('are the access token alone where the refresh token is the one that was taken back', async () => {
    const { at, vault, refresh } = await refreshing()
    await vault.revokeGrant('default', 'plain', 'operator:ada')
    at.rotates = false
    at.letGo()
    await refresh
    await look(at)
    expect(at.revoked).toEqual(['rt_1', 'at_2'])
  })

  it('also where the connection is gone with its secrets', async () => {
    const { at, vault, connection, refresh } = await refreshing()
    expect(await removed(vault)).toEqual({ as: 'revoked' })
    at.letGo()
    expect(await refresh).toMatchObject({ as: 'refused', code: 'connection_revoked' })
    expect(await look(at)).toBe(1)
    expect([at.revoked, await rows()]).toEqual([['rt_1', 'rt_2'], []])
    expect(await stateOf(connection)).toBe('revoked')
  })

  it('also where the connection is removed before they are taken back', async () => {
    const { at, vault, refresh } = await refreshing()
    await vault.revokeGrant('default', 'plain', 'operator:ada')
    at.letGo()
    await refresh
    await removed(vault)
    await look(at)
    expect([at.revoked.at(-1), await rows()]).toEqual(['rt_2', []])
  })

  it('are kept, sealed, until the provider takes them back; a failure is on record once', async () => {
    const { at, vault, refresh } = await refreshing()
    await vault.revokeGrant('default', 'plain', 'operator:ada')
    at.letGo()
    await refresh
    at.status = 503
    expect(await look(at)).toBe(1)
    expect(await look(at)).toBe(0)
    await dueNow()
    expect(await look(at)).toBe(1)
    expect(await rows()).toEqual([{ state: 'revoking' }])
    expect(await outcomes()).toEqual(['succeeded', 'revocation_refused'])
    const { rows: kept } = await fixture.database.pool.query<{ answer: Buffer }>(
      'select answer from grant_refreshes',
    )
    for (const secret of ['rt_2', secrets.clientSecret])
      expect(kept.some(({ answer }) => answer?.includes(secret))).toBe(false)
    at.status = 200
    await dueNow()
    await look(at)
    expect([await rows(), await outcomes()]).toEqual([[], ['succeeded', 'revocation_refused', 'succeeded']])
    expect(JSON.stringify(await fixture.entries())).not.toMatch(/rt_\d|at_\d/)
  })

  it('are taken back although the node that got them died before it read them', async () => {
    const { at, vault, refresh } = await refreshing()
    await vault.revokeGrant('default', 'plain', 'operator:ada')
    await dies(refresh, at, noLateOnes)
    await lateOnesAgain()
    await lookTwice(at)
    expect([at.revoked, await rows()]).toEqual([['rt_1', 'rt_2'], []])
  })

  it('are taken back although the connection was removed before a node could read them, which then died', async () => {
    const { at, vault, refresh } = await refreshing()
    await removed(vault)
    await dies(refresh, at, noLateOnes)
    await lateOnesAgain()
    await lookTwice(at)
    expect([at.revoked, await rows()]).toEqual([['rt_1', 'rt_2'], []])
  })

  it('are left alone after three days where nobody can read them: their connector is gone, too', async () => {
    const { at, vault, refresh } = await refreshing()
    await removed(vault)
    await dies(refresh, at, noLateOnes)
    await lateOnesAgain()
    await pool().query(`update grant_refreshes set lease_until = now() - interval '1 minute'`)
    const without = fixture.node({ send: at.send, authOf: () => undefined })
    await without.refreshLeftBehind()
    expect(await rows()).toEqual([{ state: 'answered' }])
    await pool().query(`update grant_refreshes set begun_at = now() - interval '73 hours'`)
    await without.refreshLeftBehind()
    expect([at.revoked, await rows()]).toEqual([['rt_1'], []])
    expect(await outcomes()).toEqual(['succeeded', 'left_alone'])
  })

  it('are taken back where a removal comes upon an answer that nobody can read just then', async () => {
    const { at, vault, refresh } = await refreshing()
    await dies(refresh, at, noNewGrants)
    at.status = 503
    expect(await removed(vault)).toMatchObject({ as: 'failed' })
    await pool().query('alter table secrets drop constraint died')
    at.status = 200
    await lookTwice(at)
    expect([at.revoked, await rows()]).toEqual([['rt_1', 'rt_2'], []])
  })

  it('are taken back where the connection was removed and added again with its client alone', async () => {
    const { at, vault, connection, refresh } = await refreshing()
    await removed(vault)
    await fixture.connected(vault, 'plain', plain, { secrets })
    expect(await stateOf(connection)).toBe('needs_reauthorization')
    at.letGo()
    expect(await refresh).toMatchObject({ as: 'refused' })
    expect(await look(at)).toBe(1)
    expect([at.revoked, await rows()]).toEqual([['rt_1', 'rt_2'], []])
  })

  it('are not kept where the connection has other credentials instead of a grant', async () => {
    const { at, refresh } = await refreshing()
    await pool().query(`delete from secrets where field = 'grant'`)
    at.letGo()
    await refresh
    expect(await rows()).toEqual([])
  })

  it('are those that a refresh put in place while the provider was taking back the former', async () => {
    const { at, refresh } = await refreshing()
    let writes = 0
    // Between what the provider said and its being written: the refresh is faster.
    const transaction: VaultStorage['transaction'] = async (work) => {
      if (writes++ === 0) {
        at.letGo()
        await refresh
      }
      return fixture.storage.transaction(work)
    }
    const slow = fixture.node({ send: at.send, storage: { ...fixture.storage, transaction } })
    expect(await slow.revokeGrant('default', 'plain', 'operator:ada')).toEqual({ as: 'revoked' })
    expect([at.revoked, await refresh]).toMatchObject([['rt_1'], { as: 'refreshed' }])
    await look(at)
    expect([at.revoked, await rows()]).toEqual([['rt_1', 'rt_2'], []])
    expect(await outcomes()).toEqual(['succeeded', 'succeeded'])
    expect(await fixture.stateOf('plain')).toBe('needs_reauthorization')
  })

  it('are left alone where a person has authorized anew: many providers would end that, too', async () => {
    const { at, vault, connection } = await late()
    await fixture.agree(vault, 'plain', by())
    expect(await stateOf(connection)).toBe('active')
    expect([await rows(), await outcomes()]).toEqual([[], ['succeeded', 'left_alone']])
    // Whatever ends the new grant later.
    await inState('needs_reauthorization')
    expect(await look(at)).toBe(0)
    expect(at.revoked).toEqual(['rt_1'])
  })

  it('wait while the connection is active with its former grant, and are left alone after three days', async () => {
    const { at } = await late()
    await inState('active')
    expect(await look(at)).toBe(0)
    expect(await rows()).toEqual([{ state: 'revoking' }])
    await fixture.database.pool.query(`update grant_refreshes set begun_at = now() - interval '73 hours'`)
    expect(await look(at)).toBe(1)
    expect([at.revoked, await rows()]).toEqual([['rt_1'], []])
    expect(await outcomes()).toEqual(['succeeded', 'left_alone'])
  })

  it('wait while a person is about to authorize anew, as long as that is open', async () => {
    const { at, vault } = await late()
    await fixture.begin(vault, 'plain')
    expect(await look(at)).toBe(0)
    await fixture.clock.advance(11 * MINUTE)
    expect(await look(at)).toBe(1)
    expect(at.revoked).toEqual(['rt_1', 'rt_2'])
  })

  it.each(['asking', 'answered', 'failed'])('wait while an authorization is %s', async (state) => {
    const { at, vault } = await late()
    const { id } = await fixture.begin(vault, 'plain')
    const moved = (to: string, code?: string) =>
      fixture.database.pool.query('update authorizations set state = $2, code = $3 where id = $1', [
        id,
        to,
        code,
      ])
    // Given up, and the node that asked may still have what came.
    await moved(state, state === 'failed' ? 'token_answer_lost' : undefined)
    await fixture.clock.advance(11 * MINUTE)
    expect(await look(at)).toBe(0)
    await moved('failed', 'access_denied')
    expect(await look(at)).toBe(1)
    expect(at.revoked).toEqual(['rt_1', 'rt_2'])
  })

  it('are asked for 78 times at most; the last entry says what a person does, and nothing is kept', async () => {
    const { at } = await late()
    at.status = 401
    await look(at)
    await fixture.database.pool.query('update grant_refreshes set failures = 76')
    await dueNow()
    await look(at)
    expect(await rows()).toEqual([{ state: 'revoking' }])
    await dueNow()
    await look(at)
    expect([await rows(), at.revoked]).toEqual([[], ['rt_1', 'rt_2', 'rt_2', 'rt_2']])
    expect(await outcomes()).toEqual(['succeeded', 'revocation_refused', 'revocation_refused'])
    expect(JSON.stringify((await fixture.entries()).at(-1))).toContain('take Trestle')
  })

  it('are asked for no more when they have ended by themselves', async () => {
    const { at, vault, refresh } = await refreshing()
    await vault.revokeGrant('default', 'plain', 'operator:ada')
    at.rotates = false
    at.letGo()
    await refresh
    at.status = 400
    await look(at)
    await fixture.clock.advance(61 * MINUTE)
    await dueNow()
    await look(at)
    expect([at.revoked, await rows()]).toEqual([['rt_1', 'at_2'], []])
    expect(await outcomes()).toEqual(['succeeded', 'revocation_refused', 'token_ended'])
  })

  it("are taken back with the client's present secret, as long as it is the same client", async () => {
    const { at, vault } = await late()
    at.status = 503
    await fixture.connected(vault, 'plain', plain, { secrets: { ...secrets, clientSecret: 'rotated' } })
    await inState('needs_reauthorization')
    await look(at)
    await fixture.connected(vault, 'plain', plain, {
      secrets: { clientId: 'other', clientSecret: 'not theirs' },
    })
    await inState('needs_reauthorization')
    await dueNow()
    await look(at)
    expect(at.shown).toEqual(['secret', 'rotated', 'secret'])
  })
})

it('an answer that nobody has read yet is a part of the grant that is taken back', async () => {
  const { at, vault, refresh } = await refreshing()
  await dies(refresh, at, noNewGrants)
  await pool().query('alter table secrets drop constraint died')
  expect(await removed(vault)).toEqual({ as: 'revoked' })
  expect(at.revoked).toEqual(['rt_2'])
})
