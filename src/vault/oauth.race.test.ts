import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { HOUR, RetryableError, SECOND, systemClock } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import type { Connection } from './connections.ts'
import { openOAuthFixture, type OAuthFixture } from './oauth.fixture.ts'
import type { VaultStorage } from './storage.ts'
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
    const release = oauth.server.hold()
    const asked = oauth.server.untilRequests(1)
    const first = oauth.tokenOf(vault, connection)
    await asked
    const others = [withTransactionsCounted(), withTransactionsCounted()]
    const callers = Array.from({ length: 50 }, (_, i) => oauth.tokenOf(others[i % 2]!.vault, connection))
    // Each has found that it is not its turn.
    await Promise.all(others.map((one) => one.transaction))
    release()
    const tokens = await Promise.all([first, ...callers])
    expect(new Set(tokens.map((one) => one.token)).size).toBe(1)
    expect(oauth.server.requests.length).toBe(1)
    expect(oauth.server.deadFamilies()).toBe(0)
  })

  it("holds none of a node's connections to the database while the endpoint thinks, however many wait", async () => {
    const { vault, connection } = await oauth.connected('storm-pool')
    const release = oauth.server.hold()
    const asked = oauth.server.untilRequests(1)
    const callers = Promise.all(Array.from({ length: 50 }, () => oauth.tokenOf(vault, connection)))
    await asked
    // Who waits looks now and then; a connection that is held would be busy until the endpoint answers.
    const busy = async (): Promise<number> => {
      const { rows } = await oauth.database.pool.query<{ busy: number }>(
        `select count(*)::integer as busy from pg_stat_activity where datname = current_database()
           and backend_type = 'client backend' and state <> 'idle' and pid <> pg_backend_pid()`,
      )
      return rows[0]!.busy
    }
    await expect.poll(busy).toBe(0)
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

  it('CONTROL: without the lease the family dies, so the test above can fail', async () => {
    const unlocked = (): Vault => oauth.node({ storage: rewritten(WITHOUT_LEASES) })
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

  it('with a holder that loses its turn, the fence lets one write stand and nobody uses the other token', async () => {
    const { connection } = await oauth.connected('fence')
    const nodes = [1, 2].map(() => oauth.node({ storage: rewritten(WITHOUT_LEASES) }))
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

  /** A node, and when its first transaction is over. */
  function withTransactionsCounted(): { readonly vault: Vault; readonly transaction: Promise<void> } {
    let over = (): void => {}
    const first = new Promise<void>((resolve) => {
      over = resolve
    })
    const storage: VaultStorage = {
      ...oauth.storage,
      async transaction(work) {
        const result = await oauth.storage.transaction(work)
        over()
        return result
      },
    }
    return { vault: oauth.node({ storage }), transaction: first }
  }
})

/** Every lease has ended, wherever one looks. */
const WITHOUT_LEASES = (statement: string): string =>
  statement.replace('lease_until <= clock_timestamp() as lease_ended', 'true as lease_ended')

/** The same database, with a protection taken out of the statements. */
function rewritten(rewrite: (statement: string) => string): VaultStorage {
  const through = (client: Queryable): Queryable => ({
    query: (statement, values) => client.query(rewrite(statement as string), values),
  })
  return {
    reader: through(oauth.storage.reader),
    transaction: (work) => oauth.storage.transaction((client) => work(through(client))),
  }
}

describe('a node that dies in a refresh', () => {
  /** The turn is taken, and nothing came of it: as the database looks after a kill. */
  async function takeTurnAndDie(connection: Connection, leaseMs: number): Promise<void> {
    await oauth.database.pool.query(
      `insert into grant_refreshes (tenant, connection_id, id, replaces, state, lease_until)
       select s.tenant, s.connection_id, 'rfr_dead', s.version, 'asking', clock_timestamp() + $2 * interval '1 millisecond'
       from secrets s where s.connection_id = $1 and s.field = 'grant'`,
      [connection.id, leaseMs],
    )
  }

  it('before it asked is followed by another, and the grant lives', async () => {
    const { vault, connection } = await oauth.connected('died-before')
    await takeTurnAndDie(connection, -1)
    expect(oauth.server.isGood((await oauth.tokenOf(vault, connection)).token)).toBe(true)
    expect(oauth.server.requests.length).toBe(1)
  })

  it('is not overtaken while its lease lasts', async () => {
    const { vault, connection } = await oauth.connected('died-lease')
    await takeTurnAndDie(connection, 600_000)
    const caller = oauth.tokenOf(vault, connection)
    await vault.listConnections('default')
    expect(oauth.server.requests.length).toBe(0)
    await oauth.database.pool.query('update grant_refreshes set lease_until = clock_timestamp()')
    expect(oauth.server.isGood((await caller).token)).toBe(true)
  })

  it('tells a caller that has waited long enough to come again within a second', async () => {
    const { connection } = await oauth.connected('died-waiting')
    await takeTurnAndDie(connection, 600_000)
    let leaps = 0
    const pollClock = { ...systemClock, monotonic: () => ++leaps * 26 * SECOND }
    await expect(oauth.tokenOf(oauth.node({ pollClock }), connection)).rejects.toMatchObject({
      code: 'credential_busy',
      retryAt: oauth.clock.now() + SECOND,
    })
  })

  it('with its answer committed and unread: the next call reads it, and nobody asks again', async () => {
    const { vault, connection } = await oauth.connected('died-unread')
    const dying = oauth.node({ storage: rewritten(stopBefore('update secrets set sealed')) })
    await expect(oauth.tokenOf(dying, connection)).rejects.toThrow('died')
    expect(oauth.server.isGood((await oauth.tokenOf(vault, connection)).token)).toBe(true)
    expect(oauth.server.requests.length).toBe(1)
    expect(oauth.server.deadFamilies()).toBe(0)
    const { rows } = await oauth.database.pool.query('select 1 from grant_refreshes')
    expect(rows.length).toBe(0)
  })

  it('with its answer committed and unread: the look ahead reads it where nobody calls', async () => {
    const { vault, connection } = await oauth.connected('died-idle')
    const dying = oauth.node({ storage: rewritten(stopBefore('update secrets set sealed')) })
    await expect(oauth.tokenOf(dying, connection)).rejects.toThrow('died')
    await oauth.database.pool.query(
      `update grant_refreshes set lease_until = clock_timestamp() - interval '1 minute'`,
    )
    await vault.refreshLeftBehind()
    expect((await oauth.entries()).map((entry) => entry.action)).toContain('credential.refreshed')
    expect(oauth.server.requests.length).toBe(1)
  })

  it('with its answer lost: the refusal of the next says so, and a person is asked for', async () => {
    const { connection } = await oauth.connected('died-lost')
    const dying = oauth.node({
      send: async (request) => {
        await oauth.send(request)
        throw new Error('died')
      },
    })
    await expect(oauth.tokenOf(dying, connection)).rejects.toThrow('died')
    await oauth.database.pool.query('update grant_refreshes set lease_until = clock_timestamp()')
    await oauth.node().refreshLeftBehind()
    expect(await oauth.stateOf(connection)).toBe('needs_reauthorization')
    expect((await oauth.entries()).at(-1)).toMatchObject({
      action: 'credential.refused',
      outcome: 'token_answer_lost',
    })
  })

  it('and comes back with the answer after all: the grant is taken up again, though it was believed dead', async () => {
    const { vault, connection } = await oauth.connected('came-back')
    let goOn = (): void => {}
    const stopped = new Promise<void>((resolve) => {
      goOn = resolve
    })
    const slow = oauth.node({
      send: async (request) => {
        const result = await oauth.send(request)
        await stopped
        return result
      },
    })
    const asked = oauth.server.untilRequests(1)
    const late = oauth.tokenOf(slow, connection)
    await asked
    await oauth.database.pool.query('update grant_refreshes set lease_until = clock_timestamp()')
    // A provider that refuses the used token and leaves the new one alone.
    oauth.server.failNext(() => ({ status: 400, body: '{"error":"invalid_grant"}' }))
    await expect(oauth.tokenOf(vault, connection)).rejects.toMatchObject({ code: 'needs_reauthorization' })
    await oauth.database.pool.query('delete from credential_returns')
    goOn()
    expect(oauth.server.isGood((await late).token)).toBe(true)
    expect(await oauth.stateOf(connection)).toBe('active')
    // Who waits for it goes on at once.
    expect((await oauth.database.pool.query('select 1 from credential_returns')).rowCount).toBe(1)
    expect((await oauth.entries()).map((entry) => entry.action)).toContain('connection.reauthorized')
  })

  it('leaves grants that another node asks for out of the look ahead, so that it does not wait for them', async () => {
    const { vault, connection } = await oauth.connected('asked-elsewhere')
    await oauth.tokenOf(vault, connection)
    await oauth.clock.advance(HOUR)
    const release = oauth.server.hold()
    const asked = oauth.server.untilRequests(1)
    const looking = vault.refreshAhead()
    await asked
    expect(await oauth.node().refreshAhead()).toBe(0)
    release()
    expect(await looking).toBe(1)
  })

  it('leaves grants that are paused out of the look ahead, so that they keep no other from it', async () => {
    const { vault, connection } = await oauth.connected('paused')
    await oauth.tokenOf(vault, connection)
    await oauth.clock.advance(HOUR)
    oauth.server.failNext(() => ({ status: 503, body: '' }))
    expect(await vault.refreshAhead()).toBe(1)
    expect(await vault.refreshAhead()).toBe(0)
    await oauth.clock.advance(5 * SECOND)
    expect(await vault.refreshAhead()).toBe(1)
    expect((await oauth.entries()).filter((entry) => entry.action === 'credential.refreshed').length).toBe(2)
  })

  it('that stood still between its turn and its question asks nothing any more', async () => {
    const { connection } = await oauth.connected('stood-still')
    let mayLeave: (() => boolean) | undefined
    const node = oauth.node({
      send: (request) => {
        mayLeave = request.mayLeave
        return Promise.resolve({ as: 'not_sent', code: 'withdrawn', reason: 'It may not leave.' })
      },
    })
    await expect(oauth.tokenOf(node, connection)).rejects.toMatchObject({ code: 'withdrawn' })
    expect(mayLeave!()).toBe(true)
    await oauth.clock.advance(10 * SECOND)
    expect(mayLeave!()).toBe(false)
  })

  /** Dies at the first statement that begins so. */
  function stopBefore(beginning: string): (statement: string) => string {
    return (statement) => {
      if (statement.startsWith(beginning)) throw new Error('died')
      return statement
    }
  }
})

describe('a database that fails', () => {
  it('between the answer and its commit does not cost the grant', async () => {
    const { connection } = await oauth.connected('lost-commit')
    let breaks = 2
    const storage: VaultStorage = {
      ...oauth.storage,
      transaction: (work) =>
        oauth.server.requests.length > 0 && breaks-- > 0
          ? Promise.reject(new RetryableError('database_unavailable', 'away'))
          : oauth.storage.transaction(work),
    }
    const vault = oauth.node({ storage })
    await expect(oauth.tokenOf(vault, connection)).rejects.toMatchObject({ code: 'database_unavailable' })
    // The provider has rotated already. The next call commits what it gave, and asks for nothing.
    expect(oauth.server.isGood((await oauth.tokenOf(vault, connection)).token)).toBe(true)
    expect(oauth.server.requests.length).toBe(1)
    await vault.drain()
  })

  it('is tried until it takes the answer, also where nobody calls again', async () => {
    const { connection } = await oauth.connected('kept-trying')
    let breaks = 3
    const storage: VaultStorage = {
      ...oauth.storage,
      transaction: (work) =>
        oauth.server.requests.length > 0 && breaks-- > 0
          ? Promise.reject(new RetryableError('database_unavailable', 'away'))
          : oauth.storage.transaction(work),
    }
    const vault = oauth.node({ storage })
    await expect(oauth.tokenOf(vault, connection)).rejects.toMatchObject({ code: 'database_unavailable' })
    await vault.drain()
    const { rows } = await oauth.database.pool.query('select state from grant_refreshes')
    expect(rows).toEqual([{ state: 'answered' }])
  })

  it.each([1, 2, 3])('after commit %i, with the answer to it lost, uses what was committed', async (n) => {
    const { connection } = await oauth.connected('lost-answer')
    let commits = 0
    const storage: VaultStorage = {
      ...oauth.storage,
      async transaction(work) {
        const result = await oauth.storage.transaction(work)
        if (++commits === n) throw new RetryableError('database_unavailable', 'the answer to COMMIT was lost')
        return result
      },
    }
    const vault = oauth.node({ storage })
    await oauth.tokenOf(vault, connection).catch(() => undefined)
    expect(oauth.server.isGood((await oauth.tokenOf(vault, connection)).token)).toBe(true)
    expect(oauth.server.requests.length).toBe(1)
    expect(oauth.server.deadFamilies()).toBe(0)
  })
})
