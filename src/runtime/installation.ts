import { resolve } from 'node:path'
import { durationMs, SECOND, settledWithin, UsageError, type Clock, type Random } from '../base/index.ts'
import { migrate, openDatabase, readBackend, transaction, type Database } from '../db/index.ts'
import type { AnyConnector, Config } from '../define/index.ts'
import { createDispatch, installDispatch, type Dispatch } from '../dispatch/index.ts'
import { createEgress, type Egress, type EgressOptions } from '../egress/index.ts'
import { createFlowTable, type FlowTable } from '../inbox/index.ts'
import { alertConnections } from '../incidents/index.ts'
import { ensurePartitions, writeEntries } from '../ledger/index.ts'
import { createOperator, type Operator } from '../operator/index.ts'
import { withScheduleEvents } from '../schedules/index.ts'
import { recordDenials } from './recordDenials.ts'
import { createVault, readMasterKey, type RefreshTiming, type Vault } from '../vault/index.ts'

export interface InstallationOptions {
  readonly config: Config
  /** The project's folder: `.trestle/` lies in it. */
  readonly folder: string
  readonly databaseUrl: string
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
  readonly random: Random
  /** Makes a master key in `.trestle/` where none is set. */
  readonly development: boolean
  /** Most database connections of this process. Default 10. */
  readonly connections?: number
  /** For simulations: how long the refresh of an OAuth grant may take. */
  readonly refreshTiming?: RefreshTiming
  /** For drills: another resolver, and another network behind the policy. */
  readonly network?: Pick<EgressOptions, 'resolve' | 'connect' | 'dispatcher'>
  readonly onFault?: (what: string, error: unknown) => void
}

/** What every process of an installation needs, whether it serves or runs one command. */
export interface Installation {
  /** As declared, with the connections that alerts go over. */
  readonly config: Config
  readonly folder: string
  readonly database: Database
  readonly dispatch: Dispatch
  readonly egress: Egress
  readonly vault: Vault
  readonly flows: FlowTable
  readonly operator: Operator
  readonly connectorNamed: (name: string) => AnyConnector | undefined
  readonly clock: Clock
  readonly random: Random
  /** Where secrets named by `env('…')` are read from. */
  readonly environment: Readonly<Record<string, string | undefined>>
  close(): Promise<void>
}

export const TENANT = 'default'
/** A little longer than a token endpoint may take. */
const DRAIN_LIMIT_MS = 25 * SECOND

/** Opens the database, brings it up to date, and builds what is shared. The configuration is not applied yet. */
export async function openInstallation(options: InstallationOptions): Promise<Installation> {
  const { folder, environment, clock, random } = options
  const config = withAlertConnections(options.config)
  const onFault = options.onFault ?? (() => {})
  const { key } = await readMasterKey({
    value: environment['TRESTLE_MASTER_KEY'],
    previous: environment['TRESTLE_MASTER_KEY_PREVIOUS'],
    file: resolve(folder, '.trestle', 'master.key'),
    mayGenerate: options.development,
    random,
  })
  const connectors = withScheduleEvents(connectorsOf(config), config.flows)
  const connectorNamed = (name: string): AnyConnector | undefined => connectors.get(name)
  const flows = createFlowTable(config.flows)

  const database = openDatabase({
    url: options.databaseUrl,
    directUrl: environment['TRESTLE_DATABASE_DIRECT_URL'] || undefined,
    backend: readBackend(environment['TRESTLE_DATABASE_BACKEND']),
    max: options.connections ?? 10,
  })
  try {
    await migrate(database)
    await installDispatch(database)
    await ensurePartitions(database.pool, clock.now())
  } catch (error) {
    await database.close()
    throw error
  }
  const dispatch = createDispatch({ database, clock, onFault: (error) => onFault('dispatch', error) })
  const egress = createEgress({
    ...options.network,
    clock,
    onDenied: recordDenials({ database, clock, tenant: TENANT, onFault }),
  })
  const vault = createVault({
    storage: { reader: database.pool, transaction: (work) => transaction(database.pool, work) },
    key,
    clock,
    random,
    environment,
    record: (client, entry) => writeEntries(client, [entry]),
    send: (request) => egress.send(request),
    authOf: (name) => connectorNamed(name)?.auth,
    baseUrlOf: (name) => connectorNamed(name)?.baseUrl,
    idleCheckAfterMs: idleCheckOf(config),
    certificateOf: (url) => egress.certificateOf(url),
    refreshTiming: options.refreshTiming,
  })
  const operator = createOperator({
    database,
    clock,
    flows,
    connectorNamed,
    writeEntries,
    wake: (client, runs) => dispatch.wake(client, runs),
  })
  return {
    config,
    folder,
    database,
    dispatch,
    egress,
    vault,
    flows,
    operator,
    connectorNamed,
    clock,
    random,
    environment,
    async close() {
      // What a token endpoint is answering now may be the only good refresh token: it is waited for.
      await settledWithin(clock, DRAIN_LIMIT_MS, vault.drain())
      await egress.close()
      await database.close()
    },
  }
}

function withAlertConnections(config: Config): Config {
  return { ...config, connections: { ...config.connections, ...alertConnections(config.alerts) } }
}

function connectorsOf(config: Config): ReadonlyMap<string, AnyConnector> {
  const connectors = new Map<string, AnyConnector>()
  for (const [name, { connector }] of Object.entries(config.connections)) {
    const known = connectors.get(connector.name)
    if (known && known !== connector)
      throw new UsageError(
        'config_invalid',
        `The connection "${name}" uses another connector that is also named "${connector.name}". Names of connectors must be unique.`,
      )
    connectors.set(connector.name, connector)
  }
  return connectors
}

/** `undefined`: the default; 0: never. */
function idleCheckOf({ checkIdleConnectionsAfter: after }: Config): number | undefined {
  if (after === undefined) return undefined
  return after === false ? 0 : durationMs(after)
}
