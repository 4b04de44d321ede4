import { Client, escapeIdentifier } from 'pg'
import { inject } from 'vitest'
import { systemRandom } from '../../src/base/index.ts'
import { startEmbeddedPostgres } from '../../src/db/embedded/index.ts'
import { migrate, openDatabase } from '../../src/db/index.ts'
import { installDispatch } from '../../src/dispatch/index.ts'
import './globalSetup.ts'

export interface TestDatabase {
  readonly url: string
  /** Removes it, cutting what is still connected. */
  drop(): Promise<void>
}

/** Bears the tables; every test database is a copy of it. */
const TEMPLATE = 'test_template'
/** Any number: those who make the template at once wait for each other under it. */
const TEMPLATE_LOCK = 7_263_001

/** How long a delivery may wait for its answer in a test that expects 200, however slow this machine is. */
export const PATIENT_ACK_MS = 30_000

/**
 * Nothing has to outlive this server, and hundreds of tests connect to it. No test meets the locks and the statistics of
 * an autovacuum that comes when it likes: one that needs statistics gathers them.
 */
const SETTINGS = { fsync: 'off', full_page_writes: 'off', max_connections: '500', autovacuum: 'off' }

/**
 * A database of its own for a test file, with all tables and no rows. All files of a run share one server: the
 * embedded one, or the one that `TRESTLE_TEST_DATABASE_URL` names (its user must be allowed to create databases).
 *
 *     let database: TestDatabase
 *     beforeAll(async () => { database = await createTestDatabase() })
 *     afterAll(() => database.drop())
 */
export async function createTestDatabase(): Promise<TestDatabase> {
  const server = await testServerUrl()
  await makeTemplate(server)
  const name = `test_${systemRandom.bytes(6).toString('hex')}`
  await asAdmin(server, (admin) => whileInUse(admin, `create database ${name} template ${TEMPLATE}`))
  return {
    url: patient(withDatabase(server, name)),
    async drop() {
      await asAdmin(server, (admin) => whileInUse(admin, `drop database if exists ${name} with (force)`))
    },
  }
}

/**
 * The machine of a test may stand still for ten seconds, in the middle of a transaction or while a connection is made:
 * that is no fault of what is tested. A test of these limits takes them out of the url, see {@link impatient}.
 */
const PATIENCE = { connect_timeout: '60', idle_in_transaction_session_timeout: '600000' }

function patient(url: string): string {
  const changed = new URL(url)
  for (const [name, value] of Object.entries(PATIENCE)) changed.searchParams.set(name, value)
  return changed.href
}

/** The url of a test database with the limits that an installation has. */
export function impatient(url: string): string {
  const changed = new URL(url)
  for (const name of Object.keys(PATIENCE)) changed.searchParams.delete(name)
  return changed.href
}

/** The same with minutes for every statement, for a test in which no fault of the database may be told of. */
export function unhurried(url: string): string {
  const changed = new URL(url)
  for (const limit of ['statement_timeout', 'query_timeout']) changed.searchParams.set(limit, '600000')
  return changed.href
}

/** PostgreSQL waits five seconds for others to leave a database; on a machine that stands still they may need longer. */
export async function whileInUse(admin: Client, statement: string): Promise<void> {
  for (;;)
    try {
      return void (await admin.query(statement))
    } catch (error) {
      if ((error as { code?: unknown }).code !== '55006') throw error
    }
}

let server: Promise<string> | undefined

/** A superuser's url on the server of this run, which the first caller starts. The end of the run stops it. */
function testServerUrl(): Promise<string> {
  server ??= findServer()
  return server
}

async function findServer(): Promise<string> {
  const given = process.env['TRESTLE_TEST_DATABASE_URL']
  if (given !== undefined) return given
  const embedded = await startEmbeddedPostgres({ dataDir: inject('testDataDir'), settings: SETTINGS })
  return embedded.url
}

/** Migrated once per server, under another name until it is complete. */
async function makeTemplate(server: string): Promise<void> {
  await asAdmin(server, async (admin) => {
    await admin.query('select pg_advisory_lock($1)', [TEMPLATE_LOCK])
    if ((await admin.query('select 1 from pg_database where datname = $1', [TEMPLATE])).rowCount) return
    const unfinished = `${TEMPLATE}_unfinished`
    await whileInUse(admin, `drop database if exists ${unfinished} with (force)`)
    await whileInUse(admin, `create database ${unfinished}`)
    const database = openDatabase({ url: patient(withDatabase(server, unfinished)), max: 2 })
    try {
      await migrate(database)
      await installDispatch(database)
    } finally {
      await database.close()
    }
    await whileInUse(admin, `alter database ${unfinished} rename to ${escapeIdentifier(TEMPLATE)}`)
  })
}

async function asAdmin<Result>(url: string, work: (admin: Client) => Promise<Result>): Promise<Result> {
  const admin = new Client({ connectionString: url })
  await admin.connect()
  try {
    return await work(admin)
  } finally {
    await admin.end()
  }
}

function withDatabase(url: string, name: string): string {
  const changed = new URL(url)
  changed.pathname = `/${name}`
  return changed.href
}
