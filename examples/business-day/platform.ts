import { execFile, fork, type ChildProcess } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import { startEmbeddedPostgres, systemRandom, type Clock, type EmbeddedPostgres } from 'trestle/testing'
import type { WorkFolder } from './workFolder.ts'

/**
 * The platform as an operator would run it on several machines: one database, one node that takes what comes in and
 * answers the API, and two workers, each a process of its own.
 */
export interface Platform {
  readonly url: string
  /** Opens the live page once. */
  readonly live: string | undefined
  /** A token of the API. */
  readonly token: string
  /** Kills a worker, each time the other one, and starts it again. Gives its process id. */
  killWorker(): number
  /** Resolves with the reason if the node that takes what comes in ends by itself. */
  readonly failed: Promise<Error>
  stop(): Promise<void>
}

export interface PlatformParts {
  readonly work: WorkFolder
  readonly clock: Clock
  /** What trestle.config.ts reads. */
  readonly environment: Readonly<Record<string, string>>
  readonly say: (line: string) => void
}

const WORKERS = 2
const DATABASE = 'business_day'
/** A node needs 15 s at most to stop in order. */
const STOP_LIMIT_MS = 20_000
const RESTART_MS = 500

export async function startPlatform(parts: PlatformParts): Promise<Platform> {
  const postgres = await startEmbeddedPostgres({ dataDir: parts.work.postgres, onNotice: parts.say })
  const nodes: Node[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.stop()))
    await postgres.stop()
  }
  try {
    const environment = {
      ...process.env,
      ...parts.environment,
      DATABASE_URL: await freshDatabase(postgres),
      TRESTLE_MASTER_KEY: systemRandom.bytes(32).toString('base64'),
    }
    const front = await startNode(parts, { name: 'front', roles: 'intake,api', environment, restarts: false })
    nodes.push(front)
    const [token, ...workers] = await Promise.all([
      createToken(parts.work, environment),
      ...Array.from({ length: WORKERS }, (_, i) =>
        startNode(parts, { name: `worker-${i + 1}`, roles: 'worker', environment, restarts: true }),
      ),
    ])
    nodes.push(...workers)
    let turn = 0
    return {
      url: front.ready.url ?? '',
      live: front.ready.live,
      token,
      killWorker: () => workers[turn++ % workers.length]!.kill(),
      failed: front.failed,
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

/** An empty database, whatever an earlier day has left; also one that was killed. */
async function freshDatabase(postgres: EmbeddedPostgres): Promise<string> {
  const admin = new pg.Client({ connectionString: postgres.url })
  await admin.connect()
  try {
    await admin.query(`drop database if exists ${DATABASE} with (force)`)
    await admin.query(`create database ${DATABASE}`)
  } finally {
    await admin.end()
  }
  const url = new URL(postgres.url)
  url.pathname = `/${DATABASE}`
  return url.href
}

const cli = ({ root }: WorkFolder): string => join(root, 'dist', 'src', 'cli', 'main.js')
const project = ({ root, project }: WorkFolder): string[] => [
  '--folder',
  project,
  '--config',
  join(root, 'examples', 'business-day', 'trestle.config.ts'),
]

async function createToken(work: WorkFolder, environment: NodeJS.ProcessEnv): Promise<string> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [cli(work), 'tokens', 'create', 'the business', '--role', 'operator', '--quiet', ...project(work)],
    { env: environment },
  )
  return stdout.trim()
}

/** What a node says of itself when it has come up. */
interface Ready {
  readonly url?: string
  readonly live?: string
}

interface Node {
  readonly ready: Ready
  readonly failed: Promise<Error>
  /** SIGKILL. */
  kill(): number
  stop(): Promise<void>
}

interface NodeOptions {
  readonly name: string
  readonly roles: string
  readonly environment: NodeJS.ProcessEnv
  /** Whether it is started again when it ends by itself. */
  readonly restarts: boolean
}

/** `trestle serve` as a child process. It stops by itself when this process is gone, in whatever way. */
async function startNode(parts: PlatformParts, options: NodeOptions): Promise<Node> {
  const { work, clock, say } = parts
  let stopping = false
  let child = spawnNode(work, options)
  let fail: (error: Error) => void = () => {}
  const failed = new Promise<Error>((resolve) => {
    fail = resolve
  })
  const watch = (watched: ChildProcess): void => {
    watched.once('exit', (code, signal) => {
      if (stopping) return
      const how = `${options.name} ended (${signal ?? `code ${code}`})`
      if (!options.restarts) return fail(new Error(`${how}.\n${logTail(work, options)}`))
      say(`${how}; it is started again`)
      clock.after(RESTART_MS, () => {
        if (stopping) return
        child = spawnNode(work, options)
        watch(child)
      })
    })
  }
  const ready = await untilReady(child, work, options)
  watch(child)
  return {
    ready,
    failed,
    kill() {
      child.kill('SIGKILL')
      return child.pid ?? 0
    },
    async stop() {
      stopping = true
      await ended(child, clock)
    },
  }
}

function spawnNode(work: WorkFolder, { name, roles, environment }: NodeOptions): ChildProcess {
  const log = openSync(join(work.logs, `${name}.log`), 'a')
  try {
    return fork(cli(work), ['serve', '--supervised', '--role', roles, '--port', '0', ...project(work)], {
      env: environment,
      execArgv: [],
      stdio: ['ignore', log, log, 'ipc'],
    })
  } finally {
    closeSync(log)
  }
}

function untilReady(child: ChildProcess, work: WorkFolder, options: NodeOptions): Promise<Ready> {
  return new Promise((resolve, reject) => {
    child.once('message', (ready) => resolve(ready as Ready))
    child.once('error', reject)
    child.once('exit', (code) =>
      reject(new Error(`${options.name} did not start (code ${code}).\n${logTail(work, options)}`)),
    )
  })
}

function logTail({ logs }: WorkFolder, { name }: NodeOptions): string {
  return readFileSync(join(logs, `${name}.log`), 'utf8')
    .trimEnd()
    .split('\n')
    .slice(-10)
    .join('\n')
}

function ended(child: ChildProcess, clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve()
    const giveUp = clock.after(STOP_LIMIT_MS, () => child.kill('SIGKILL'), { keepAlive: true })
    child.once('exit', () => {
      giveUp()
      resolve()
    })
    child.kill('SIGTERM')
  })
}
