import { execFile, spawn, type ChildProcess } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/**
 * The package compiled from the sources as they are now, in a folder of its own: what `npm run build` left may be
 * older, and another test may be making it anew. `name` tells the copies of test files that run at once apart.
 */
export async function compilePackage(name: string): Promise<string> {
  const home = join(ROOT, 'node_modules', '.cache', `trestle-cli-${name}`)
  mkdirSync(home, { recursive: true })
  cpSync(join(ROOT, 'package.json'), join(home, 'package.json'))
  const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
  const outDir = join(home, 'dist')
  const args = [
    '-p',
    join(ROOT, 'tsconfig.build.json'),
    '--noCheck',
    '--declaration',
    'false',
    '--outDir',
    outDir,
  ]
  await promisify(execFile)(process.execPath, [tsc, ...args])
  return home
}

export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface Cli {
  /** Of the compiled package. */
  readonly main: string
  /** A new project with the package installed in it, in a folder of its own. */
  createProject(name?: string): Promise<string>
  /** Runs a command to its end. */
  run(folder: string, args: readonly string[], options?: RunOptions): Promise<Ended>
  /** The answer of a command with --json. */
  json<Answer>(folder: string, args: readonly string[], options?: RunOptions): Promise<Answer>
  /** Starts a command that stays. */
  start(folder: string, args: readonly string[], options?: RunOptions): Running
  /** Ends what was started and removes every project. */
  end(): Promise<void>
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly input?: string
}

export function createCli(home: string, base: Readonly<Record<string, string>>): Cli {
  const main = join(home, 'dist', 'src', 'cli', 'main.js')
  const folders: string[] = []
  const running: Running[] = []
  const environment = (own: RunOptions['env']): NodeJS.ProcessEnv => ({
    PATH: process.env['PATH'],
    HOME: process.env['HOME'],
    NO_COLOR: '1',
    TZ: 'UTC',
    ...base,
    ...own,
  })

  function run(folder: string, args: readonly string[], options: RunOptions = {}): Promise<Ended> {
    const child = spawn(process.execPath, [main, ...args], { cwd: folder, env: environment(options.env) })
    child.stdin.end(options.input ?? '')
    return ended(child)
  }

  const cli: Cli = {
    main,
    run,
    async createProject(name = 'shop') {
      const parent = mkdtempSync(join(tmpdir(), 'trestle-cli-'))
      folders.push(parent)
      const { code, stderr } = await run(parent, ['init', name])
      if (code !== 0) throw new Error(stderr)
      const folder = join(parent, name)
      mkdirSync(join(folder, 'node_modules'))
      symlinkSync(home, join(folder, 'node_modules', 'trestle'))
      return folder
    },
    async json<Answer>(folder: string, args: readonly string[], options?: RunOptions) {
      const { stdout, stderr, code } = await run(folder, [...args, '--json'], options)
      if (code !== 0) throw new Error(`trestle ${args.join(' ')} ended with ${code}: ${stderr}`)
      return JSON.parse(stdout) as Answer
    },
    start(folder, args, options = {}) {
      const started = new Running(
        spawn(process.execPath, [main, ...args], { cwd: folder, env: environment(options.env) }),
      )
      running.push(started)
      return started
    },
    async end() {
      await Promise.all(running.map((one) => one.kill()))
      for (const folder of folders) rmSync(folder, { recursive: true, force: true })
    },
  }
  return cli
}

async function ended(child: ChildProcess): Promise<Ended> {
  let stdout = ''
  let stderr = ''
  child.stdout!.on('data', (chunk: Buffer) => (stdout += chunk))
  child.stderr!.on('data', (chunk: Buffer) => (stderr += chunk))
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, stdout, stderr }
}

/** A command that stays, and what it has said so far. */
export class Running {
  readonly #child: ChildProcess
  readonly #listeners = new Set<() => void>()
  /** stdout and stderr, as they came. A test empties it to hear only what comes next. */
  said = ''
  readonly ended: Promise<number | null>

  constructor(child: ChildProcess) {
    this.#child = child
    for (const stream of [child.stdout!, child.stderr!])
      stream.on('data', (chunk: Buffer) => {
        this.said += chunk
        for (const listener of this.#listeners) listener()
      })
    this.ended = new Promise((resolve) => child.once('close', resolve))
  }

  get pid(): number {
    return this.#child.pid!
  }

  /** Resolves when it has said something that fits. Rejects if it ends without. */
  async says(pattern: RegExp): Promise<string> {
    let finish: () => void = () => {}
    const seen = new Promise<string>((resolve) => {
      finish = () => {
        const found = pattern.exec(this.said)
        if (found) resolve(found[0])
      }
      this.#listeners.add(finish)
      finish()
    })
    const gone = this.ended.then(() => {
      throw new Error(`It ended without saying ${pattern}. It said:\n${this.said}`)
    })
    return Promise.race([seen, gone]).finally(() => this.#listeners.delete(finish))
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGKILL')
    await this.ended
  }
}

/** Processes whose command line or working folder lies in this folder. Linux only. */
export function processesIn(folder: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
        const works = workingFolderOf(pid)
        return [command, works].some((place) => place.includes(folder)) ? [`${pid} ${command}`] : []
      } catch {
        return [] // It has ended meanwhile.
      }
    })
}

/** Empty where it is not ours to know, and of a process that has ended. */
function workingFolderOf(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/cwd`)
  } catch {
    return ''
  }
}

/** Children of a process. Linux only. */
export function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
}
