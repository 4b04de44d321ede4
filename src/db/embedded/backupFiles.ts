import { createHash } from 'node:crypto'
import { open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** A file of the data folder, with `/` between the parts of its path. */
export interface ClusterFile {
  readonly path: string
  readonly bytes: number
}

export interface CopiedFile extends ClusterFile {
  /** 64 hexadecimal digits. */
  readonly sha256: string
}

/**
 * Folders whose contents a copy must not or need not have; the folders themselves are needed.
 * https://www.postgresql.org/docs/18/protocol-replication.html, BASE_BACKUP (2026-11)
 */
const EMPTIED = new Set([
  'pg_wal',
  'pg_dynshmem',
  'pg_notify',
  'pg_replslot',
  'pg_serial',
  'pg_snapshots',
  'pg_stat_tmp',
  'pg_subtrans',
])
/** What belongs to the running server alone; postgresql.conf is written anew at each start. */
const LEFT_OUT = [
  /^postmaster\.(pid|opts)$/,
  /^current_logfiles$/,
  /^backup_label(\.old)?$/,
  /^tablespace_map(\.old)?$/,
  /^backup_manifest$/,
  /^postgresql\.(auto\.conf\.tmp|conf\.\d+)$/,
  /(^|\/)pgsql_tmp/,
  /(^|\/)pg_internal\.init/,
]

/** What of a data folder belongs into a copy. */
export async function listCluster(
  data: string,
): Promise<{ readonly folders: readonly string[]; readonly files: readonly ClusterFile[] }> {
  const folders = ['', 'pg_wal/archive_status', 'pg_wal/summaries']
  const files: ClusterFile[] = []
  const walk = async (folder: string): Promise<void> => {
    for (const entry of await readdir(join(data, folder), { withFileTypes: true }).catch(ifGone)) {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`
      if (LEFT_OUT.some((pattern) => pattern.test(path))) continue
      if (entry.isDirectory()) {
        folders.push(path)
        if (!EMPTIED.has(path)) await walk(path)
      } else if (entry.isFile()) {
        const found = await stat(join(data, path)).catch(() => undefined)
        if (found) files.push({ path, bytes: found.size })
      }
    }
  }
  await walk('')
  return { folders, files }
}

function ifGone(error: NodeJS.ErrnoException): never[] {
  if (error.code === 'ENOENT') return []
  throw error
}

/** A file of this text. */
export function fileOf(path: string, text: string): CopiedFile {
  return { path, bytes: Buffer.byteLength(text), sha256: createHash('sha256').update(text).digest('hex') }
}

const CHUNK_BYTES = 1_048_576

/**
 * Copies a file to its end as it is then and tells what was copied; `undefined` where there is none. It is synced,
 * unless the copy is not to be kept. Without `to` it is only read.
 */
export async function copyFileHashed(
  from: string,
  to: string | undefined,
  path: string,
  sync = true,
): Promise<CopiedFile | undefined> {
  const source = await open(from, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (!source) return undefined
  try {
    const target = to === undefined ? undefined : await open(to, 'wx', 0o600)
    try {
      const sha256 = createHash('sha256')
      const chunk = Buffer.allocUnsafe(CHUNK_BYTES)
      let bytes = 0
      for (;;) {
        const { bytesRead } = await source.read(chunk, 0, CHUNK_BYTES)
        if (bytesRead === 0) break
        const part = chunk.subarray(0, bytesRead)
        sha256.update(part)
        if (target) await writeAll(target, part)
        bytes += bytesRead
      }
      if (sync) await target?.sync()
      return { path, bytes, sha256: sha256.digest('hex') }
    } finally {
      await target?.close()
    }
  } finally {
    await source.close()
  }
}

async function writeAll(
  target: { write(bytes: Buffer): Promise<{ bytesWritten: number }> },
  part: Buffer,
): Promise<void> {
  for (let rest = part; rest.length > 0;) {
    const { bytesWritten } = await target.write(rest)
    rest = rest.subarray(bytesWritten)
  }
}
