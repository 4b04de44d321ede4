import { accessSync, constants, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

/** Where the demo keeps what it needs while it plays. Nothing of it is worth keeping. */
export interface WorkFolder {
  /** The package's own folder, where its programs and this example lie. */
  readonly root: string
  /** Of the database server, which stays from one day to the next. */
  readonly postgres: string
  /** Of the project: new for every day. */
  readonly project: string
  readonly logs: string
  /** Lets the next demo in. */
  leave(): void
}

/** Opens the folder, in the clone where that may be written to, and makes it ready for a new day. */
export function openWorkFolder(): WorkFolder {
  const root = dirname(createRequire(import.meta.url).resolve('trestle/package.json'))
  const home = firstWritable([
    join(root, '.trestle', 'demo'),
    join(tmpdir(), `trestle-demo-${process.getuid?.() ?? 'user'}`),
  ])
  const mark = join(home, 'demo.pid')
  const other = runningDemo(mark)
  if (other !== undefined)
    throw new Error(`Another demo is running in ${home} (process ${other}). End it with q, or: kill ${other}`)
  const folder = {
    root,
    postgres: join(home, 'postgres'),
    project: join(home, 'project'),
    logs: join(home, 'logs'),
  }
  for (const old of [folder.project, folder.logs]) {
    rmSync(old, { recursive: true, force: true })
    mkdirSync(old, { recursive: true, mode: 0o700 })
  }
  writeFileSync(mark, String(process.pid))
  return { ...folder, leave: () => rmSync(mark, { force: true }) }
}

/** The first folder that can be made, or is there, and in which everything may be changed. */
function firstWritable(candidates: readonly [string, string]): string {
  try {
    mkdirSync(candidates[0], { recursive: true, mode: 0o700 })
    for (const part of ['.', 'project', 'logs']) accessIfThere(join(candidates[0], part))
    return candidates[0]
  } catch {
    mkdirSync(candidates[1], { recursive: true, mode: 0o700 })
    return candidates[1]
  }
}

function accessIfThere(path: string): void {
  try {
    accessSync(path, constants.R_OK | constants.W_OK)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
}

/** The process that left its number, if it still runs a demo. */
function runningDemo(mark: string): number | undefined {
  try {
    const pid = Number(readFileSync(mark, 'utf8'))
    process.kill(pid, 0)
    // The number may be another process's by now. Where the system tells what it runs, that is looked at.
    return commandOf(pid)?.includes('business-day') === false ? undefined : pid
  } catch {
    return undefined
  }
}

function commandOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return undefined
  }
}
