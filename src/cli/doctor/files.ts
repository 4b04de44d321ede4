import { lstat, readdir, stat } from 'node:fs/promises'
import { join, relative, resolve } from 'node:path'
import { fail, ok, warn, type Finding } from './findings.ts'

/** Entries of `.trestle` that are looked at; there are never so many. */
const ENTRIES_LIMIT = 1_000
/** PostgreSQL looks after what is in its own folder, and refuses to start where others can reach into it. */
const NOT_ENTERED = new Set(['postgres'])
const GROUP_AND_OTHERS = 0o077
const GROUP_AND_OTHERS_WRITE = 0o022

/** What a file or folder says of who may do what with it. */
export interface FoundFile {
  /** As the finding names it, such as `.trestle/master.key`. */
  readonly name: string
  readonly path: string
  readonly kind: 'file' | 'folder'
  /** Its permission bits. */
  readonly mode: number
  readonly owner: number
}

/** Files that hold secrets or evidence, and must be this user's alone: `.env`, and everything in `.trestle`. */
export async function lookAtFiles(folder: string): Promise<readonly Finding[]> {
  if (process.platform === 'win32') return [] // It keeps no such bits.
  const env = await find(resolve(folder, '.env'), folder)
  const kept = await find(resolve(folder, '.trestle'), folder)
  const me = process.getuid?.() ?? 0
  return [
    ...(env ? [envFinding(env)] : []),
    ...(kept ? [keptFinding(kept, await reachable(kept, folder), me)] : []),
  ]
}

function envFinding({ name, path, mode }: FoundFile): Finding {
  return (mode & GROUP_AND_OTHERS) === 0
    ? ok(name, `mode ${octal(mode)}`)
    : warn(name, `mode ${octal(mode)}: other users can read it`, `chmod 600 ${path}`)
}

/**
 * Judges `.trestle`: what lies in a folder that only its owner can enter is out of reach, whatever its own bits say;
 * otherwise each file must be closed by itself.
 */
export function keptFinding(kept: FoundFile, reachableFiles: readonly FoundFile[], me: number): Finding {
  const foreign = [kept, ...reachableFiles].find(({ owner }) => owner !== me && me !== 0)
  if (foreign)
    return fail(
      kept.name,
      `${foreign.name} belongs to another user (uid ${foreign.owner}), who can read and change it`,
      `Let the user that runs Trestle own it: chown -R "$(id -un)" ${kept.path}`,
    )
  if ((kept.mode & GROUP_AND_OTHERS_WRITE) !== 0)
    return warn(
      kept.name,
      `mode ${octal(kept.mode)}: other users can write into it`,
      `chmod 700 ${kept.path}`,
    )
  const open = reachableFiles.filter(({ mode }) => (mode & GROUP_AND_OTHERS) !== 0)
  if (open.length === 0) return ok(kept.name, `mode ${octal(kept.mode)}, and nothing in it is open to others`)
  const [first] = open
  const more = open.length > 1 ? ` and ${open.length - 1} more` : ''
  return warn(
    kept.name,
    `other users can reach ${first!.name} (mode ${octal(first!.mode)})${more}`,
    `chmod -R go= ${kept.path}`,
  )
}

/** Everything in the folder that others could reach, links by what they lead to. */
async function reachable(kept: FoundFile, folder: string): Promise<readonly FoundFile[]> {
  const found: FoundFile[] = []
  await collect(kept, folder, found)
  return found
}

async function collect(within: FoundFile, folder: string, found: FoundFile[]): Promise<void> {
  const isClosed = (within.mode & GROUP_AND_OTHERS) === 0
  for (const name of await readdir(within.path)) {
    if (found.length >= ENTRIES_LIMIT) return
    const path = join(within.path, name)
    const link = await lstat(path).catch(() => undefined)
    const entry = await find(path, folder)
    if (link === undefined || entry === undefined) continue // It went away.
    // What a link leads to lies elsewhere, so this folder does not close it.
    if (isClosed && !link.isSymbolicLink()) continue
    if (entry.kind === 'file') found.push(entry)
    else if (!link.isSymbolicLink() && !NOT_ENTERED.has(name)) await collect(entry, folder, found)
  }
}

async function find(path: string, folder: string): Promise<FoundFile | undefined> {
  const found = await stat(path).catch(() => undefined)
  if (found === undefined) return undefined
  return {
    name: relative(folder, path),
    path,
    kind: found.isDirectory() ? 'folder' : 'file',
    mode: found.mode & 0o777,
    owner: found.uid,
  }
}

function octal(mode: number): string {
  return mode.toString(8)
}
