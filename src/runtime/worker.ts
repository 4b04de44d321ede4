import {
  OutageBoard,
  OutageKeeper,
  startSharedBudgets,
  type Budgets,
  type CallOutcome,
  type CallRequest,
  type Calls,
} from '../calls/index.ts'
import { bringForward, Engine } from '../flows/index.ts'
import { writeEntries } from '../ledger/index.ts'
import { BREAKER_POLICY } from '../resilience/index.ts'
import { callsOf, connectionById, connectionFor } from './calls.ts'
import { startConnectionChecks } from './connectionChecks.ts'
import { deferredByHold, type HoldWatch } from './hold.ts'
import type { Installation } from './installation.ts'
import type { PlatformOptions } from './platform.ts'
import { startWatchdog } from './watchdog.ts'

/** What executes runs on this node. */
export interface Worker {
  readonly engine: Engine
  /** A call as runs make it: held back where the platform is in hold. */
  readonly call: (request: CallRequest) => Promise<CallOutcome>
  /** Runs are handed back, then probes and the hearing of other nodes end. What cannot be ended keeps nothing else from it. */
  stop(): Promise<void>
}

/** Starts the engine with what its calls go by: budgets and breakers that all nodes share. */
export async function startWorker(
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
    bringForward: async (client, calls) => void (await bringForward(client, calls, clock.now())),
    onFault: (error) => onFault('budgets', error),
  })
  const { board, calls, keeper } = watchOutages(installation, hold, shared.budgets, onFault)
  let stopChecks: (() => Promise<void>) | undefined
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
  const checks = { stop: async () => stopChecks?.() }
  const stop = async (): Promise<void> => {
    for (const part of [checks, engine, keeper, board, shared, watchdog])
      await part?.stop().catch((error: unknown) => onFault('stop a part of the worker', error))
  }
  try {
    await board.start()
    await engine.start()
    keeper.start()
    if (options.checksConnections !== false)
      stopChecks = startConnectionChecks(installation, {
        board,
        budgets: shared.budgets,
        inHold: hold.inHold,
        onFault,
      })
  } catch (error) {
    await stop()
    throw error
  }
  return { engine, call, stop }
}

/** Breakers that this node shares with all others, the calls that ask them, and the probing of providers. */
function watchOutages(
  installation: Installation,
  hold: HoldWatch,
  budgets: Budgets,
  onFault: (what: string, error: unknown) => void,
): { readonly board: OutageBoard; readonly calls: Calls; readonly keeper: OutageKeeper } {
  const { database, clock } = installation
  const shared = { database, clock, writeEntries, policy: BREAKER_POLICY, onFault }
  const board = new OutageBoard(shared)
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
