import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { businessApp } from '../../connectors/business-app/index.ts'
import { acme, startTestEngine, type TestEngine, type TestEngineOptions } from '../../tests/support/engine.ts'
import { createTestDatabase } from '../../tests/support/database.ts'
import { parseJson, systemClock, systemRandom, type Clock } from '../base/index.ts'
import { transaction } from '../db/index.ts'
import type { AnyConnector } from '../define/index.ts'
import type { Egress } from '../egress/index.ts'
import { createFlowTable } from '../inbox/index.ts'
import { writeEntries } from '../ledger/index.ts'
import { localMasterKey } from '../vault/masterKey.ts'
import { createVault, type Vault } from '../vault/index.ts'
import { createApi, type Api, type ApiDeps } from './index.ts'

/**
 * The machine's time, in which whatever waits waits a hundred times as long: an answer that is late because the machine
 * stood still is none of what is tested here. A test of a deadline has a clock of its own.
 */
const PATIENT: Clock = {
  ...systemClock,
  after: (ms, wake, options) => systemClock.after(ms * 100, wake, options),
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** Read losslessly; `undefined` where it is no JSON. */
  // oxlint-disable-next-line typescript/no-explicit-any -- whatever the server answered
  readonly json: any
}

/** The server on a real port, over a real database, with an engine that executes runs. */
export interface ServerFixture {
  readonly url: string
  readonly api: Api
  readonly deps: ApiDeps
  readonly vault: Vault
  readonly engine: TestEngine
  /** An API token of the tenant `default`, and one of the tenant `other`. */
  readonly token: string
  readonly foreignToken: string
  get(path: string, headers?: Readonly<Record<string, string>>): Promise<Answer>
  post(path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<Answer>
  close(): Promise<void>
}

export interface ServerFixtureOptions extends Partial<TestEngineOptions> {
  readonly over?: Partial<ApiDeps>
  /** Connectors beside the usual two. */
  readonly connectors?: readonly AnyConnector[]
  /** The vault's way out. Default: none. */
  readonly send?: Egress['send']
}

export async function openServer(options: ServerFixtureOptions = {}): Promise<ServerFixture> {
  const { over, flows = [], connectors: more = [], send, ...engineOptions } = options
  const testDatabase = await createTestDatabase()
  const engine = await startTestEngine(testDatabase, { flows, ...engineOptions })
  const { database, operator, inbox } = engine
  const connectors = new Map<string, AnyConnector>([
    ['acme', acme],
    ['business-app', businessApp],
    ...more.map((connector) => [connector.name, connector] as const),
  ])
  const vault = createVault({
    storage: { reader: database.pool, transaction: (work) => transaction(database.pool, work) },
    key: localMasterKey(systemRandom.bytes(32), systemRandom),
    clock: systemClock,
    random: systemRandom,
    environment: {},
    record: (client, entry) => writeEntries(client, [entry]),
    send: send ?? (() => Promise.reject(new Error('no test sends anything'))),
    authOf: (name) => connectors.get(name)?.auth,
    baseUrlOf: (name) => connectors.get(name)?.baseUrl,
  })
  await database.pool.query(
    `insert into connections (tenant, id, name, connector, base_url) values ('default', 'con_app', 'app', 'business-app', 'https://app.example')`,
  )
  const make = (tenant: string): Promise<string> =>
    vault.tokens
      .create({ tenant, name: 'test', actor: 'operator:test', grants: { role: 'admin' } })
      .then(({ token }) => token)
  const [token, foreignToken] = [await make('default'), await make('other')]
  let url = ''
  const deps: ApiDeps = {
    database,
    vault,
    operator,
    inbox,
    flows: createFlowTable(flows),
    connectorNamed: (name) => connectors.get(name),
    clock: PATIENT,
    random: systemRandom,
    tenant: 'default',
    publicUrl: () => url,
    testConnection: () =>
      Promise.resolve({
        as: 'succeeded',
        output: {},
        summary: 'pinged',
        exchange: { status: 200, ms: 3 } as never,
      }),
    rotateCredential: async (tenant, name, { untested, ...wish }, actor) => ({
      ...(await vault.rotate(tenant, name, wish, actor)),
      tested: untested !== true,
    }),
    ...over,
  }
  const api = createApi(deps)
  const server = createServer((request, response) => api.handle(request, response))
  // A connection that rested while the machine stood still is not closed under the next request.
  server.keepAliveTimeout = 0
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  const ask = async (path: string, init: RequestInit): Promise<Answer> => {
    const response = await fetch(url + path, { redirect: 'manual', ...init })
    const text = await response.text()
    return { status: response.status, headers: response.headers, text, json: jsonOf(text) }
  }
  const own = { authorization: `Bearer ${token}` }
  return {
    url,
    api,
    deps,
    vault,
    engine,
    token,
    foreignToken,
    get: (path, headers) => ask(path, { headers: { ...own, ...headers } }),
    post: (path, body, headers) =>
      ask(path, {
        method: 'POST',
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
        headers: {
          ...own,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
      }),
    async close() {
      await api.close()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
      await engine.stop()
      await testDatabase.drop()
    },
  }
}

function jsonOf(text: string): unknown {
  try {
    return parseJson(text)
  } catch {
    return undefined
  }
}
