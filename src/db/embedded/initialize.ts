import { chown, lchown, lstat, mkdir, mkdtemp, open, readdir, rename, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { PermanentError, systemRandom } from '../../base/index.ts'
import type { Account } from './account.ts'
import { nameOfCwd, runToLog, type Binaries } from './command.ts'
import { dataVersion, logLength, logSince, syncFolder, type Folder } from './folder.ts'
import { isProcessAlive } from './processes.ts'

/** The superuser's name. */
export const USER = 'trestle'

/**
 * Makes the database cluster if there is none. It is made beside its place and renamed once it is complete and
 * synced, password and all; so an interrupted first start leaves nothing that a second one would trip over, and
 * of two at once one wins.
 */
export async function initialize(
  folder: Folder,
  binaries: Binaries,
  account: Account | undefined,
): Promise<void> {
  if (await isInitialized(folder, binaries)) return
  const staged = await mkdtemp(join(folder.home, `init-${process.pid}-`))
  try {
    await createCluster(folder, staged, binaries, account)
    await rename(join(staged, 'data'), folder.data).catch(async (error: unknown) => {
      if (!(await isInitialized(folder, binaries))) throw error
    })
    await syncFolder(folder.home)
  } finally {
    await rm(staged, { recursive: true, force: true })
  }
  await removeLeftovers(folder)
}

async function isInitialized(folder: Folder, binaries: Binaries): Promise<boolean> {
  const version = await dataVersion(folder)
  if (version === undefined) return false
  const major = binaries.version.split('.')[0]
  if (version === major) return true
  throw new PermanentError(
    'embedded_postgres_version',
    `The data in ${folder.home} was made by PostgreSQL ${version}, and this Trestle brings ${binaries.version}. ` +
      `Dump it with the Trestle that made it (pg_dump), move the folder away, start again, and restore the dump.`,
  )
}

async function createCluster(
  folder: Folder,
  staged: string,
  binaries: Binaries,
  account: Account | undefined,
): Promise<void> {
  const data = join(staged, 'data')
  const password = systemRandom.bytes(24).toString('hex')
  await mkdir(data, { mode: 0o700 })
  await writeSecret(join(staged, 'password'), password)
  await giveTo(account, staged)
  const at = nameOfCwd(data, account)
  const before = await logLength(folder)
  const code = await runToLog(
    {
      program: 'initdb',
      args: [
        '--pgdata',
        at,
        // Not join(): it would take /proc/self/cwd/.. for /proc/self.
        `--pwfile=${at}/../password`,
        `--username=${USER}`,
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        '--no-locale',
        '--locale-provider=builtin',
        '--builtin-locale=C.UTF-8',
        '--no-instructions',
      ],
      binaries,
      account,
      cwd: data,
    },
    folder.log,
  )
  if (code !== 0) throw await couldNotCreate(folder, before)
  const passwordFile = join(data, basename(folder.password))
  await writeSecret(passwordFile, password)
  if (account) await chown(passwordFile, account.uid, account.gid)
  await syncFolder(data)
}

async function couldNotCreate(folder: Folder, before: number): Promise<PermanentError> {
  const said = (await logSince(folder, before)).trim().split('\n').slice(-15)
  return new PermanentError(
    'embedded_postgres_start_failed',
    `The embedded PostgreSQL could not create its data in ${folder.home}. It said:\n  ${said.join('\n  ')}\n` +
      'Check the space and the permissions there. A user without a line in /etc/passwd cannot run it: then add one, ' +
      'or set DATABASE_URL to a PostgreSQL 15 or newer.',
  )
}

async function writeSecret(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Gives a file, or a folder and all that is in it, to a user. */
export async function giveTo(account: Account | undefined, path: string): Promise<void> {
  if (account === undefined) return
  await lchown(path, account.uid, account.gid)
  if (!(await lstat(path)).isDirectory()) return
  for (const name of await readdir(path)) await giveTo(account, join(path, name))
}

/** Removes what first starts left that were killed. */
async function removeLeftovers(folder: Folder): Promise<void> {
  for (const name of await readdir(folder.home)) {
    const maker = /^init-(\d+)-/.exec(name)?.[1]
    if (maker !== undefined && !isProcessAlive(Number(maker)))
      await rm(join(folder.home, name), { recursive: true, force: true })
  }
}
