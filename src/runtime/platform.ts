import { pause } from '../base/index.ts'
import type { CallOutcome, CallRequest } from '../calls/index.ts'
import { wakeWaiting } from '../flows/index.ts'
import type { Dispatch } from '../dispatch/index.ts'
import { createInbox, type Inbox } from '../inbox/index.ts'
import { writeEntries } from '../ledger/index.ts'
import type { Scheduler } from '../schedules/index.ts'
import { connectionFor } from './calls.ts'
import { newestCheckpoint } from './checkpoints.ts'
import { startCredentialUpkeep } from './credentials.ts'
import { holdWhereRolledBack, holdWords, startHoldWatch } from './hold.ts'
import { TENANT, type Installation } from './installation.ts'
import { startLedgerDays, startSealer } from './ledgerUpkeep.ts'
import { startAnnouncingKeys } from './masterKeys.ts'
import { startServer, type Listening } from './listening.ts'
import { noticesOfRunsInFlight } from './runsInFlight.ts'
import { startSchedules } from './schedules.ts'
import { startWatching } from './watching.ts'
import { startWorker, type Worker } from './worker.ts'

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
  /**
   * Milliseconds until a delivery is answered 503 where nothing is known of its commit. Default 500; tests on a machine
   * that stands still now and then give more.
   */
  readonly ackTimeoutMs?: number
  /** Runs executed at once. Default 256. */
  readonly runsAtOnce?: number
  /** Ends this process where a flow has blocked its event loop. Default true; off in tests that share a process. */
  readonly watchdog?: boolean
  /** Tells of a disk under the database that fills up. Default true; off in simulations. */
  readonly looksAtDisk?: boolean
  /** Checks connections that nobody calls over, and those whose credential was refused. Default true; off in simulations. */
  readonly checksConnections?: boolean
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
  const { config, vault } = installation
  await vault.checkMasterKey()
  await vault.syncDeclared(TENANT, config.connections)
  const running: Running = { others: [] }
  let stopped: Promise<void> | undefined
  const stop = (): Promise<void> => (stopped ??= stopParts(running, installation, options))
  try {
    await startParts(running, installation, options, () => stopped !== undefined)
  } catch (error) {
    // A port in use, say: what runs already must not go on behind the error.
    await stop()
    throw error
  }
  const { server, worker } = running
  return { url: server?.url, node: worker?.engine.node, liveLink: server?.liveLink, stop }
}

/** What was started so far. */
interface Running {
  worker?: Worker
  inbox?: Inbox
  schedules?: Scheduler
  server?: Listening
  /** What everything else needs: it is ended last, and in the reverse order. */
  readonly others: (() => unknown)[]
}

/** Starts the parts in the order in which they need each other. */
async function startParts(
  running: Running,
  installation: Installation,
  options: PlatformOptions,
  stopping: () => boolean,
): Promise<void> {
  const { database, clock } = installation
  const onFault = options.onFault ?? (() => {})
  // A promise of a flow's own that nobody awaits must not end the node and every run on it.
  const onRejection = (error: unknown): void => onFault('a promise that nobody awaited', error)
  process.on('unhandledRejection', onRejection)
  running.others.push(() => process.off('unhandledRejection', onRejection))

  await holdWhereRolledBack(installation, await newestCheckpoint(installation.folder))
  const hold = await startHoldWatch({
    client: database.pool,
    clock,
    onFault: (error) => onFault('look for a hold', error),
    onChange: (open) => options.onNotice?.(open ? holdWords(open) : 'The hold was released: runs go on.'),
  })
  running.others.push(() => hold.stop())
  const held = hold.open()
  if (held) options.onNotice?.(holdWords(held))

  running.others.push(await startAnnouncingKeys(installation, onFault))
  const sealer = await startSealer(installation, onFault)
  running.others.push(() => sealer.stop(), startLedgerDays(installation, onFault))

  running.others.push(startCredentialUpkeep(installation, hold.inHold, onFault))

  const watching = await startWatching(installation, hold.inHold, options.looksAtDisk ?? true, onFault)
  running.others.push(() => watching.stop())
  for (const notice of await noticesOfRunsInFlight({ ...installation, client: database.pool }))
    options.onNotice?.(notice)

  const worker = options.roles.includes('worker') ? await startWorker(installation, options, hold) : undefined
  if (worker) running.worker = worker
  const inbox = inboxOf(installation, worker, onFault)
  running.inbox = inbox
  if (worker)
    running.schedules = await startSchedules(installation, {
      node: () => worker.engine.node,
      call: worker.call,
      connectionFor: (tenant, connector, name) => connectionFor(installation, tenant, connector, name),
      acceptWithin: (client, delivery) => inbox.acceptWithin(client, delivery),
      inHold: hold.inHold,
      onFault,
    })
  if (options.roles.some((role) => role !== 'worker'))
    running.server = await startServer(installation, inbox, options, stopping, hold)
}

/** Runs first, while intake still answers; then intake. What cannot be ended keeps nothing else from it. */
async function stopParts(
  { schedules, worker, server, inbox, others }: Running,
  { dispatch, clock }: Installation,
  options: PlatformOptions,
): Promise<void> {
  const end = async (what: string, work: () => unknown): Promise<void> => {
    try {
      await work()
    } catch (error) {
      options.onFault?.(`stop ${what}`, error)
    }
  }
  const lingered =
    server && options.lingerMs ? pause(clock, options.lingerMs, { keepAlive: true }) : undefined
  await end('the schedules', () => schedules?.stop())
  await end('the worker', () => worker?.stop())
  await lingered
  await end('the server', () => server?.close())
  await end('the inbox', () => inbox?.drain())
  for (const other of others.toReversed()) await end('the upkeep', other)
  if (!worker) await end('the wake-ups', () => dispatch.stop())
}

/** The door for work. Whoever waits for an event is woken here, or by the worker of this process. */
function inboxOf(
  { database, clock, flows, dispatch }: Installation,
  worker: Worker | undefined,
  onFault: (what: string, error: unknown) => void,
): Inbox {
  const wake: Dispatch['wake'] = (client, runs) => dispatch.wake(client, runs)
  return createInbox({
    database,
    clock,
    flows,
    writeEntries,
    wake,
    onEvents: (events) =>
      worker
        ? worker.engine.arrived(events)
        : void wakeWaiting(events, { database, wake }).catch(
            // Committed it is, and workers look for what was missed.
            (error: unknown) => onFault('wake waiting runs', error),
          ),
  })
}
