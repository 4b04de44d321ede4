import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../base/index.ts'
import { migrate, openDatabase, startEmbeddedPostgres, type Database } from '../db/index.ts'
import { installDispatch } from '../dispatch/index.ts'
import { ensurePartitions } from '../ledger/index.ts'
import { installDatabaseClock, setDatabaseClock } from './simulation/databaseClock.ts'

/** A PostgreSQL of the proof's own, in a temporary folder, and databases on it that are on the simulated clock. */
export interface Laboratory {
  /** An empty folder. */
  freshFolder(): Promise<string>
  /** A database with all tables and no rows. */
  freshDatabase(): Promise<Database & { drop(): Promise<void> }>
  /** Ends the server and removes the folder. Safe to call twice. */
  close(): Promise<void>
}

const TEMPLATE = 'proof_template'
/** What is proven here is not about power cuts (`npm run test:crash` is), and nothing has to outlive this server. */
const SETTINGS = { fsync: 'off', full_page_writes: 'off', synchronous_commit: 'off', max_connections: '200' }

/**
 * Limits that count real time, which in a proof is nobody's: a machine that stands still for some seconds, such as a
 * laptop that sleeps, must not change what is found.
 */
const PATIENCE = {
  connect_timeout: '60',
  statement_timeout: '600000',
  query_timeout: '600000',
  idle_in_transaction_session_timeout: '600000',
}

/** `startMs`: the simulated time at which databases begin, in milliseconds since 1970. */
export async function openLaboratory(startMs: number): Promise<Laboratory> {
  const folder = await mkdtemp(join(tmpdir(), 'trestle-prove-'))
  const closeFolder = (): Promise<void> => rm(folder, { recursive: true, force: true })
  let stopServer = (): Promise<void> => Promise.resolve()
  let count = 0
  try {
    const server = await startEmbeddedPostgres({
      dataDir: join(folder, 'postgres'),
      settings: SETTINGS,
      clock: systemClock,
    })
    stopServer = () => server.stop()
    const admin = openDatabase({ url: server.url, max: 1 })
    stopServer = async () => {
      await admin.close()
      await server.stop()
    }
    const create = async (name: string, template?: string): Promise<string> => {
      await admin.pool.query(
        `create database ${name}${template === undefined ? '' : ` template ${template}`}`,
      )
      const url = new URL(server.url)
      url.pathname = `/${name}`
      for (const [limit, value] of Object.entries(PATIENCE)) url.searchParams.set(limit, value)
      return url.href
    }
    await makeTemplate(await create(TEMPLATE), startMs)
    let closed: Promise<void> | undefined
    const end = async (): Promise<void> => {
      try {
        await stopServer()
      } finally {
        await closeFolder()
      }
    }
    return {
      freshFolder: () => mkdtemp(join(folder, 'node-')),
      async freshDatabase() {
        const name = `proof_${++count}`
        const url = await create(name, TEMPLATE)
        // A copy does not inherit what is set for the database by name.
        await admin.pool.query(`alter database ${name} set search_path = public, simulation, pg_catalog`)
        const database = openDatabase({ url, max: 3, name: 'trestle prove' })
        return {
          ...database,
          drop: async () => {
            await database.close()
            await admin.pool.query(`drop database if exists ${name} with (force)`)
          },
        }
      },
      close: () => (closed ??= end()),
    }
  } catch (error) {
    await stopServer()
    await closeFolder()
    throw error
  }
}

async function makeTemplate(url: string, startMs: number): Promise<void> {
  const name = new URL(url).pathname.slice(1)
  const bare = openDatabase({ url, max: 1 })
  try {
    await installDatabaseClock(bare.pool, name)
  } finally {
    await bare.close()
  }
  const database = openDatabase({ url, max: 2 })
  try {
    await setDatabaseClock(database.pool, startMs)
    await migrate(database)
    await installDispatch(database)
    await ensurePartitions(database.pool, startMs)
  } finally {
    await database.close()
  }
}
