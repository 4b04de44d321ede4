import { pause } from '../base/index.ts'
import type { CallOutcome, CallRequest } from '../calls/index.ts'
import { wakeWaiting } from '../flows/index.ts'
import { createInbox } from '../inbox/index.ts'
import { writeEntries } from '../ledger/index.ts'
import type { Scheduler } from '../schedules/index.ts'
import { connectionFor } from './calls.ts'
import { newestCheckpoint } from './checkpoints.ts'
import { holdWhereRolledBack, holdWords, startHoldWatch } from './hold.ts'
import { TENANT, type Installation } from './installation.ts'
import { startLedgerDays, startSealer } from './ledgerUpkeep.ts'
import { startServer, type Listening } from './listening.ts'
import { noticesOfRunsInFlight } from './runsInFlight.ts'
import { startSchedules } from './schedules.ts'
import { startWatching } from './watching.ts'
import { startWorker } from './worker.ts'

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
  stops.push(startLedgerDays(installation, onFault))

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
