import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { SECOND, systemClock, systemRandom } from '../../src/base/index.ts'
import { openInstallation, TENANT, testConnection, type Installation } from '../../src/runtime/index.ts'
import type { RefreshTiming } from '../../src/vault/index.ts'
import { startChild, type Child } from '../crash/processes.ts'
import { openAlertSink, type AlertSink } from '../drills/alerts.ts'
import type { ServerOptions, ServerReady } from './authorizationServer.ts'
import { CLIENT, configOf, type Portals } from './connector.ts'
import type { NodeOptions, NodeReady } from './node.ts'
import { openWitness, type WitnessOptions } from './witness.ts'

export interface WorldOptions extends Pick<WitnessOptions, 'seed' | 'slowMs' | 'atPlace' | 'onRenewed'> {
  /** Empty, and used by nobody else. */
  readonly databaseUrl: string
  readonly folder: string
  /** The folder of the compiled tests. */
  readonly compiled: string
  readonly connections: readonly string[]
  readonly timing?: RefreshTiming | undefined
  /** Seconds that an access token lives. */
  readonly lifetime: number
}

/** An authorization server in a process of its own, the witness before it, nodes, and who is told of incidents. */
export interface World {
  readonly sink: AlertSink
  readonly witnessFile: string
  /** Starts one, and waits until it is ready or has ended. */
  start(options: NodeStart): Promise<Child<NodeReady>>
  /** Gives the connection the grant of a person who has just agreed, and tries it. */
  authorize(connection: string): Promise<void>
  /** Rows of a question to the database. */
  ask<Row extends object>(statement: string, values?: unknown[]): Promise<Row[]>
  close(): Promise<void>
}

type NodeStart = Pick<NodeOptions, 'name' | 'journalFile' | 'called' | 'callers'> &
  Partial<Pick<NodeOptions, 'diesAt' | 'sabotage'>>

export async function openWorld(options: WorldOptions): Promise<World> {
  const { folder, databaseUrl, compiled, timing } = options
  await mkdir(folder, { recursive: true })
  const children: Child<object>[] = []
  const spawned = <Ready extends object>(entry: string, name: string, given: object): Child<Ready> => {
    const child = startChild<Ready>({
      entry: join(compiled, 'oauth', `${entry}.js`),
      options: given,
      logFile: join(folder, `${name}.log`),
    })
    children.push(child)
    return child
  }
  const serverOptions: ServerOptions = {
    clientId: CLIENT.id,
    clientSecret: CLIENT.secret,
    lifetime: options.lifetime,
    redirectUri: 'http://127.0.0.1:1/callback',
  }
  const server = spawned<ServerReady>('authorizationServer', 'server', serverOptions)
  const ready = await server.ready
  if (!ready) throw new Error(`The authorization server did not start: ${server.said()}`)
  const sink = await openAlertSink()
  const witnessFile = join(folder, 'witness.jsonl')
  const witness = await openWitness({ ...options, target: ready.url, file: witnessFile })
  const portals: Portals = {
    apiUrl: `${ready.url}/api`,
    witnessUrl: witness.url,
    connections: options.connections,
    alerts: sink.alerts,
  }
  const config = configOf(portals)
  const installation: Installation = await openInstallation({
    config,
    folder,
    databaseUrl,
    environment: {},
    clock: systemClock,
    random: systemRandom,
    development: true,
    connections: 3,
    ...(timing && { refreshTiming: timing }),
  })
  const { vault, database } = installation
  await vault.syncDeclared(TENANT, config.connections)

  return {
    sink,
    witnessFile,
    async start(more) {
      const given: NodeOptions = {
        ...portals,
        ...more,
        databaseUrl,
        folder,
        ...(timing && { timing }),
      }
      const child = spawned<NodeReady>('node', more.name, given)
      await child.ready
      return child
    },
    async authorize(connection) {
      const { token } = (await (await fetch(`${ready.url}/families`)).json()) as { token: string }
      const definition = config.connections[connection]!
      await vault.addConnection({
        tenant: TENANT,
        name: connection,
        actor: 'operator:test',
        definition: { ...definition, secrets: { ...definition.secrets, refreshToken: token } },
      })
      await testConnection(installation, TENANT, connection)
    },
    ask: async (statement, values) => (await database.pool.query(statement, values)).rows,
    async close() {
      await Promise.all(children.slice(1).map((child) => endChild(child)))
      await installation.close()
      await witness.close()
      sink.close()
      server.kill()
      await server.ended
    },
  }
}

const STOP_LIMIT_MS = 30 * SECOND

/** In order; one that does not end is killed. */
async function endChild(child: Child<object>): Promise<void> {
  if (child.hasEnded()) return
  const stopKilling = systemClock.after(STOP_LIMIT_MS, () => child.kill())
  await child.stop()
  stopKilling()
}
