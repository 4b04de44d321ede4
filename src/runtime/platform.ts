import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { MINUTE, NotFoundError, pause, RetryableError, SECOND, UsageError } from '../base/index.ts'
import {
  createCalls,
  forgetSpending,
  startSharedBudgets,
  type Budgets,
  OutageBoard,
  OutageKeeper,
  type CallConnection,
  type CallOutcome,
  type CallRequest,
  type Calls,
} from '../calls/index.ts'
import type { AnyConnector } from '../define/index.ts'
import { openDatabase, transaction } from '../db/index.ts'
import { Engine, wakeWaiting } from '../flows/index.ts'
import { createInbox, type Inbox } from '../inbox/index.ts'
import {
  dropExpired,
  ensurePartitions,
  LedgerSealer,
  openLedgerKey,
  writeEntries,
  type Checkpoint,
} from '../ledger/index.ts'
import type { Scheduler } from '../schedules/index.ts'
import { BREAKER_POLICY } from '../resilience/index.ts'
import { createApi, createProbes } from '../server/index.ts'
import { createRejectionCounter, createWebhookIntake, type RejectionCounter } from '../webhooks/index.ts'
import { createEndpointTable } from './endpoints.ts'
import { TENANT, type Installation } from './installation.ts'
import { appendCheckpoint, newestCheckpoint } from './checkpoints.ts'
import {
  deferredByHold,
  holdWhereRolledBack,
  holdWords,
  refuseInHold,
  startHoldWatch,
  type HoldWatch,
} from './hold.ts'
import { noticesOfRunsInFlight } from './runsInFlight.ts'
import { startSchedules } from './schedules.ts'
import { startWatchdog, type Watchdog } from './watchdog.ts'
import { startWatching } from './watching.ts'

/** What one process does: takes webhooks, executes runs, answers the API. */
export const ROLES = ['intake', 'worker', 'api'] as const
export type Role = (typeof ROLES)[number]

export interface PlatformOptions {
  readonly roles: readonly Role[]
  /** Port to listen on; 0 for any. Default 3000. */
  readonly port?: number
  /** Address to listen on. Default 127.0.0.1. */
  readonly host?: string
  readonly version: string
  /**
   * Milliseconds for which intake and API go on after {@link Platform.stop} was called, while `/ready` says 503 and
   * every answer closes its connection: the time in which a load balancer looks away. Default 0.
   */
  readonly lingerMs?: number
  /** Runs executed at once. Default 256. */
  readonly runsAtOnce?: number
  /** Ends this process where a flow has blocked its event loop. Default true; off in tests that share a process. */
  readonly watchdog?: boolean
  /** For simulations on a clock of their own: how long a heartbeat lets a node send. See `EngineOptions.leaseMs`. */
  readonly leaseMs?: number
  /** For simulations: every call of a run goes through it. Default: it is made. */
  readonly aroundCall?: (request: CallRequest, call: () => Promise<CallOutcome>) => Promise<CallOutcome>
  readonly onFault?: (what: string, error: unknown) => void
  readonly onNotice?: (line: string) => void
}

export interface Platform {
  /** Where it listens, such as `http://127.0.0.1:3000`; `undefined` for a worker alone. */
  readonly url: string | undefined
  readonly node: string | undefined
  /** A link to the live page that works once, within 10 minutes; `undefined` where the API is not among the roles. */
  readonly liveLink: (() => string) | undefined
  /** Stops in order: no new runs, runs handed back, intake last. Safe to call twice. */
  stop(): Promise<void>
}

const PARTITIONS_EVERY_MS = 60 * MINUTE
const CLOSE_LIMIT_MS = 5 * SECOND
/** What people list must not take the connections that deliveries and runs need. Opened when first used. */
const API_CONNECTIONS = 5
/** As long as the API waits for an answer itself. */
const API_STATEMENT_LIMIT_MS = 10 * SECOND

/** Applies the configuration, builds the parts for the roles, and starts them. */
export async function createPlatform(
  installation: Installation,
  options: PlatformOptions,
): Promise<Platform> {
  const { config, database, vault, flows, dispatch, clock } = installation
  const onFault = options.onFault ?? (() => {})
  await vault.checkMasterKey()
  await vault.syncDeclared(TENANT, config.connections)
  const stops: (() => Promise<unknown>)[] = []
  // A promise of a flow's own that nobody awaits must not end the node and every run on it.
  const onRejection = (error: unknown): void => onFault('a promise that nobody awaited', error)
  process.on('unhandledRejection', onRejection)
  stops.push(() => Promise.resolve(process.off('unhandledRejection', onRejection)))

  await holdWhereRolledBack(installation, await newestCheckpoint(installation.folder))
  const hold = await startHoldWatch({
    client: database.pool,
    clock,
    onFault: (error) => onFault('look for a hold', error),
    onChange: (open) => options.onNotice?.(open ? holdWords(open) : 'The hold was released: runs go on.'),
  })
  stops.push(() => Promise.resolve(hold.stop()))
  const held = hold.open()
  if (held) options.onNotice?.(holdWords(held))

  const sealer = await startSealer(installation, onFault)
  stops.push(() => sealer.stop())
  stops.push(
    repeat(
      installation,
      PARTITIONS_EVERY_MS,
      () => keepLedgerDays(installation),
      (error) => onFault('ledger partitions', error),
    ),
  )

  const watching = await startWatching(installation, hold.inHold, onFault)
  stops.push(() => watching.stop())
  for (const notice of await noticesOfRunsInFlight({ ...installation, client: database.pool }))
    options.onNotice?.(notice)
  const worker = options.roles.includes('worker') ? await startWorker(installation, options, hold) : undefined
  const inbox = createInbox({
    database,
    clock,
    flows,
    writeEntries,
    wake: (client, runs) => dispatch.wake(client, runs),
    onEvents: (events) =>
      worker
        ? worker.engine.arrived(events)
        : void wakeWaiting(events, { database, wake: (client, runs) => dispatch.wake(client, runs) }).catch(
            // Committed it is, and workers look for what was missed.
            (error: unknown) => onFault('wake waiting runs', error),
          ),
  })
  let stopped: Promise<void> | undefined
  let server: Listening | undefined
  let schedules: Scheduler | undefined
  const stop = async (): Promise<void> => {
    // Runs first, while intake still answers; then intake, which waits for what it has begun to commit.
    const lingered =
      server && options.lingerMs ? pause(clock, options.lingerMs, { keepAlive: true }) : undefined
    await schedules?.stop()
    await worker?.engine.stop()
    await worker?.stopWatching()
    await worker?.watchdog?.stop()
    await lingered
    await server?.close()
    await inbox.drain()
    for (const end of stops.reverse()) await end().catch((error: unknown) => onFault('stop', error))
    if (!worker) await dispatch.stop()
  }
  try {
    if (worker)
      schedules = await startSchedules(installation, {
        node: () => worker.engine.node,
        call: worker.call,
        connectionFor: (tenant, connector, name) => connectionFor(installation, tenant, connector, name),
        acceptWithin: (client, delivery) => inbox.acceptWithin(client, delivery),
        inHold: hold.inHold,
        onFault,
      })
    if (options.roles.some((role) => role !== 'worker'))
      server = await startServer(installation, inbox, options, () => stopped !== undefined, hold)
  } catch (error) {
    // A port in use, say: what runs already must not go on behind the error.
    await stop()
    throw error
  }
  return {
    url: server?.url,
    node: worker?.engine.node,
    liveLink: server?.liveLink,
    stop: () => (stopped ??= stop()),
  }
}

/** Makes the days to come, and drops those that are kept no longer. What is busy now is dropped an hour later. */
async function keepLedgerDays({ database, clock }: Installation): Promise<void> {
  await ensurePartitions(database.pool, clock.now())
  await forgetSpending(database.pool)
  while ((await transaction(database.pool, (client) => dropExpired(client, clock.now()))).more) {
    // One day at a time, so that writers wait for none of it.
  }
}

async function startSealer(
  { database, vault, clock, random, folder }: Installation,
  onFault: (what: string, error: unknown) => void,
): Promise<LedgerSealer> {
  const key = await openLedgerKey(database.pool, vault.installationSeal('ledger-key'), random)
  const known = await newestCheckpoint(folder)
  const sealer = new LedgerSealer({
    pool: database.pool,
    key,
    clock,
    publish: (checkpoint: Checkpoint) => appendCheckpoint(folder, checkpoint),
    ...(known && { known }),
    onError: (error) => onFault('seal the ledger', error),
  })
  sealer.start()
  return sealer
}

interface Worker {
  readonly engine: Engine
  /** A call as runs make it: held back where the platform is in hold. */
  readonly call: (request: CallRequest) => Promise<CallOutcome>
  readonly watchdog: Watchdog | undefined
  /** No further probes; what other nodes do is heard no longer. */
  readonly stopWatching: () => Promise<void>
}

async function startWorker(
  installation: Installation,
  options: PlatformOptions,
  hold: HoldWatch,
): Promise<Worker> {
  const { database, clock, random, dispatch, flows, connectorNamed } = installation
  const onFault = options.onFault ?? (() => {})
  const shared = startSharedBudgets({
    clock,
    random,
    databaseUrl: database.url,
    onFault: (error) => onFault('budgets', error),
  })
  const { board, calls, keeper } = await watchOutages(installation, hold, shared.budgets, onFault)
  const watchdog = options.watchdog === false ? undefined : startWatchdog(database.url)
  const made = (request: CallRequest): Promise<CallOutcome> =>
    hold.inHold() ? Promise.resolve(deferredByHold(clock.now())) : calls.call(request)
  const { aroundCall } = options
  const call = aroundCall
    ? (request: CallRequest): Promise<CallOutcome> => aroundCall(request, () => made(request))
    : made
  const engine = new Engine({
    database,
    clock,
    random,
    dispatch,
    flows,
    connectorNamed,
    writeEntries,
    version: options.version,
    roles: options.roles,
    call,
    breakers: () => board.all(),
    inHold: hold.inHold,
    lostTimes: hold.lostTimes,
    connectionFor: (tenant, connector, name) => connectionFor(installation, tenant, connector, name),
    ...(options.runsAtOnce === undefined ? {} : { runsAtOnce: options.runsAtOnce }),
    ...(options.leaseMs === undefined ? {} : { leaseMs: options.leaseMs }),
    ...(watchdog && { entering: (run: string) => watchdog.entering(run) }),
    onFault,
  })
  await engine.start()
  keeper.start()
  const stopWatching = async (): Promise<void> => {
    await keeper.stop()
    await board.stop()
    await shared.stop()
  }
  return { engine, call, watchdog, stopWatching }
}

/** Breakers that this node shares with all others, the calls that ask them, and the probing of providers. */
async function watchOutages(
  installation: Installation,
  hold: HoldWatch,
  budgets: Budgets,
  onFault: (what: string, error: unknown) => void,
): Promise<{ readonly board: OutageBoard; readonly calls: Calls; readonly keeper: OutageKeeper }> {
  const { database, clock } = installation
  const shared = { database, clock, writeEntries, policy: BREAKER_POLICY, onFault }
  const board = new OutageBoard(shared)
  await board.start()
  const calls = callsOf(installation, board, budgets)
  const keeper = new OutageKeeper({
    ...shared,
    board,
    connectionById: (tenant, id) => connectionById(installation, tenant, id),
    probe: (connection) =>
      hold.inHold()
        ? Promise.resolve({ outcome: deferredByHold(clock.now()), slow: false })
        : calls.probe(connection),
  })
  return { board, calls, keeper }
}

async function connectionById(
  { vault, connectorNamed }: Installation,
  tenant: string,
  id: string,
): Promise<CallConnection | undefined> {
  const found = await vault.loadConnectionById(tenant, id).catch((error: unknown) => {
    if (error instanceof NotFoundError) return undefined
    throw error
  })
  const connector = found && connectorNamed(found.connector)
  return connector && { ...found, connector, allowPrivate: found.allowPrivateNetwork }
}

/** Calls of this process over the installation's connections. */
export function callsOf(
  { clock, egress, vault }: Installation,
  board?: OutageBoard,
  budgets?: Budgets,
): Calls {
  return createCalls({
    clock,
    ...(board && { board }),
    ...(budgets && { budgets }),
    send: (request) => egress.send(request),
    authorize: async (connection, request, context) =>
      vault.authorize(await vault.loadConnectionById(connection.tenant, connection.id), request, context),
    refreshAfterUnauthorized: async (connection, version) =>
      vault.refreshAfterUnauthorized(
        await vault.loadConnectionById(connection.tenant, connection.id),
        version,
      ),
    secretValuesOf: (connection) => vault.secretValuesOf(connection),
  })
}

/** Makes the connector's check, a cheap read, over a connection. Throws `not_found`. */
export async function testConnection(
  installation: Installation,
  tenant: string,
  name: string,
): Promise<CallOutcome> {
  await refuseInHold(installation.database.pool)
  const found = await installation.vault.loadConnection(tenant, name)
  const connector = installation.connectorNamed(found.connector)
  if (!connector)
    throw new UsageError(
      'connector_missing',
      `The connector "${found.connector}" is not in the configuration. Add a connection of it to trestle.config.ts.`,
    )
  return callsOf(installation).testConnection({
    ...found,
    connector,
    allowPrivate: found.allowPrivateNetwork,
  })
}

/** The tenant's connection of a connector: the one named, else the only one there is. */
async function connectionFor(
  installation: Installation,
  tenant: string,
  connector: AnyConnector,
  name: string | undefined,
): Promise<CallConnection> {
  const {
    id,
    name: found,
    baseUrl,
    settings,
    allowPrivateNetwork,
  } = await installation.vault.loadConnection(
    tenant,
    name ?? (await onlyConnection(installation, tenant, connector)),
  )
  return { id, name: found, tenant, connector, baseUrl, settings, allowPrivate: allowPrivateNetwork }
}

/** Declared ones come first: they are known without asking the database, on the path of every call. */
async function onlyConnection(
  { config, vault }: Installation,
  tenant: string,
  connector: AnyConnector,
): Promise<string> {
  const declared = Object.entries(config.connections)
    .filter(([, connection]) => connection.connector.name === connector.name)
    .map(([name]) => name)
  const names =
    declared.length > 0
      ? declared
      : (await vault.listConnections(tenant))
          .filter((connection) => connection.connector === connector.name && connection.state !== 'revoked')
          .map((connection) => connection.name)
  if (names.length === 1) return names[0]!
  throw new UsageError(
    'connection_ambiguous',
    names.length === 0
      ? `There is no connection of ${connector.title}. Add one to trestle.config.ts, or with: trestle connections add ${connector.name} --connector ${connector.name}`
      : `There are ${names.length} connections of ${connector.title}: ${names.join(', ')}. Say which: use(${connector.name}, '${names[0]}').`,
  )
}

interface Listening {
  readonly url: string
  readonly liveLink: (() => string) | undefined
  close(): Promise<void>
}

async function startServer(
  installation: Installation,
  inbox: Inbox,
  options: PlatformOptions,
  stopping: () => boolean,
  hold: HoldWatch,
): Promise<Listening> {
  const { database, clock, config } = installation
  const onFault = options.onFault ?? (() => {})
  const rejections = createRejectionCounter({
    clock,
    query: (statement, values) => database.pool.query(statement, values),
    onFault: (error) => onFault('count rejections', error),
  })
  let url = ''
  const endpoints = createEndpointTable(installation, TENANT, () => config.publicUrl ?? url)
  const intake = createWebhookIntake({
    clock,
    endpoints,
    accept: (delivery) => inbox.accept(delivery),
    reject: (rejection) => {
      rejections.count(rejection)
      if (rejection.cause !== undefined) onFault('accept a delivery', rejection.cause)
    },
  })
  const reading = openDatabase({
    url: database.url,
    max: API_CONNECTIONS,
    name: 'trestle api',
    statementTimeoutMs: API_STATEMENT_LIMIT_MS,
  })
  const api = options.roles.includes('api')
    ? createApi({
        ...installation,
        database: reading,
        tenant: TENANT,
        inbox,
        publicUrl: () => config.publicUrl ?? url,
        testConnection: (tenant, name) => testConnection(installation, tenant, name),
        openHold: hold.open,
        stopping,
        onFault,
      })
    : undefined
  const probes = createProbes({ database: reading.pool, clock, stopping, openHold: hold.open })
  const server = createServer((request, response) => {
    // Whoever sends the next request finds another node.
    if (stopping()) response.shouldKeepAlive = false
    if (request.url?.startsWith('/webhooks/') && options.roles.includes('intake'))
      void intake(request, response)
    else if (api) api.handle(request, response)
    else if (probes(request, response)) return
    else answerPlain(response, 404, 'Not found')
  })
  server.keepAliveTimeout = 65 * SECOND
  server.headersTimeout = 20 * SECOND
  server.requestTimeout = 30 * SECOND
  url = await listen(server, options.port ?? 3000, options.host ?? '127.0.0.1')
  return {
    url,
    liveLink: api && (() => `${url}/live/enter?code=${api.liveAccess.issue()}`),
    async close() {
      await closeServer(server, rejections, installation, api)
      await reading.close()
    },
  }
}

async function closeServer(
  server: Server,
  rejections: RejectionCounter,
  { clock }: Installation,
  api: { close(): Promise<void> } | undefined,
): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    server.close(() => resolve())
  })
  await api?.close()
  server.closeIdleConnections()
  await Promise.race([
    closed,
    pause(clock, CLOSE_LIMIT_MS, { keepAlive: true }).then(() => server.closeAllConnections()),
  ])
  await closed
  await rejections.stop()
}

function listen(server: Server, port: number, host: string): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        error.code === 'EADDRINUSE'
          ? new RetryableError(
              'port_in_use',
              `Port ${port} is in use. Stop what listens there, or choose another with --port.`,
              { cause: error },
            )
          : error,
      )
    })
    server.listen(port, host, () =>
      resolve(`http://${host.includes(':') ? `[${host}]` : host}:${(server.address() as AddressInfo).port}`),
    )
  })
}

function answerPlain(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain' }).end(text)
}

/** Does something every now and then until stopped. */
function repeat(
  { clock }: Installation,
  everyMs: number,
  work: () => Promise<unknown>,
  onError: (error: unknown) => void,
): () => Promise<void> {
  let stopped = false
  let cancel: () => void = () => {}
  const schedule = (): void => {
    cancel = clock.after(everyMs, () => {
      work()
        .catch(onError)
        .finally(() => {
          if (!stopped) schedule()
        })
    })
  }
  schedule()
  return () => {
    stopped = true
    cancel()
    return Promise.resolve()
  }
}
