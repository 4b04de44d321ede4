import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { PermanentError } from '../../base/index.ts'
import type { Account } from './account.ts'

/** Where a placed copy of PostgreSQL lies, and as whom it runs. */
export interface Binaries {
  /** Holds bin/, lib/ and share/. */
  readonly folder: string
  /** As PostgreSQL prints it: `18.4`. */
  readonly version: string
}

/** One program to run to its end. */
export interface Command {
  readonly program: 'initdb' | 'pg_ctl' | 'postgres'
  readonly args: readonly string[]
  readonly binaries: Pick<Binaries, 'folder'>
  readonly account: Account | undefined
  /** The folder to run in. It is entered before the user is dropped, so its parents may be closed to that user. */
  readonly cwd?: string
}

/**
 * How a program names the folder that it runs in. Root on Linux starts the server inside its data folder and says
 * `/proc/self/cwd`, because the dropped user could not walk there: a clone under a home of mode 700 is the normal
 * case. Everybody else says the path.
 */
export function nameOfCwd(path: string, account: Account | undefined): string {
  return account === undefined ? path : '/proc/self/cwd'
}

/** Runs a program with its output appended to a file, and answers its exit code. */
export async function runToLog(command: Command, logFile: string): Promise<number> {
  const log = await open(logFile, 'a', 0o600)
  try {
    // The postmaster inherits these: a pipe would never close, and the file needs no permission of the dropped user.
    const child = start(command, ['ignore', log.fd, log.fd])
    return await exitOf(command, child)
  } finally {
    await log.close()
  }
}

/** Runs a short program and answers what it printed. */
export async function runForOutput(command: Command): Promise<{ code: number; output: string }> {
  const child = start(command, ['ignore', 'pipe', 'pipe'])
  let output = ''
  const collect = (chunk: Buffer): void => {
    if (output.length < 10_000) output += chunk.toString()
  }
  child.stdout?.on('data', collect)
  child.stderr?.on('data', collect)
  return { code: await exitOf(command, child), output }
}

function start(command: Command, stdio: StdioOptions): ChildProcess {
  const { binaries, account } = command
  return spawn(join(binaries.folder, 'bin', command.program), command.args, {
    stdio,
    cwd: command.cwd ?? binaries.folder,
    env: environment(binaries.folder),
    ...account,
  })
}

/** Nothing of ours: neither secrets, nor PG… variables that would change the server, nor libraries of others. */
function environment(folder: string): NodeJS.ProcessEnv {
  const { PATH, SystemRoot, TEMP } = process.env
  return {
    PATH: PATH ?? '/usr/bin:/bin',
    LC_ALL: 'C',
    LD_LIBRARY_PATH: join(folder, 'lib'),
    ...(SystemRoot === undefined ? {} : { SystemRoot, TEMP }),
  }
}

function exitOf(command: Command, child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('close', (code) => resolve(code ?? -1))
    child.once('error', (cause) => {
      const as = command.account === undefined ? '' : ` as the user with uid ${command.account.uid}`
      reject(
        new PermanentError(
          'embedded_postgres_cannot_run',
          `${join(command.binaries.folder, 'bin', command.program)} cannot be run${as}: ${cause.message}. ` +
            'The embedded PostgreSQL needs a system with glibc and, for root, the right to change its user. ' +
            'Where that is missing, set DATABASE_URL to a PostgreSQL 15 or newer.',
          { cause },
        ),
      )
    })
  })
}
