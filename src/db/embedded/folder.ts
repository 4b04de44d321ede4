import {
  chmod,
  copyFile,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { PermanentError, reasonOf, systemRandom } from '../../base/index.ts'
import type { Account } from './account.ts'
import { birthOf } from './processes.ts'

/**
 * What stands where in a data folder:
 *
 *     data/          PostgreSQL's own folder; trestle.password in it is the superuser's (mode 600)
 *     port           the port of the last start
 *     postgres.log   what the server says; at 10 MB it becomes postgres.log.1
 *     users/         one file per process that uses the server
 */
export interface Folder {
  /** The absolute path of the whole. */
  readonly home: string
  readonly data: string
  readonly password: string
  readonly port: string
  readonly log: string
  readonly users: string
}

/** The log is put aside at this size. */
const LOG_LIMIT_BYTES = 10_000_000

export function folderAt(dataDir: string): Folder {
  const home = resolve(dataDir)
  const data = join(home, 'data')
  return {
    home,
    data,
    password: join(data, 'trestle.password'),
    port: join(home, 'port'),
    log: join(home, 'postgres.log'),
    users: join(home, 'users'),
  }
}

/** Makes the data folder, closed to others, if it is not there. */
export async function openFolder(dataDir: string): Promise<Folder> {
  const folder = folderAt(dataDir)
  try {
    const created = await mkdir(folder.home, { recursive: true, mode: 0o700 })
    if (created !== undefined) {
      await chmod(folder.home, 0o700)
      // Without this a power cut could take the whole folder although every commit in it was synced.
      for (let path = folder.home; path !== dirname(created); path = dirname(path)) await syncFolder(path)
      await syncFolder(dirname(created))
    }
    await mkdir(folder.users, { recursive: true })
    return folder
  } catch (cause) {
    throw new PermanentError(
      'embedded_postgres_folder',
      `The folder ${folder.home} for the embedded PostgreSQL cannot be used: ${reasonOf(cause)}. ` +
        'Give it to the user who starts Trestle, name another folder, or set DATABASE_URL.',
      { cause },
    )
  }
}

/** Makes the entries of a folder durable. Windows has no such call and needs none. */
export async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

export async function dataOwner(folder: Folder): Promise<Account | undefined> {
  const found = await stat(join(folder.data, 'PG_VERSION')).catch(() =>
    stat(folder.data).catch(() => undefined),
  )
  return found && { uid: found.uid, gid: found.gid }
}

/** The major version that the data is for, or undefined before the first start. */
export async function dataVersion(folder: Folder): Promise<string | undefined> {
  const text = await readFile(join(folder.data, 'PG_VERSION'), 'utf8').catch(() => undefined)
  return text?.trim()
}

/**
 * What the server of this folder carries in its command line as cluster_name. It follows the folder itself, not its
 * path: moved it is the same, and a copy, postmaster.pid included, is another.
 */
export async function markerOf(folder: Folder): Promise<string> {
  const { dev, ino } = await stat(folder.data, { bigint: true })
  return `trestle-${dev.toString(36)}-${ino.toString(36)}`
}

export async function readPassword(folder: Folder): Promise<string> {
  try {
    return (await readFile(folder.password, 'utf8')).trim()
  } catch (cause) {
    throw new PermanentError(
      'embedded_postgres_folder',
      `${folder.password} cannot be read (${reasonOf(cause)}), and it holds the password of the database. ` +
        `Put it back from a copy. If the data does not matter, remove ${folder.home} to begin anew.`,
      { cause },
    )
  }
}

export async function rememberedPort(folder: Folder): Promise<number | undefined> {
  const port = Number(await readFile(folder.port, 'utf8').catch(() => ''))
  return Number.isInteger(port) && port > 0 && port < 65_536 ? port : undefined
}

export function rememberPort(folder: Folder, port: number): Promise<void> {
  return writeFile(folder.port, `${port}\n`)
}

/** Whether other processes still use the server, asked when one leaves. */
export interface Membership {
  /** Takes this user off the list and answers how many others are on it. Those that died are not counted. */
  leave(): Promise<number>
}

/** Puts this process on the list of those that use the server, so that none stops it under another. */
export async function joinUsers(folder: Folder): Promise<Membership> {
  const name = `${process.pid}-${systemRandom.bytes(4).toString('hex')}`
  await writeFile(join(folder.users, name), (await birthOf(process.pid)) ?? '')
  return {
    async leave() {
      await rm(join(folder.users, name), { force: true })
      return countUsers(folder)
    },
  }
}

async function countUsers(folder: Folder): Promise<number> {
  let alive = 0
  for (const name of await readdir(folder.users)) {
    const path = join(folder.users, name)
    const birth = await readFile(path, 'utf8').catch(() => undefined)
    if (birth !== undefined && (await birthOf(Number(name.split('-')[0]))) === birth) alive++
    else await rm(path, { force: true })
  }
  return alive
}

/** Puts a log that has grown too long aside. The server keeps writing to the same file, so it is cut, not renamed. */
export async function trimLog(folder: Folder): Promise<void> {
  const found = await stat(folder.log).catch(() => undefined)
  if (found === undefined || found.size < LOG_LIMIT_BYTES) return
  const copy = `${folder.log}.${process.pid}`
  await copyFile(folder.log, copy)
  await rename(copy, `${folder.log}.1`)
  await truncate(folder.log)
}

/** How long the log is now, for {@link logSince}. */
export async function logLength(folder: Folder): Promise<number> {
  return (await stat(folder.log).catch(() => undefined))?.size ?? 0
}

/** What was written to the log since it had that length; at most the last 64 kB. */
export async function logSince(folder: Folder, length: number): Promise<string> {
  const text = await readFile(folder.log).catch(() => Buffer.alloc(0))
  return text.subarray(length).subarray(-64_000).toString()
}
