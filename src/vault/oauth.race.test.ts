import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { HOUR, RetryableError, SECOND } from '../base/index.ts'
import { openDatabase, transaction, type Queryable } from '../db/index.ts'
import type { Connection } from './connections.ts'
import { openOAuthFixture, type OAuthFixture } from './oauth.fixture.ts'
import type { VaultStorage } from './storage.ts'
import { storageOf } from './vault.fixture.ts'
import type { Vault } from './vault.ts'

let oauth: OAuthFixture
beforeAll(async () => {
  oauth = await openOAuthFixture()
})
afterAll(() => oauth.close())
beforeEach(() => oauth.renew())

describe('one refresh per expiry', () => {
  const ROUNDS = 5

  /** 50 callers over three nodes at each expiry; the answers of the first are held until all are under way. */
  async function storm(nodes: readonly Vault[], connection: Connection): Promise<void> {
    for (let round = 0; round < ROUNDS; round++) {
      await oauth.clock.advance(2 * HOUR)
      await Promise.allSettled(
        Array.from({ length: 50 }, (_, i) => oauth.tokenOf(nodes[i % nodes.length]!, connection)),
      )
    }
  }

  it('by 50 concurrent callers on three nodes, and no grant dies', async () => {
    const { vault, connection } = await oauth.connected('storm')
    await storm([vault, oauth.node(), oauth.node()], connection)
    expect(oauth.server.requests.length).toBe(ROUNDS)
    expect(oauth.server.deadFamilies()).toBe(0)
    expect(oauth.server.isGood((await oauth.tokenOf(vault, connection)).token)).toBe(true)
    const refreshed = (await oauth.entries()).filter((entry) => entry.action === 'credential.refreshed')
    expect(refreshed.length).toBe(ROUNDS)
  })

  it('although the other nodes come while the token endpoint is still answering the first', async () => {
    const { vault, connection } = await oauth.connected('storm-held')
    const nodes = [vault, oauth.node(), oauth.node()]
    const release = oauth.server.hold()
    const asked = oauth.server.untilRequests(1)
    const callers = Promise.all(
      Array.from({ length: 50 }, (_, i) => oauth.tokenOf(nodes[i % 3]!, connection)),
    )
    await asked
    await untilWaitingForLock(2)
    release()
    expect(new Set((await callers).map((one) => one.token)).size).toBe(1)
    expect(oauth.server.requests.length).toBe(1)
    expect(oauth.server.deadFamilies()).toBe(0)
  })

  it("holds one of a node's connections to the database, however many callers wait", async () => {
    const { vault, connection } = await oauth.connected('storm-pool')
    const release = oauth.server.hold()
    const asked = oauth.server.untilRequests(1)
    const callers = Promise.all(Array.from({ length: 50 }, () => oauth.tokenOf(vault, connection)))
    await asked
    // More at once than would be left in a pool of 5, were each caller waiting on the lock.
    const others = await Promise.all(Array.from({ length: 8 }, () => vault.listConnections('default')))
    expect(others.length).toBe(8)
    release()
    expect(new Set((await callers).map((one) => one.token)).size).toBe(1)
  })

  it('also after a 401 that all of them saw', async () => {
    const { vault, connection } = await oauth.connected('storm-401')
    const nodes = [vault, oauth.node(), oauth.node()]
    const { version } = await oauth.tokenOf(vault, connection)
    const outcomes = await Promise.all(
      Array.from({ length: 50 }, (_, i) => nodes[i % 3]!.refreshAfterUnauthorized(connection, version)),
    )
    expect(outcomes).toEqual(Array.from({ length: 50 }, () => ({ as: 'refreshed' })))
    expect(oauth.server.requests.length).toBe(2)
    expect(oauth.server.deadFamilies()).toBe(0)
  })

  it('CONTROL: without the row lock the family dies, so the test above can fail', async () => {
    const unlocked = (): Vault => oauth.node({ storage: withoutRowLocks() })
    const { connection } = await oauth.connected('storm-control')
    const nodes = [unlocked(), unlocked(), unlocked()]
    await oauth.clock.advance(2 * HOUR)
    const release = oauth.server.hold()
    const allAsked = oauth.server.untilRequests(3)
    const callers = Promise.allSettled(nodes.map((node) => oauth.tokenOf(node, connection)))
    await allAsked
    release()
    await callers
    expect(oauth.server.requests.length).toBe(3)
    expect(oauth.server.deadFamilies()).toBe(1)
  })

  it('with a holder that loses its lock, the fence lets one write stand and nobody uses the other token', async () => {
    const { connection } = await oauth.connected('fence')
    const nodes = [oauth.node({ storage: withoutRowLocks() }), oauth.node({ storage: withoutRowLocks() })]
    const release = oauth.server.hold()
    const bothAsked = oauth.server.untilRequests(2)
    // A provider that forgives a second use within a grace period: both refreshes are granted.
    for (const n of [1, 2])
      oauth.server.failNext(() => ({
        status: 200,
        body: JSON.stringify({
          access_token: `at_${n}`,
          refresh_token: `rt_${n}`,
          token_type: 'bearer',
          expires_in: 3600,
        }),
      }))
    const callers = Promise.all(nodes.map((node) => oauth.tokenOf(node, connection)))
    await bothAsked
    release()
    const [one, two] = await callers
    expect(one).toEqual(two)
    const refreshed = (await oauth.entries()).filter((entry) => entry.action === 'credential.refreshed')
    expect(refreshed.length).toBe(1)
  })

  /** Asks the server of the database until so many of its sessions wait for a row. */
  async function untilWaitingForLock(count: number): Promise<void> {
    const waiting = async (): Promise<number> => {
      const { rows } = await oauth.database.pool.query<{ n: number }>(
        `select count(*)::integer as n from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock'`,
      )
      return rows[0]!.n
    }
    while ((await waiting()) < count);
  }

  /** The same database, with the lock taken out of every statement. */
  function withoutRowLocks(): VaultStorage {
    const database = openDatabase({ url: oauth.database.url, max: 5 })
    const unlocked = (client: Queryable): Queryable => ({
      query: (statement, values) => client.query((statement as string).replace(/ for update$/, ''), values),
    })
    return {
      ...storageOf(database),
      async transaction(work) {
        try {
          return await transaction(database.pool, (client) => work(unlocked(client)))
        } finally {
          await database.close()
        }
      },
    }
  }
})

describe('a database that fails', () => {
  it('to give the lock in time, because another node holds it, is a reason to try later', async () => {
    const { connection } = await oauth.connected('busy')
    const vault = oauth.node({
      storage: {
        ...oauth.storage,
        transaction: () => Promise.reject(Object.assign(new Error('lock timeout'), { code: '55P03' })),
      },
    })
    await expect(oauth.tokenOf(vault, connection)).rejects.toMatchObject({
      code: 'credential_busy',
      retryAt: oauth.clock.now() + 5 * SECOND,
    })
    expect(oauth.server.requests.length).toBe(0)
  })

  it('between the answer and its commit does not cost the grant', async () => {
    const { connection } = await oauth.connected('lost-commit')
    let breaks = 2
    const vault = oauth.node({
      record: () =>
        breaks-- > 0 ? Promise.reject(new RetryableError('database_unavailable', 'away')) : Promise.resolve(),
    })
    await expect(oauth.tokenOf(vault, connection)).rejects.toMatchObject({ code: 'database_unavailable' })
    expect(breaks).toBe(0)
    // The provider has rotated already. The next call saves what it gave, and asks for nothing.
    const { token } = await oauth.tokenOf(vault, connection)
    expect(oauth.server.isGood(token)).toBe(true)
    expect(oauth.server.requests.length).toBe(1)
  })

  it('after the commit, with the answer lost, uses what was committed', async () => {
    const { connection } = await oauth.connected('lost-answer')
    let commits = 0
    const storage: VaultStorage = {
      ...oauth.storage,
      async transaction(work) {
        const result = await oauth.storage.transaction(work)
        if (commits++ === 0) throw new RetryableError('database_unavailable', 'the answer to COMMIT was lost')
        return result
      },
    }
    const vault = oauth.node({ storage })
    expect(oauth.server.isGood((await oauth.tokenOf(vault, connection)).token)).toBe(true)
    expect(oauth.server.requests.length).toBe(1)
    expect(oauth.server.deadFamilies()).toBe(0)
  })
})
