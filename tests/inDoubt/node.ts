import type { EgressRequest, EgressResult } from '../../src/egress/index.ts'
import { seededRandom, type Clock, type RunId } from '../../src/base/index.ts'
import { createCalls, type CallConnection } from '../../src/calls/index.ts'
import { openDatabase, type Database } from '../../src/db/index.ts'
import type { AnyConnector } from '../../src/define/index.ts'
import type { Dispatch } from '../../src/dispatch/index.ts'
import { Engine } from '../../src/flows/index.ts'
import { writeEntries } from '../../src/ledger/index.ts'
import { TENANT, type Installation } from '../../src/runtime/index.ts'
import { mortal } from './timeLapse.ts'

/** A node of the engine that can die in the middle of anything, in this process. */
export interface Node {
  readonly engine: Engine
  readonly dead: boolean
  /** Nothing of it goes on: its timers, its statements, its requests. Locks go with its connections. */
  die(): void
  /** Its database connections break; it lives on. */
  cut(): void
  stop(): Promise<void>
}

export interface NodeOptions {
  readonly installation: Installation
  readonly clock: Clock
  readonly seed: string
  readonly dispatch: Dispatch
  readonly send: (node: Node, request: EgressRequest) => Promise<EgressResult>
  readonly onMoved: (run: RunId, state: string) => void
}

const never = <Result>(): Promise<Result> => new Promise(() => {})

export async function startNode(options: NodeOptions): Promise<Node> {
  const { installation, dispatch } = options
  const life = { dead: false }
  const clock = mortal(options.clock, () => life.dead)
  const { database, breakConnections } = mortalDatabase(installation.database.url, life)
  const { vault, connectorNamed, flows } = installation
  const calls = createCalls({
    clock,
    send: (request) => (life.dead ? never() : options.send(node, request)),
    mail: () => never(),
    authorize: async (connection, request, context) =>
      vault.authorize(await vault.loadConnectionById(connection.tenant, connection.id), request, context),
    refreshAfterUnauthorized: async (connection, version) =>
      vault.refreshAfterUnauthorized(
        await vault.loadConnectionById(connection.tenant, connection.id),
        version,
      ),
    secretValuesOf: (connection) => vault.secretValuesOf(connection),
  })
  const engine = new Engine({
    database,
    clock,
    random: seededRandom(options.seed),
    dispatch,
    flows,
    connectorNamed,
    writeEntries,
    version: 'trial',
    roles: ['worker'],
    // The clock runs fast, and heartbeats do not.
    leaseMs: 1e12,
    call: async (request) => {
      const outcome = await calls.call(request)
      return life.dead ? never() : outcome
    },
    connectionFor: (_tenant, connector) => connectionOf(installation, connector),
    onMoved: (run, move) => options.onMoved(run.id, move.to),
  })
  const node: Node = {
    engine,
    get dead() {
      return life.dead
    },
    die() {
      life.dead = true
      breakConnections()
    },
    cut: breakConnections,
    async stop() {
      if (life.dead) return
      await engine.stop()
      await database.close()
    },
  }
  await engine.start()
  return node
}

async function connectionOf(
  { vault, config }: Installation,
  connector: AnyConnector,
): Promise<CallConnection> {
  const [name] = Object.entries(config.connections).find(([, one]) => one.connector.name === connector.name)!
  const found = await vault.loadConnection(TENANT, name)
  return { ...found, connector, allowPrivate: found.allowPrivateNetwork }
}

/** A pool whose connections can be broken, and which gives none to the dead. */
function mortalDatabase(
  url: string,
  life: { readonly dead: boolean },
): { readonly database: Database; readonly breakConnections: () => void } {
  const database = openDatabase({ url, max: 4 })
  const open = new Set<{ end(): Promise<void>; connection: { stream: { destroy(): void } } }>()
  const { pool } = database
  pool.on('connect', (client) => open.add(client as never))
  pool.on('remove', (client) => open.delete(client as never))
  const connect = pool.connect.bind(pool) as (...given: unknown[]) => unknown
  pool.connect = ((...given: unknown[]) => (life.dead ? never() : connect(...given))) as typeof pool.connect
  return {
    database,
    breakConnections() {
      for (const client of open) client.connection.stream.destroy()
    },
  }
}
