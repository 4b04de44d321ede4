import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { Client } from 'pg'
import { type Clock, PermanentError, reasonOf, systemRandom, UsageError } from '../../base/index.ts'
import type { Queryable } from '../connect.ts'
import { copyFileHashed, fileOf, listCluster, type ClusterFile, type CopiedFile } from './backupFiles.ts'
import { digestOf, MANIFEST_FILE, type BackupFacts, type BackupManifest } from './backupManifest.ts'
import { folderAt, syncFolder } from './folder.ts'
import { isProcessAlive } from './processes.ts'

export interface BackupOptions {
  /** The data folder of the embedded server. */
  readonly dataDir: string
  /** A superuser's url on the running server; the database of which the facts are read. */
  readonly url: string
  /** The folder to write. It must not be there, or be empty. */
  readonly to: string
  readonly clock: Clock
  /** What the copy is to be held against, read from the database right before the copy ends. */
  readonly facts: (client: Queryable) => Promise<BackupFacts>
  readonly onProgress?: (done: number, total: number) => void
  /** Looks at the copy while it still has its provisional name; what it throws ends the backup. */
  readonly check?: (folder: string, manifest: BackupManifest) => Promise<void>
}

/** Files that are copied at once. */
const AT_ONCE = 4

/**
 * Copies the embedded server's data while it is used. PostgreSQL writes full pages while a backup is under way, and a
 * replication slot keeps the log; so the files, torn as they are, and the log between start and stop are together a
 * consistent copy of the moment at which it stopped.
 * https://www.postgresql.org/docs/18/continuous-archiving.html#BACKUP-LOWLEVEL-BASE-BACKUP (2026-11)
 *
 * It is written beside its place and renamed when it is complete and synced: what bears the name is whole. A folder
 * `….partial-…` is what is left of one that was cut short; the next backup to the same place removes it.
 */
export async function backupEmbedded(options: BackupOptions): Promise<BackupManifest> {
  const to = resolve(options.to)
  await requireFree(to)
  await removeLeftovers(to)
  const staged = `${to}.partial-${process.pid}-${systemRandom.bytes(4).toString('hex')}`
  const client = new Client({
    connectionString: options.url,
    application_name: 'trestle backup',
    keepAlive: true,
  })
  client.on('error', () => {}) // The next statement fails with it.
  try {
    await mkdir(staged, { recursive: true, mode: 0o700 })
    await client.connect()
    const manifest = await copyCluster(client, staged, options)
    await options.check?.(staged, manifest)
    await rm(to, { recursive: true, force: true }) // Empty.
    await rename(staged, to)
    await syncFolder(dirname(to))
    return manifest
  } catch (error) {
    await rm(staged, { recursive: true, force: true })
    throw asBackupError(error, to)
  } finally {
    await client.end().catch(() => undefined)
  }
}

/** start → files → facts → stop → log → manifest. */
async function copyCluster(client: Client, staged: string, options: BackupOptions): Promise<BackupManifest> {
  const { clock, facts } = options
  const source = folderAt(options.dataDir).data
  const startedAt = clock.now()
  const slot = await keepLog(client)
  await client.query(`select pg_backup_start($1, true)`, [`trestle ${new Date(startedAt).toISOString()}`])
  const target = join(staged, 'data')
  const copied = await copyFiles(source, target, options)
  const known = await facts(client)
  // What is committed from here on may or may not be in the copy; what was before is.
  const consistentAt = clock.now()
  const stopped = await stopBackup(client)
  copied.push(...(await writeLabels(target, stopped)))
  const segments = segmentsBetween(stopped.firstSegment, stopped.lastSegment)
  for (const name of segments) copied.push(await copyNeeded(source, target, { path: `pg_wal/${name}` }))
  await client.query('select pg_drop_replication_slot($1)', [slot])

  const files = copied.sort((a, b) => (a.path < b.path ? -1 : 1))
  const unsigned = {
    format: 'trestle-backup',
    formatVersion: 1,
    startedAt: new Date(startedAt).toISOString(),
    consistentAt: new Date(consistentAt).toISOString(),
    endedAt: new Date(clock.now()).toISOString(),
    platform: `${process.platform}-${process.arch}`,
    node: process.version,
    ...known,
    stopLsn: stopped.lsn,
    log: { first: segments[0]!, last: segments.at(-1)! },
    bytes: files.reduce((sum, file) => sum + file.bytes, 0),
    files,
  } as const
  const manifest: BackupManifest = { ...unsigned, digest: digestOf(unsigned) }
  await writeFile(join(staged, MANIFEST_FILE), `${JSON.stringify(manifest, null, 1)}\n`, {
    mode: 0o600,
    flush: true,
  })
  await syncFolders(staged)
  return manifest
}

/** A slot of this session keeps the log from here on; it ends with the session, however that ends. */
async function keepLog(client: Client): Promise<string> {
  const slot = `trestle_backup_${systemRandom.bytes(6).toString('hex')}`
  await client.query('select pg_create_physical_replication_slot($1, true, true)', [slot])
  return slot
}

async function copyFiles(source: string, target: string, options: BackupOptions): Promise<CopiedFile[]> {
  const { folders, files } = await listCluster(source)
  for (const folder of folders) await mkdir(join(target, folder), { recursive: true, mode: 0o700 })
  const total = files.reduce((sum, file) => sum + file.bytes, 0)
  // pg_control last: with it the copy says from where to recover.
  const [control, ordinary] = partition(files, (file) => file.path === 'global/pg_control')
  const copied: CopiedFile[] = []
  let done = 0
  const queue = ordinary.values()
  const work = async (): Promise<void> => {
    for (const file of queue) {
      // A table that was dropped meanwhile is not needed: the log says so.
      const one = await copyFileHashed(join(source, file.path), join(target, file.path), file.path)
      if (one) copied.push(one)
      options.onProgress?.((done += file.bytes), total)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  for (const file of control) copied.push(await copyNeeded(source, target, file))
  return copied
}

function partition<Item>(items: readonly Item[], is: (item: Item) => boolean): [Item[], Item[]] {
  return [items.filter(is), items.filter((item) => !is(item))]
}

async function copyNeeded(
  source: string,
  target: string,
  { path }: Pick<ClusterFile, 'path'>,
): Promise<CopiedFile> {
  const copied = await copyFileHashed(join(source, path), join(target, path), path)
  if (copied) return copied
  throw new PermanentError(
    'backup_incomplete',
    `${path} is gone from ${source}, and without it the copy is worth nothing. Make the backup again.`,
  )
}

interface Stopped {
  readonly lsn: string
  readonly label: string
  readonly tablespaces: string
  readonly firstSegment: string
  readonly lastSegment: string
}

async function stopBackup(client: Client): Promise<Stopped> {
  const { rows } = await client.query<{
    lsn: string
    labelfile: string
    spcmapfile: string | null
    last: string
  }>(
    'select lsn::text, labelfile, spcmapfile, pg_walfile_name(lsn) as last from pg_backup_stop(wait_for_archive => false)',
  )
  const { lsn, labelfile, spcmapfile, last } = rows[0]!
  const first = /^START WAL LOCATION: \S+ \(file ([0-9A-F]{24})\)/m.exec(labelfile)?.[1]
  if (first === undefined) throw new Error(`PostgreSQL's label is not as expected: ${labelfile}`)
  return { lsn, label: labelfile, tablespaces: spcmapfile ?? '', firstSegment: first, lastSegment: last }
}

/** The label makes the copy recover from where the backup began, not from wherever pg_control stood. */
async function writeLabels(target: string, { label, tablespaces }: Stopped): Promise<CopiedFile[]> {
  if (tablespaces.trim() !== '')
    throw new UsageError(
      'backup_tablespaces',
      'The embedded PostgreSQL has tablespaces outside its folder, which Trestle does not copy. Move their tables back, or use pg_basebackup.',
    )
  const path = join(target, 'backup_label')
  await writeFile(path, label, { mode: 0o600, flush: true })
  return [fileOf('backup_label', label)]
}

/** Segments of 16 MB are numbered in two words of which the lower ends with FF. */
export function segmentsBetween(first: string, last: string): string[] {
  const [timeline, until] = [first.slice(0, 8), Number.parseInt(last.slice(16), 16)]
  const names: string[] = []
  let [log, segment] = [Number.parseInt(first.slice(8, 16), 16), Number.parseInt(first.slice(16), 16)]
  const lastLog = Number.parseInt(last.slice(8, 16), 16)
  const hex = (value: number): string => value.toString(16).toUpperCase().padStart(8, '0')
  while (log < lastLog || (log === lastLog && segment <= until)) {
    names.push(`${timeline}${hex(log)}${hex(segment)}`)
    if (++segment > 0xff) [log, segment] = [log + 1, 0]
  }
  return names
}

async function requireFree(to: string): Promise<void> {
  const found = await stat(to).catch(() => undefined)
  if (found === undefined) return
  if (found.isDirectory() && (await readdir(to)).length === 0) return
  throw new UsageError('backup_exists', `${to} is there already. Name a folder that is not, such as ${to}-2.`)
}

/** What backups to the same place left whose process was killed. */
async function removeLeftovers(to: string): Promise<void> {
  for (const name of await readdir(dirname(to)).catch(() => [])) {
    if (!name.startsWith(`${basename(to)}.partial-`)) continue
    const maker = Number(/\.partial-(\d+)-[0-9a-f]{8}$/.exec(name)?.[1])
    if (maker > 0 && !isProcessAlive(maker))
      await rm(join(dirname(to), name), { recursive: true, force: true })
  }
}

async function syncFolders(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true }))
    if (entry.isDirectory()) await syncFolders(join(folder, entry.name))
  await syncFolder(folder)
}

function asBackupError(error: unknown, to: string): unknown {
  const code = (error as NodeJS.ErrnoException | null)?.code
  if (code === 'ENOSPC')
    return new PermanentError(
      'backup_no_space',
      `There is no space left for the backup in ${dirname(to)}. Nothing of it was kept. Free some, or name another place.`,
      { cause: error },
    )
  if (code === 'EACCES' || code === 'EROFS' || code === 'EPERM')
    return new PermanentError('backup_unwritable', `The backup cannot be written: ${reasonOf(error)}.`, {
      cause: error,
    })
  return error
}
