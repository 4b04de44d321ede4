import { chown, rename, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { Client } from 'pg'
import { type Clock, MINUTE, pause, PermanentError, reasonOf, SECOND } from '../../base/index.ts'
import type { Account } from './account.ts'
import { nameOfCwd, runToLog, type Binaries } from './command.ts'
import { configuration, portsToTry } from './configuration.ts'
import { logLength, logSince, rememberedPort, rememberPort, trimLog, type Folder } from './folder.ts'
import { USER } from './initialize.ts'
import { disarmPidfile, findPostmaster, isPostmasterOf, type Pidfile } from './postmaster.ts'
import { serverProcessesOf } from './processes.ts'

/** What is needed to start, find and stop the server of one data folder. */
export interface Server {
  readonly folder: Folder
  readonly account: Account | undefined
  readonly binaries: Binaries
  /** Tells it from other servers; see {@link markerOf}. */
  readonly marker: string
  readonly password: string
  readonly settings: Readonly<Record<string, string>>
  readonly clock: Clock
  readonly notice: (line: string) => void
}

/** A server that has answered. */
export interface Running {
  readonly pid: number
  readonly port: number
}

/** How long a server may take to recover after a crash, and how long the rest of a killed one may linger. */
const START_LIMIT_MS = 5 * MINUTE
const LEFTOVER_LIMIT_MS = MINUTE
/** How long they may take to notice by themselves that their postmaster is gone. */
const LEFTOVER_PATIENCE_MS = SECOND
const LOOK_AGAIN_MS = 100
/** How long a server may take to let us in before it counts as silent. */
const ANSWER_MS = 5 * SECOND
/** The same once it has answered: then the machine may stand still for a while. */
const PATIENCE_MS = MINUTE
/** A server that says it is ready and answers nothing this many times in a row hangs. */
const SILENCES = 3

/**
 * Gives the server of the data folder, taking over one that runs and else starting one. With `fixedPort` it is on
 * that port or the start fails. Two processes at once: PostgreSQL lets one start, and the other takes that one over.
 */
export async function bringUp(server: Server, fixedPort: number | undefined): Promise<Running> {
  const { folder, marker, clock } = server
  const began = clock.monotonic()
  const takenPorts = new Set<number>()
  let startedByUs = false
  while (clock.monotonic() - began < START_LIMIT_MS) {
    const found = await findPostmaster(folder, marker)
    if (found.state === 'alive') {
      const running = await takeOver(server, found)
      if (running === undefined) continue
      requirePort(server, running, fixedPort)
      if (!startedByUs) server.notice(`Using the PostgreSQL that already runs with pid ${running.pid}.`)
      return running
    }
    if (found.state === 'misleading') await disarmPidfile(folder)
    const port = fixedPort ?? (await pickPort(folder, takenPorts))
    const launched = await launch(server, port)
    startedByUs = launched.outcome === 'started'
    if (startedByUs) await rememberPort(folder, port)
    else if (launched.outcome === 'port_taken' && fixedPort === undefined) takenPorts.add(port)
    else if (launched.outcome === 'leftovers' && clock.monotonic() - began < LEFTOVER_LIMIT_MS) {
      if (clock.monotonic() - began > LEFTOVER_PATIENCE_MS) await endLeftovers(server)
      await pause(clock, LOOK_AGAIN_MS, { keepAlive: true })
    } else if (launched.outcome !== 'already_running') throw startFailed(server, port, launched)
  }
  throw new PermanentError(
    'embedded_postgres_start_failed',
    `The embedded PostgreSQL in ${folder.home} was not ready within 5 minutes. See ${folder.log}.`,
  )
}

/**
 * Ends what is left of a server whose postmaster was killed. Its processes end by themselves when they notice, but
 * one that waits for a lock of a process that was killed with the postmaster never does. Nothing committed is lost:
 * the next postmaster recovers from the log.
 */
async function endLeftovers({ marker, notice }: Server): Promise<void> {
  for (const pid of await serverProcessesOf(marker)) {
    notice(`Ending process ${pid}, which is left of a PostgreSQL that was killed.`)
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It has ended meanwhile.
    }
  }
}

// --- taking over -----------------------------------------------------------------------------------------

/** Waits until a living server answers. Undefined if it ends instead, or had to be ended because it hangs. */
async function takeOver(server: Server, first: Pidfile): Promise<Running | undefined> {
  const { folder, marker, clock } = server
  const began = clock.monotonic()
  let silences = 0
  while (clock.monotonic() - began < START_LIMIT_MS) {
    const found = await findPostmaster(folder, marker)
    if (found.state !== 'alive' || found.pid !== first.pid) return undefined
    const answer = found.status === 'ready' ? await ask(server, found.port) : 'not_yet'
    if (answer === 'answered') return { pid: found.pid, port: found.port }
    silences = answer === 'silent' ? silences + 1 : 0
    if (silences === SILENCES) {
      server.notice(`The PostgreSQL with pid ${found.pid} does not answer; it is ended and started again.`)
      await end(server, ['immediate'])
      return undefined
    }
    await pause(clock, LOOK_AGAIN_MS, { keepAlive: true })
  }
  return undefined
}

/** Whether the server lets us in. Throws where it never will. */
async function ask(server: Server, port: number): Promise<'answered' | 'not_yet' | 'silent'> {
  try {
    await query(server, port, 'postgres', 'select 1')
    return 'answered'
  } catch (error) {
    const code = (error as { code?: unknown }).code
    if (code === '28P01') {
      throw new PermanentError(
        'embedded_postgres_password',
        `The PostgreSQL on port ${port} refuses the password in ${server.folder.password}. If the password of the user ` +
          `"${USER}" was changed, write the new one into that file.`,
        { cause: error },
      )
    }
    // 57P03: it starts up or shuts down. 53300: all connections are in use. Both mean that somebody is there.
    return code === '57P03' || code === '53300' || code === 'ECONNREFUSED' ? 'not_yet' : 'silent'
  }
}

function requirePort(server: Server, running: Running, fixedPort: number | undefined): void {
  if (fixedPort === undefined || fixedPort === running.port) return
  throw new PermanentError(
    'embedded_postgres_port',
    `The embedded PostgreSQL in ${server.folder.home} already runs on port ${running.port}, not ${fixedPort}. ` +
      'Stop the process that uses it, or leave the port out.',
  )
}

// --- starting --------------------------------------------------------------------------------------------

type Outcome = 'started' | 'already_running' | 'leftovers' | 'port_taken' | 'failed'

interface Launched {
  readonly outcome: Outcome
  readonly said: string
}

async function launch(server: Server, port: number): Promise<Launched> {
  const { folder, binaries } = server
  await trimLog(folder)
  await writeConfiguration(server)
  const before = await logLength(folder)
  server.notice(`Starting PostgreSQL ${binaries.version} on port ${port}.`)
  // pg_ctl puts the server into a session of its own, so that Ctrl-C in our terminal does not reach it.
  const code = await pgCtl(server, [
    'start',
    '-w',
    '-t',
    '60',
    '-o',
    `-p ${port} -c cluster_name=${server.marker}`,
  ])
  if (code === 0) return { outcome: 'started', said: '' }
  const said = await logSince(folder, before)
  if ((await findPostmaster(folder, server.marker)).state === 'alive')
    return { outcome: 'already_running', said }
  return { outcome: reasonFor(said), said }
}

/** Why a start failed, from what the server wrote. */
export function reasonFor(said: string): Outcome {
  if (said.includes('lock file "postmaster.pid" already exists')) return 'already_running'
  if (/pre-existing shared memory block .* is still in use/.test(said)) return 'leftovers'
  if (/could not bind .*: (Address already in use|Permission denied)/.test(said)) return 'port_taken'
  return 'failed'
}

async function writeConfiguration({ folder, account, settings }: Server): Promise<void> {
  const path = join(folder.data, 'postgresql.conf')
  const written = `${path}.${process.pid}`
  await writeFile(written, configuration(settings), { mode: 0o600 })
  if (account) await chown(written, account.uid, account.gid)
  await rename(written, path)
}

async function pickPort(folder: Folder, taken: ReadonlySet<number>): Promise<number> {
  for (const port of portsToTry(folder.home, await rememberedPort(folder)))
    if (!taken.has(port) && (await listenOn(port)) !== undefined) return port
  return (await listenOn(0))!
}

/** The port, if something can listen there; 0 asks the system for one. */
function listenOn(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', () => resolve(undefined))
    probe.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      const address = probe.address()
      probe.close(() => resolve(typeof address === 'object' ? address?.port : undefined))
    })
  })
}

function startFailed(server: Server, port: number, { outcome, said }: Launched): PermanentError {
  const { home, log } = server.folder
  const advice: Partial<Record<Outcome, string>> = {
    port_taken: `Port ${port} is in use by another program: stop that, or give another port.`,
    leftovers: `Processes of a server that was killed still work on the data. End them (ps aux | grep ${server.marker}) and start again.`,
  }
  const lines = said.trim().split('\n').slice(-15).join('\n  ')
  return new PermanentError(
    'embedded_postgres_start_failed',
    `The embedded PostgreSQL in ${home} did not start. ${advice[outcome] ?? 'Its last lines below say why.'} ` +
      `The whole log is ${log}. With DATABASE_URL set, Trestle uses another PostgreSQL.\n  ${lines}`,
  )
}

// --- stopping --------------------------------------------------------------------------------------------

/**
 * Ends the server if it runs, and answers whether it did: in order, else abruptly, else by SIGKILL. Nothing that
 * was committed is lost in any case.
 */
export async function end(
  server: Server,
  modes: readonly ('fast' | 'immediate')[] = ['fast', 'immediate'],
): Promise<boolean> {
  const first = await findPostmaster(server.folder, server.marker)
  if (first.state !== 'alive') return false
  const isAlive = (): Promise<boolean> => isPostmasterOf(server.folder, server.marker, first.pid)
  for (const mode of modes)
    if (await isAlive()) await pgCtl(server, ['stop', '-w', '-m', mode, '-t', STOP_SECONDS[mode]])
  if (await isAlive()) process.kill(first.pid, 'SIGKILL')
  while (await isAlive()) await pause(server.clock, LOOK_AGAIN_MS, { keepAlive: true })
  return true
}

const STOP_SECONDS = { fast: '30', immediate: '10' }

function pgCtl({ folder, account, binaries }: Server, args: readonly string[]): Promise<number> {
  const at = nameOfCwd(folder.data, account)
  return runToLog(
    { program: 'pg_ctl', args: [...args, '-s', '-D', at], binaries, account, cwd: folder.data },
    folder.log,
  )
}

// --- asking ----------------------------------------------------------------------------------------------

export function urlOf(server: Server, port: number, database: string): string {
  return `postgres://${USER}:${server.password}@127.0.0.1:${port}/${database}`
}

/** The database that {@link urlOf} names is made once, at the first start. */
export async function ensureDatabase(server: Server, port: number, name: string): Promise<void> {
  const statement = 'select 1 from pg_database where datname = $1'
  const there = await query(server, port, 'postgres', statement, [name], PATIENCE_MS)
  if (there.length > 0) return
  try {
    await query(server, port, 'postgres', `create database ${name}`, [], PATIENCE_MS)
  } catch (error) {
    // Another process made it at the same moment (duplicate_database, or a unique violation in the catalogue).
    if (!['42P04', '23505'].includes(String((error as { code?: unknown }).code))) throw error
  }
}

async function query(
  server: Server,
  port: number,
  database: string,
  statement: string,
  values: unknown[] = [],
  connectMs = ANSWER_MS,
): Promise<unknown[]> {
  const client = new Client({
    connectionString: urlOf(server, port, database),
    connectionTimeoutMillis: connectMs,
    query_timeout: 30_000,
    application_name: 'trestle start',
  })
  // A connection that breaks between two statements is reported by the statement; unheard it would end the process.
  client.on('error', (error) => server.notice(reasonOf(error)))
  try {
    await client.connect()
    return (await client.query(statement, values)).rows
  } finally {
    await client.end().catch(() => undefined)
  }
}
