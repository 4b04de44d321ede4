import { execFile, fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { connectToApi, type Api } from '../../examples/business-day/api.ts'
import { openSalon, type Salon } from '../../examples/business-day/happenings.ts'
import { startTwins, type Twins } from '../../examples/business-day/twins.ts'
import { Witness } from '../../examples/business-day/witness.ts'
import { pause, systemClock, systemRandom, type Clock } from '../../src/base/index.ts'
import { stopEmbeddedPostgres } from '../../src/db/index.ts'
import type { NodeOptions, NodeReady } from './node.ts'

/** The salon on a platform that can lose its machine: one process, its embedded PostgreSQL, and the real commands. */
export interface SalonWorld {
  readonly twins: Twins
  readonly salon: Salon
  readonly witness: Witness
  readonly api: Api
  /** The project's folder. */
  readonly folder: string
  /** Where backups may be put. */
  readonly home: string
  /** What the node said at its start. */
  readonly notices: () => readonly string[]
  /** Faults that the node told of. */
  readonly faults: string
  start(): Promise<void>
  /** SIGKILL: the node first, then its PostgreSQL. */
  loseMachine(): Promise<void>
  /** A command of the compiled package, to its end. */
  trestle(
    ...args: readonly string[]
  ): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }>
  /** The clocks of the platform and of the twins go forward. */
  later(ms: number): void
  /** By those clocks. */
  now(): number
  until(isSo: () => boolean | Promise<boolean>, withinMs?: number): Promise<boolean>
  close(): Promise<void>
}

const LOOK_EVERY_MS = 100

/** `home`: of the compiled package. */
export async function openSalonWorld(home: string, seed: string): Promise<SalonWorld> {
  const root = await mkdtemp(join(tmpdir(), 'trestle-backup-drill-'))
  const folder = join(root, 'project')
  await mkdir(folder)
  const faults = join(root, 'faults.log')
  let aheadMs = 0
  const clock: Clock = { ...systemClock, now: () => systemClock.now() + aheadMs }
  const twins = await startTwins(seed, clock)
  const port = await freePort()
  const environment = {
    ...process.env,
    ...twins.environment,
    NO_COLOR: '1',
    TRESTLE_MASTER_KEY: systemRandom.bytes(32).toString('base64'),
    DATABASE_URL: '',
  }
  const witness = new Witness(twins, clock)
  let child: ChildProcess | undefined
  let ready: NodeReady | undefined
  let api: Api | undefined

  async function start(): Promise<void> {
    const options: NodeOptions = { folder, port, aheadMs, faults }
    const forked = fork(join(home, 'dist', 'tests', 'backup', 'node.js'), [JSON.stringify(options)], {
      env: environment,
      execArgv: [],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    let said = ''
    forked.stderr!.on('data', (chunk: Buffer) => (said += chunk))
    child = forked
    ready = await new Promise<NodeReady>((resolve, reject) => {
      forked.once('message', (told) => resolve(told as NodeReady))
      forked.once('exit', (code) => reject(new Error(`The node did not start (${code}): ${said}`)))
    })
    if (api) return
    const { stdout } = await trestle('tokens', 'create', 'drill', '--role', 'operator', '--quiet')
    api = connectToApi(ready.url, stdout.trim())
    twins.sendTo({ url: ready.url, token: stdout.trim() })
  }

  const trestle: SalonWorld['trestle'] = async (...args) => {
    const config = join(home, 'dist', 'examples', 'business-day', 'trestle.config.js')
    const main = join(home, 'dist', 'src', 'cli', 'main.js')
    return promisify(execFile)(process.execPath, [main, ...args, '--folder', folder, '--config', config], {
      env: environment,
      maxBuffer: 64_000_000,
    }).then(
      ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
      (error: { code?: number; stdout: string; stderr: string }) => ({
        code: error.code ?? -1,
        stdout: error.stdout,
        stderr: error.stderr,
      }),
    )
  }

  async function end(signal: 'SIGKILL' | 'stop'): Promise<void> {
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    if (signal === 'stop') child.send('stop')
    else child.kill('SIGKILL')
    await ended
  }

  return {
    twins,
    salon: openSalon(twins, witness, clock),
    witness,
    get api() {
      return api!
    },
    folder,
    home: root,
    faults,
    notices: () => ready?.notices ?? [],
    start,
    async loseMachine() {
      await end('SIGKILL')
      process.kill(ready!.postgres, 'SIGKILL')
    },
    trestle,
    later(ms) {
      aheadMs += ms
      child?.send({ later: aheadMs })
    },
    now: () => clock.now(),
    async until(isSo, withinMs = 120_000) {
      const from = systemClock.monotonic()
      while (!(await isSo())) {
        if (systemClock.monotonic() - from > withinMs) return false
        await pause(systemClock, LOOK_EVERY_MS, { keepAlive: true })
      }
      return true
    },
    async close() {
      await end('stop')
      await stopEmbeddedPostgres(join(folder, '.trestle', 'postgres')).catch(() => undefined)
      await twins.stop()
      await rm(root, { recursive: true, force: true })
    },
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer()
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })
}
