import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs'
import { systemClock } from '../../src/base/index.ts'

/** How a process ended. */
export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** By the machine's monotonic clock, in milliseconds. */
  readonly at: number
}

/** A process of the platform or of the world around it. */
export interface Child<Ready> {
  /** What it said when it was ready; `undefined` where it ended before. */
  readonly ready: Promise<Ready | undefined>
  readonly ended: Promise<Ended>
  readonly hasEnded: () => boolean
  /** Asks it to end in order, and waits. */
  stop(): Promise<void>
  /** SIGKILL, to the process itself. Before it was ready, and after its end, nothing happens. */
  kill(): void
  /** What it wrote to stderr: its faults. */
  said(): string
  /** Of the process itself, not of a tracer around it; 0 before it was ready. */
  readonly pid: () => number
}

export interface ChildOptions {
  /** Compiled entry. */
  readonly entry: string
  readonly options: object
  /** Where its stderr goes. */
  readonly logFile: string
  /** A program with its arguments that starts it, such as strace. */
  readonly under?: readonly string[]
}

/** Starts a Node process with an IPC channel; it ends by itself when this process ends. */
export function startChild<Ready extends object>(given: ChildOptions): Child<Ready> {
  const log = openSync(given.logFile, 'a', 0o600)
  const command = [
    ...(given.under ?? []),
    process.execPath,
    '--enable-source-maps',
    given.entry,
    JSON.stringify(given.options),
  ]
  const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'ignore', log, 'ipc'] })
  closeSync(log)
  let pid = 0
  let end: Ended | undefined
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) => {
      end = { code, signal, at: systemClock.monotonic() }
      resolve(end)
    })
  })
  const ready = new Promise<Ready | undefined>((resolve) => {
    child.once('message', (said) => {
      pid = (said as { pid?: number }).pid ?? child.pid ?? 0
      resolve(said as Ready)
    })
    void ended.then(
      () => resolve(undefined),
      () => resolve(undefined),
    )
  })
  return {
    ready,
    ended,
    hasEnded: () => end !== undefined,
    pid: () => pid,
    said: () => readFileSync(given.logFile, 'utf8'),
    kill() {
      if (pid > 0 && end === undefined) process.kill(pid, 'SIGKILL')
    },
    async stop() {
      askToStop(child)
      await ended
    },
  }
}

function askToStop(child: ChildProcess): void {
  if (child.connected) child.send('stop')
}

/** Arguments that make strace kill the process at its `n`-th `write` or `writev` of one thread, writing what it saw. */
export function killAtWrite(n: number, traceFile: string): readonly string[] {
  return [
    'strace',
    '-f',
    '-qq',
    '-o',
    traceFile,
    '-e',
    'trace=write,writev,sendto,sendmsg',
    '-e',
    `inject=write,writev:signal=KILL:when=${n}`,
  ]
}

/** Why no process can be started under strace here, and what to do; `undefined` where it can. */
export function whyNoTrace(): string | undefined {
  const tried = spawnSync('strace', ['-o', '/dev/null', 'true'], { encoding: 'utf8' })
  if (tried.error) return 'strace is missing: install it (apt-get install strace)'
  if (tried.status === 0) return undefined
  return `strace is not allowed to trace here (${tried.stderr.trim()}): allow it (docker run --cap-add SYS_PTRACE)`
}

/** The same for attaching it to a server that runs already. */
export function whyNoServerTrace(): string | undefined {
  const why = whyNoTrace()
  if (why !== undefined || process.getuid?.() === 0) return why
  const scope = readIfThere('/proc/sys/kernel/yama/ptrace_scope')
  if (scope === undefined || scope.trim() === '0') return undefined
  return 'strace may not be attached to running processes here: become root, or sysctl kernel.yama.ptrace_scope=0'
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

/** The state letter of /proc/PID/stat; `undefined` where there is no such process, or only what is left of one. */
export function processState(pid: number): string | undefined {
  const state = statOf(pid)?.[0]
  return state === 'Z' || state === 'X' ? undefined : state
}

/** A process and its children, which in PostgreSQL have none of their own. */
export function treeOf(parent: number): number[] {
  const children = readdirSync('/proc').filter(
    (name) => /^\d+$/.test(name) && statOf(name)?.[1] === String(parent),
  )
  return [parent, ...children.map(Number)]
}

/** Fields 3 and following of /proc/PID/stat; the second, the name, may hold anything. */
function statOf(pid: number | string): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  } catch {
    return undefined
  }
}
