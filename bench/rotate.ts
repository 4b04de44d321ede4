import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { migrate, openDatabase, startEmbeddedPostgres } from '../src/db/index.ts'
import { ensurePartitions } from '../src/ledger/index.ts'
import { startChild, type Child } from './parts/child.ts'
import { playRotation } from './parts/rotation.ts'

/** Sealed values at full size. */
const SECRETS = 100_000
const READERS = 2

/**
 * How long a rotation of the master key takes that is killed once and carried on, with two processes that read and
 * write secrets all the while, and how many of their reads failed. A real PostgreSQL with fsync.
 */
export async function rotate(
  _seconds: number,
  { rows: secrets = SECRETS }: { readonly rows?: number | undefined } = {},
): Promise<Record<string, unknown>> {
  const folder = await mkdtemp(join(tmpdir(), 'trestle-bench-'))
  const server = await startEmbeddedPostgres({ dataDir: join(folder, 'postgres') })
  const children: Child[] = []
  try {
    const database = openDatabase({ url: server.url, max: 2 })
    await migrate(database)
    await ensurePartitions(database.pool, Date.now())
    await database.close()
    return await playRotation({
      databaseUrl: server.url,
      secrets,
      readers: READERS,
      start: async (name, given) => {
        const child = await startChild(name, given)
        children.push(child)
        return child
      },
    })
  } finally {
    for (const child of children) child.kill('SIGKILL')
    await server.stop()
    await rm(folder, { recursive: true, force: true })
  }
}
