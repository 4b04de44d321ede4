import { durationWords, pause, SECOND, type Clock } from '../../base/index.ts'
import type { AnyFlow } from '../../define/index.ts'
import { createPlatform, type Platform, type Role } from '../../runtime/index.ts'
import { EXIT, type ExitCode } from '../exitCodes.ts'
import { openSession, type Session } from '../session.ts'
import { version } from '../version.ts'
import { createFaultLog } from './faults.ts'

/** What a server that listens says of itself; sent to the supervisor of `trestle dev`. */
export interface Ready {
  readonly as: 'ready'
  readonly url: string | undefined
  /** Opens the live page once. */
  readonly live: string | undefined
  readonly node: string | undefined
  readonly roles: readonly Role[]
  readonly flows: readonly {
    readonly name: string
    readonly on: string
    readonly summary: string | undefined
  }[]
  readonly connections: readonly {
    readonly name: string
    readonly connector: string
    readonly state: string
    /** Where the provider sends its webhooks. */
    readonly webhooks: string | undefined
  }[]
}

export interface ServeOptions {
  readonly folder: string
  readonly config: string | undefined
  readonly roles: readonly Role[]
  readonly port: number
  readonly host: string
  /** Milliseconds for which webhooks are still taken after the stop was asked for. Default 0. */
  readonly lingerMs?: number
  readonly clock: Clock
  /** Said on stderr. */
  readonly say: (line: string) => void
  /** What the database says of its own start and end. Default: `say`. */
  readonly onDatabaseNotice?: (line: string) => void
  readonly onReady: (ready: Ready) => void
  /** Resolves when the server is to stop. */
  readonly stopped: Promise<unknown>
}

const STOP_LIMIT_MS = 45 * SECOND
/** Enough for 256 runs at once, since the hot writers share their commits. */
const CONNECTIONS = 20

/** Serves until it is told to stop; then stops in order: runs are handed back within 10 s, and an attempt that would be in doubt may end within 45 s. */
export async function serve(options: ServeOptions): Promise<ExitCode> {
  const { clock, say } = options
  const onFault = createFaultLog(say, clock)
  const session = await openSession({
    folder: options.folder,
    config: options.config,
    connections: CONNECTIONS,
    onNotice: options.onDatabaseNotice ?? say,
    onFault,
  })
  let platform: Platform
  try {
    session.database.embedded?.watch({
      onDown: () => say('PostgreSQL is gone; it is being brought back.'),
      onUp: () => say('PostgreSQL is back.'),
    })
    platform = await createPlatform(session.installation, {
      roles: options.roles,
      port: options.port,
      host: options.host,
      lingerMs: options.lingerMs ?? 0,
      version: version(),
      onFault,
      onNotice: say,
    })
  } catch (error) {
    await session.close()
    throw error
  }
  options.onReady(await readyOf(session, platform, options.roles))
  await options.stopped
  return stopWithin(session, platform, { clock, say, limitMs: STOP_LIMIT_MS + (options.lingerMs ?? 0) })
}

async function stopWithin(
  session: Session,
  platform: Platform,
  {
    clock,
    say,
    limitMs,
  }: { readonly clock: Clock; readonly say: (line: string) => void; readonly limitMs: number },
): Promise<ExitCode> {
  const stopping = platform.stop().then(() => session.close())
  const outcome = await Promise.race([
    stopping.then(() => 'stopped' as const),
    pause(clock, limitMs, { keepAlive: true }).then(() => 'late' as const),
  ])
  if (outcome === 'stopped') return EXIT.ok
  say(
    `It did not stop within ${durationWords(limitMs)} and is ended now. Nothing is lost: what was under way goes on at the next start.`,
  )
  return EXIT.failed
}

/** What a flow starts on, as an operator reads it. */
function startWords(on: AnyFlow['on']): string {
  switch (on.kind) {
    case 'event':
      return `${on.connector} ${on.type}`
    case 'cron':
      return `${on.expression} ${on.zone}`
    case 'poll':
      return `poll of ${on.connector} every ${durationWords(on.everyMs)}`
  }
}

async function readyOf(session: Session, platform: Platform, roles: readonly Role[]): Promise<Ready> {
  const { config, vault } = session.installation
  const connections = await vault.listConnections('default')
  const base = config.publicUrl ?? platform.url
  return {
    as: 'ready',
    url: platform.url,
    live: platform.liveLink?.(),
    node: platform.node,
    roles,
    flows: config.flows.map((flow) => ({
      name: flow.name,
      on: startWords(flow.on),
      summary: flow.summary,
    })),
    connections: connections
      .filter((one) => one.state !== 'revoked')
      .map((one) => ({
        name: one.name,
        connector: one.connector,
        state: one.state,
        webhooks: one.endpoint && base !== undefined ? `${base}/webhooks/${one.endpoint.path}` : undefined,
      })),
  }
}
