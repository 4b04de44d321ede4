import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Folder } from './folder.ts'
import { argumentsOf, isProcessAlive } from './processes.ts'

/**
 * What postmaster.pid says: one fact per line, of which a server that has just begun has written only the first
 * five. https://www.postgresql.org/docs/18/storage-file-layout.html (2026-11)
 */
export interface Pidfile {
  readonly pid: number
  readonly port: number
  readonly status: 'starting' | 'ready' | 'stopping'
}

/** What is known about the server of a data folder. With `none`, PostgreSQL itself deals with what is left. */
export type Found =
  | { readonly state: 'none' }
  /** The file is cut off, or names a pid that belongs to something else by now: PostgreSQL would refuse to start. */
  | { readonly state: 'misleading' }
  | ({ readonly state: 'alive' } & Pidfile)

export function readPidfile(text: string): Pidfile | undefined {
  const lines = text.split('\n')
  const [pid, port, status] = [Number(lines[0]), Number(lines[3]), (lines[7] ?? '').trim()]
  if (!Number.isInteger(pid) || pid <= 0) return undefined
  return { pid, port, status: status === 'ready' || status === 'stopping' ? status : 'starting' }
}

/** Looks for the server of a data folder, alive or left behind. */
export async function findPostmaster(folder: Folder, marker: string): Promise<Found> {
  const text = await readFile(pidfilePath(folder), 'utf8').catch(() => undefined)
  if (text === undefined) return { state: 'none' }
  const pidfile = readPidfile(text)
  if (pidfile === undefined) return { state: 'misleading' }
  if (await isPostmasterOf(folder, marker, pidfile.pid)) return { state: 'alive', ...pidfile }
  return { state: isProcessAlive(pidfile.pid) ? 'misleading' : 'none' }
}

/** Whether the process with this pid is the server of this data folder: started by us, or by hand with its path. */
export async function isPostmasterOf(folder: Folder, marker: string, pid: number): Promise<boolean> {
  const args = (await argumentsOf(pid)) ?? []
  return args.includes(`cluster_name=${marker}`) || args.includes(folder.data)
}

/** No process has this pid: Linux ends at 2^22, macOS at 99,999. */
const NOBODY = 999_999_999

/**
 * Makes PostgreSQL see that the server named in postmaster.pid is gone. It asks only whether the pid exists, and
 * after a reboot that may be any process. The rest of the file stays, for by it PostgreSQL finds out whether
 * processes of the dead server are still at work on the data; so it is not removed.
 */
export async function disarmPidfile(folder: Folder): Promise<void> {
  const text = await readFile(pidfilePath(folder), 'utf8').catch(() => undefined)
  if (text === undefined) return
  const rest = text.includes('\n') ? text.slice(text.indexOf('\n')) : '\n'
  const file = await open(pidfilePath(folder), 'r+')
  try {
    const { bytesWritten } = await file.write(`${NOBODY}${rest}`, 0)
    await file.truncate(bytesWritten)
  } finally {
    await file.close()
  }
}

function pidfilePath(folder: Folder): string {
  return join(folder.data, 'postmaster.pid')
}
