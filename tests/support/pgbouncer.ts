import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** PgBouncer in transaction mode in front of a PostgreSQL, as Debian ships it. */
export interface PgBouncer {
  /** The address of a database through the pooler; `told`: with the parameter that tells Trestle of it. */
  through(databaseUrl: string, told?: boolean): string
  /** What it wrote to its log. */
  said(): string
  stop(): Promise<void>
}

export interface PgBouncerOptions {
  /** Any address of the server. */
  readonly serverUrl: string
  /** Connections to the server for each database: fewer than the clients have, so that they are shared. */
  readonly poolSize: number
  /** Lines of its configuration beyond what it needs. */
  readonly settings?: Readonly<Record<string, string>>
}

const PROGRAMS = ['pgbouncer', '/usr/sbin/pgbouncer']

/** Why it cannot be tried here, and what to do; `undefined` where it can. */
export function whyNoPgBouncer(): string | undefined {
  return findProgram() === undefined ? 'PgBouncer is missing: apt-get install pgbouncer' : undefined
}

function findProgram(): string | undefined {
  return PROGRAMS.find((program) => spawnSync(program, ['--version']).status === 0)
}

export async function startPgBouncer(options: PgBouncerOptions): Promise<PgBouncer> {
  const folder = await mkdtemp(join(tmpdir(), 'trestle-pgbouncer-'))
  // It drops root's rights before it reads its files.
  await chmod(folder, 0o755)
  const server = new URL(options.serverUrl)
  const port = await freePort()
  const users = join(folder, 'users.txt')
  await writeFile(users, `"${server.username}" "${decodeURIComponent(server.password)}"\n`, { mode: 0o644 })
  const settings: Readonly<Record<string, string | number>> = {
    listen_addr: '127.0.0.1',
    listen_port: port,
    unix_socket_dir: '',
    auth_type: 'trust',
    auth_file: users,
    pool_mode: 'transaction',
    default_pool_size: options.poolSize,
    max_client_conn: 500,
    ...options.settings,
  }
  const file = join(folder, 'pgbouncer.ini')
  await writeFile(
    file,
    `[databases]\n* = host=${server.hostname} port=${server.port}\n[pgbouncer]\n${Object.entries(settings)
      .map(([name, value]) => `${name} = ${value}\n`)
      .join('')}`,
    { mode: 0o644 },
  )
  const asUser = process.getuid?.() === 0 ? ['-u', 'nobody'] : []
  const child = spawn(findProgram()!, [...asUser, file], { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  const ended = once(child, 'exit')
  await new Promise<void>((resolve, reject) => {
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text
      if (said.includes('process up')) resolve()
    })
    void ended.then(() => reject(new Error(`PgBouncer did not start: ${said}`)))
  })
  return {
    through(databaseUrl, told = true) {
      const url = new URL(databaseUrl)
      url.hostname = '127.0.0.1'
      url.port = String(port)
      if (told) url.searchParams.set('pgbouncer', 'true')
      return url.href
    },
    said: () => said,
    async stop() {
      child.kill('SIGTERM')
      await ended
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}
