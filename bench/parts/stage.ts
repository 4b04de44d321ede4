import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemRandom } from '../../src/base/index.ts'
import { openDatabase, startEmbeddedPostgres, type Database } from '../../src/db/index.ts'
import { cpuMsOfTree } from './cpu.ts'
import { startChild, type Child } from './child.ts'
import { ENDPOINT, SECRET } from './acme.ts'
import type { Load } from './load.ts'
import type { Latency } from './histogram.ts'

export interface LoadResult {
  readonly accepted: number
  /** Answers other than 2xx, and connections that broke. */
  readonly failed: number
  readonly seconds: number
  readonly perSecond: number
  readonly latency: Latency
}

/** Everything that a benchmark plays on: a fresh PostgreSQL with fsync on, a provider, a sender. */
export interface Stage {
  readonly databaseUrl: string
  readonly database: Database
  readonly provider: Child
  readonly folder: string
  /** CPU milliseconds used so far by PostgreSQL. */
  databaseCpuMs(): number
  /** Default: every role, on the stage's own database. */
  startNode(roles?: readonly string[], databaseUrl?: string): Promise<Child>
  startBare(): Promise<Child>
  load(target: Child, load: Partial<Load>): Promise<LoadResult>
  /** Resolves when no run is under way; gives the milliseconds that it took. */
  drained(): Promise<number>
  close(): Promise<void>
}

export async function setStage(): Promise<Stage> {
  const folder = await mkdtemp(join(tmpdir(), 'trestle-bench-'))
  const server = await startEmbeddedPostgres({ dataDir: join(folder, 'postgres') })
  const database = openDatabase({ url: server.url, max: 2 })
  const provider = await startChild('provider', {})
  const sender = await startChild('load', {})
  const masterKey = systemRandom.bytes(32).toString('base64')
  const children: Child[] = [provider, sender]
  const begin = async (name: string, argument: Record<string, unknown>): Promise<Child> => {
    const child = await startChild(name, { providerUrl: provider.ready['url'], ...argument })
    children.push(child)
    return child
  }
  return {
    databaseUrl: server.url,
    database,
    provider,
    folder,
    databaseCpuMs: () => cpuMsOfTree(server.pid),
    startNode: (roles = ['intake', 'worker', 'api'], databaseUrl = server.url) =>
      begin('node', { databaseUrl, folder, roles, masterKey }),
    startBare: () => begin('bare', {}),
    load: (target, load) =>
      sender.ask<LoadResult>({
        url: target.ready['url'],
        path: ENDPOINT,
        secret: SECRET,
        type: 'payment.succeeded',
        connections: 64,
        seconds: 10,
        ...load,
      }),
    async drained() {
      const begun = performance.now()
      for (;;) {
        const { rows } = await database.pool.query<{ open: string }>(
          `select count(*) as open from runs where state not in ('succeeded', 'dead_lettered', 'undone', 'cancelled')`,
        )
        if (rows[0]!.open === '0') return performance.now() - begun
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    },
    async close() {
      for (const child of children.reverse()) await child.stop()
      await database.close()
      await server.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
