import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { HOUR } from '../../src/base/index.ts'
import { openVaultFixture, type VaultFixture } from '../../src/vault/vault.fixture.ts'
import type { Connection } from '../../src/vault/connections.ts'
import type { Vault, VaultOptions, VaultStorage } from '../../src/vault/index.ts'
import type { Queryable } from '../../src/db/index.ts'
import { compileEntries } from '../crash/build.ts'
import { startChild, type Child } from '../crash/processes.ts'
import type { ServerOptions, ServerReady } from './authorizationServer.ts'
import { connectorWith } from '../../src/vault/vault.fixture.ts'

/**
 * Refreshes against a real authorization server (oidc-provider, in a process of its own) whose refresh tokens are good
 * once: four nodes, each with its own pool and memory, and 200 callers.
 */
const CLIENT = { id: 'trestle', secret: 'a-secret-of-the-test-client' }
const portal = connectorWith('portal', {
  kind: 'oauth2',
  tokenUrl: '/token',
  authorizeUrl: '/auth',
  scopes: ['openid', 'offline_access'],
  clientAuth: 'basic',
})
const NODES = 4
const CALLERS = 200
const EXPIRIES = 10

let fixture: VaultFixture
let server: Child<ServerReady>
let url: string
let folder: string
/** Questions that were put to the token endpoint. */
let asked = 0

beforeAll(async () => {
  const [opened, entries, made] = await Promise.all([
    openVaultFixture(),
    compileEntries(),
    mkdtemp(join(tmpdir(), 'trestle-oauth-')),
  ])
  fixture = opened
  folder = made
  const options: ServerOptions = {
    clientId: CLIENT.id,
    clientSecret: CLIENT.secret,
    lifetime: 3600,
    redirectUri: 'http://127.0.0.1:1/callback',
  }
  server = startChild<ServerReady>({
    entry: join(entries, '..', 'oauth', 'authorizationServer.js'),
    options,
    logFile: join(folder, 'log'),
  })
  const ready = await server.ready
  if (!ready) throw new Error(`The authorization server did not start: ${server.said()}`)
  url = ready.url
})
afterAll(async () => {
  server.kill()
  await server.ended
  await fixture.close()
  await rm(folder, { recursive: true })
})

function node(changes: Partial<VaultOptions> = {}): Vault {
  return fixture.node({
    send: (request) => {
      asked++
      return fixture.send(request)
    },
    ...changes,
  })
}

/** A connection with the grant of a person who has just agreed. */
async function connected(name: string): Promise<Connection> {
  const { token } = (await (await fetch(`${url}/families`)).json()) as { token: string }
  const vault = node()
  const secrets = { clientId: CLIENT.id, clientSecret: CLIENT.secret, refreshToken: token }
  const definition = portal.connect({ baseUrl: url, allowPrivateNetwork: true, secrets })
  await vault.syncDeclared('default', { [name]: definition })
  return vault.loadConnection('default', name)
}

async function tokenOf(vault: Vault, connection: Connection): Promise<string> {
  const request = { method: 'GET', url: `${url}/api/me`, headers: {}, body: undefined }
  const context = { idempotencyKey: 'key', now: fixture.clock.now() }
  return (await vault.authorize(connection, request, context)).headers['authorization']!
}

async function opensTheApi(authorization: string): Promise<boolean> {
  return (await fetch(`${url}/api/me`, { headers: { authorization } })).status === 200
}

async function storm(
  nodes: readonly Vault[],
  connection: Connection,
): Promise<PromiseSettledResult<string>[]> {
  await fixture.clock.advance(2 * HOUR)
  return Promise.allSettled(
    Array.from({ length: CALLERS }, (_, i) => tokenOf(nodes[i % nodes.length]!, connection)),
  )
}

async function stateOf(connection: Connection): Promise<string> {
  const { rows } = await fixture.database.pool.query<{ state: string }>(
    'select state from connections where id = $1',
    [connection.id],
  )
  return rows[0]!.state
}

it('one question per expiry, by 200 callers on four nodes, and the grant lives', async () => {
  const connection = await connected('storm')
  const nodes = Array.from({ length: NODES }, () => node())
  asked = 0
  for (let expiry = 0; expiry < EXPIRIES; expiry++) {
    const outcomes = await storm(nodes, connection)
    const tokens = new Set(
      outcomes.map((one) => (one.status === 'fulfilled' ? one.value : String(one.reason))),
    )
    expect(tokens.size).toBe(1)
    expect(await opensTheApi([...tokens][0]!)).toBe(true)
  }
  expect(asked).toBe(EXPIRIES)
  expect(await stateOf(connection)).toBe('active')
})

it('CONTROL: without the lease the same server ends the grant', async () => {
  const connection = await connected('storm-without-lease')
  const nodes = Array.from({ length: NODES }, () => node({ storage: withoutLeases(fixture.storage) }))
  await storm(nodes, connection)
  await storm(nodes, connection)
  expect(await stateOf(connection)).toBe('needs_reauthorization')
})

it('a node that dies with an answer committed and unread costs no grant', async () => {
  const connection = await connected('dies-after-commit')
  await dieAsking(connection, { storage: rewritten(fixture.storage, dieAtTheGrant) })
  expect(await stateOf(connection)).toBe('active')
  expect(await opensTheApi(await tokenOf(node(), connection))).toBe(true)
})

it('a node that dies before it committed the answer costs the grant, and the ledger says why', async () => {
  const connection = await connected('dies-before-commit')
  await dieAsking(connection, {
    send: (request) => fixture.send(request).then(() => Promise.reject(new Error('died'))),
  })
  expect(await stateOf(connection)).toBe('needs_reauthorization')
  expect((await fixture.entries()).at(-1)).toMatchObject({ outcome: 'token_answer_lost' })
})

/** A node dies in a refresh, its lease ends, and another looks for what it left. */
async function dieAsking(connection: Connection, how: Partial<VaultOptions>): Promise<void> {
  await expect(tokenOf(node(how), connection)).rejects.toThrow('died')
  await fixture.database.pool.query(
    `update grant_refreshes set lease_until = clock_timestamp() - interval '1 minute'`,
  )
  await node().refreshLeftBehind()
}

function dieAtTheGrant(statement: string): string {
  if (statement.startsWith('update secrets set sealed')) throw new Error('died')
  return statement
}

function withoutLeases(storage: VaultStorage): VaultStorage {
  return rewritten(storage, (statement) =>
    statement.replace('lease_until <= clock_timestamp() as lease_ended', 'true as lease_ended'),
  )
}

/** The same database, with a protection taken out of the statements. */
function rewritten(storage: VaultStorage, rewrite: (statement: string) => string): VaultStorage {
  const through = (client: Queryable): Queryable => ({
    query: (statement, values) => client.query(rewrite(statement as string), values),
  })
  return {
    reader: through(storage.reader),
    transaction: (work) => storage.transaction((client) => work(through(client))),
  }
}
