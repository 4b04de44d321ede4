import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join, resolve, sep } from 'node:path'
import { type Clock, systemRandom, UsageError } from '../../base/index.ts'
import { findPackage } from './binaries.ts'
import { copyFileHashed } from './backupFiles.ts'
import { readManifest, type BackupManifest } from './backupManifest.ts'
import {
  dataOwner,
  folderAt,
  joinUsers,
  markerOf,
  rememberedPort,
  syncFolder,
  type Folder,
} from './folder.ts'
import { findPostmaster } from './postmaster.ts'
import { isProcessAlive } from './processes.ts'
import { restoreMark } from './restoreMark.ts'
import { startEmbeddedPostgres, type EmbeddedPostgres } from './start.ts'

/** Whether a backup is whole: every file is there as it was written. */
export interface BackupProblem {
  readonly path: string
  readonly problem: 'missing' | 'changed' | 'unexpected'
}

/** Reads every file of a backup and compares it with the manifest. Nothing is started. */
export async function verifyBackupFiles(
  from: string,
  onProgress: (done: number, total: number) => void = () => {},
): Promise<{ readonly manifest: BackupManifest; readonly problems: readonly BackupProblem[] }> {
  const manifest = await readManifest(from)
  const problems: BackupProblem[] = []
  let done = 0
  for (const file of manifest.files) {
    const found = await copyFileHashed(join(from, 'data', ...file.path.split('/')), undefined, file.path)
    if (!found) problems.push({ path: file.path, problem: 'missing' })
    else if (found.sha256 !== file.sha256) problems.push({ path: file.path, problem: 'changed' })
    onProgress((done += file.bytes), manifest.bytes)
  }
  const known = new Set(manifest.files.map(({ path }) => path))
  for (const path of await filesBelow(join(from, 'data')))
    if (!known.has(path)) problems.push({ path, problem: 'unexpected' })
  return { manifest, problems }
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) =>
      join(entry.parentPath, entry.name)
        .slice(folder.length + 1)
        .split(sep)
        .join('/'),
    )
}

/**
 * A server of its own on a copy of the backup, in a folder that is removed with it. What is done with it changes
 * nothing of the backup.
 */
export async function withScratchServer<Result>(
  options: {
    readonly from: string
    /** Below this folder the copy is made; it takes as much space as the backup. */
    readonly below: string
    readonly onProgress?: (done: number, total: number) => void
  },
  work: (server: EmbeddedPostgres, manifest: BackupManifest) => Promise<Result>,
): Promise<Result> {
  const scratch = join(
    resolve(options.below),
    `.trestle-scratch-${process.pid}-${systemRandom.bytes(4).toString('hex')}`,
  )
  try {
    const manifest = await copyData(options, scratch, false)
    const server = await startEmbeddedPostgres({ dataDir: scratch })
    try {
      return await work(server, manifest)
    } finally {
      await server.stop()
    }
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

export interface RestoreOptions {
  /** A backup's folder. */
  readonly from: string
  /** The data folder of the embedded server that is put back. */
  readonly dataDir: string
  /** Whether data that is there may make room. It is kept beside, under a name that is answered. */
  readonly replace: boolean
  readonly clock: Clock
  readonly onProgress?: (done: number, total: number) => void
  /**
   * The first work on the database, before it is in its place and anybody else can reach it: marks it. What it throws
   * ends the restore, and nothing was changed.
   */
  readonly mark: (url: string, manifest: BackupManifest) => Promise<void>
}

export interface Restored {
  readonly manifest: BackupManifest
  /** Where the data is kept that was there before. */
  readonly keptAside: string | undefined
}

/** check → copy beside → recover and mark → stop → swap. Until the swap nothing of what is there is touched. */
export async function restoreEmbedded(options: RestoreOptions): Promise<Restored> {
  const folder = folderAt(options.dataDir)
  const occupied = await requireRestorable(folder, options)
  await mkdir(dirname(folder.home), { recursive: true, mode: 0o700 })
  await removeLeftovers(folder)
  const staged = `${folder.home}.restore-${process.pid}-${systemRandom.bytes(4).toString('hex')}`
  try {
    const manifest = await copyData(options, staged, true)
    const server = await startEmbeddedPostgres({ dataDir: staged })
    try {
      await options.mark(server.url, manifest)
    } finally {
      await server.stop()
    }
    await keepPort(folder, staged)
    const keptAside = await swap(folder, staged, occupied, options.clock)
    return { manifest, keptAside }
  } catch (error) {
    await rm(staged, { recursive: true, force: true })
    throw error
  }
}

/** Throws where nothing may be put; answers whether data is there that makes room. */
async function requireRestorable(folder: Folder, { from, replace }: RestoreOptions): Promise<boolean> {
  const manifest = await readManifest(from)
  const here = `${process.platform}-${process.arch}`
  if (manifest.platform !== here)
    throw new UsageError(
      'backup_platform',
      `The backup was made on ${manifest.platform}, and this is ${here}: PostgreSQL's files do not move between them. Restore it on a machine like that one, and move the data with pg_dump.`,
    )
  const major = (await findPackage()).version.split('.')[0]
  if (manifest.postgres.split('.')[0] !== major)
    throw new UsageError(
      'backup_version',
      `The backup is of PostgreSQL ${manifest.postgres}, and this Trestle brings ${major}. Restore it with the Trestle that made it (${manifest.trestle}).`,
    )
  if ((await dataOwner(folder)) === undefined)
    return (await stat(folder.home).catch(() => undefined)) !== undefined
  if ((await findPostmaster(folder, await markerOf(folder))).state === 'alive')
    throw new UsageError(
      'server_running',
      `The PostgreSQL in ${folder.home} is running. Stop every Trestle that uses it first (Ctrl-C, or systemctl stop), then restore.`,
    )
  if ((await (await joinUsers(folder)).leave()) > 0)
    throw new UsageError(
      'server_running',
      `A Trestle that uses ${folder.home} is running. Stop it first (Ctrl-C, or systemctl stop), then restore.`,
    )
  if (!replace)
    throw new UsageError(
      'restore_occupied',
      `There is data in ${folder.home}. With --replace it makes room for the backup, and is kept beside it.`,
    )
  return true
}

/** Copies the data and holds each file against the manifest on the way. */
async function copyData(
  { from, onProgress = () => {} }: Pick<RestoreOptions, 'from' | 'onProgress'>,
  to: string,
  sync: boolean,
): Promise<BackupManifest> {
  const manifest = await readManifest(from)
  const data = join(to, 'data')
  await mkdir(data, { recursive: true, mode: 0o700 })
  const source = join(resolve(from), 'data')
  for (const entry of await readdir(source, { recursive: true, withFileTypes: true }))
    if (entry.isDirectory())
      await mkdir(join(data, entry.parentPath.slice(source.length), entry.name), {
        recursive: true,
        mode: 0o700,
      })
  let done = 0
  for (const { path, bytes, sha256 } of manifest.files) {
    const parts = path.split('/')
    const copied = await copyFileHashed(join(source, ...parts), join(data, ...parts), path, sync)
    if (copied?.sha256 !== sha256)
      throw new UsageError(
        'backup_damaged',
        `${path} of the backup is ${copied ? 'not as it was written' : 'missing'}: it cannot be trusted. Nothing was changed. Use another backup.`,
      )
    onProgress((done += bytes), manifest.bytes)
  }
  return manifest
}

/** Whoever was told the database's port finds it there again. */
async function keepPort(folder: Folder, staged: string): Promise<void> {
  const port = await rememberedPort(folder)
  if (port !== undefined) await writeFile(folderAt(staged).port, `${port}\n`)
}

async function swap(
  folder: Folder,
  staged: string,
  occupied: boolean,
  clock: Clock,
): Promise<string | undefined> {
  const aside = `${folder.home}.before-${new Date(clock.now()).toISOString().replaceAll(/[:.]/g, '-')}`
  const parent = dirname(folder.home)
  await writeFile(restoreMark(folder.home), `${staged}\n${occupied ? aside : ''}\n`, { flush: true })
  await syncFolder(parent)
  if (occupied) await rename(folder.home, aside)
  await rename(staged, folder.home)
  await syncFolder(parent)
  await rm(restoreMark(folder.home), { force: true })
  return occupied ? aside : undefined
}

/** Copies of restores whose process was killed. */
async function removeLeftovers({ home }: Folder): Promise<void> {
  for (const name of await readdir(dirname(home))) {
    const maker = Number(/\.restore-(\d+)-[0-9a-f]{8}$/.exec(name)?.[1])
    if (name.startsWith(`${basename(home)}.restore-`) && maker > 0 && !isProcessAlive(maker))
      await rm(join(dirname(home), name), { recursive: true, force: true })
  }
}
