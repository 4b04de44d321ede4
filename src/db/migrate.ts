import { Migrator, type Migration } from 'kysely'
import { PermanentError } from '../base/index.ts'
import type { Database, Queryable } from './connect.ts'
import * as initial from './migrations/0001-initial.ts'
import * as budgets from './migrations/0002-budgets.ts'
import * as outages from './migrations/0003-outages.ts'
import * as incidents from './migrations/0004-incidents.ts'
import * as hold from './migrations/0006-hold.ts'
import * as schedules from './migrations/0005-schedules.ts'
import * as runs from './migrations/0008-runs.ts'
import * as held from './migrations/0009-held.ts'
import * as oauth from './migrations/0011-oauth.ts'
import * as access from './migrations/0010-access.ts'
import * as health from './migrations/0012-health.ts'
import * as lately from './migrations/0013-lately.ts'
import * as authorizations from './migrations/0014-authorizations.ts'
import * as masterKey from './migrations/0016-master-key.ts'
import * as expiry from './migrations/0017-expiry.ts'
import * as answered from './migrations/0019-answered.ts'
import * as certificates from './migrations/0020-certificates.ts'
import { asUnavailable } from './transaction.ts'

/** In order; a migration that was released is never changed. */
const MIGRATIONS: Readonly<Record<string, Migration>> = {
  '0001-initial': { up: (db) => initial.up(db) },
  '0002-budgets': { up: (db) => budgets.up(db) },
  '0003-outages': { up: (db) => outages.up(db) },
  '0004-incidents': { up: (db) => incidents.up(db) },
  '0005-schedules': { up: (db) => schedules.up(db) },
  '0006-hold': { up: (db) => hold.up(db) },
  '0008-runs': { up: (db) => runs.up(db) },
  '0009-held': { up: (db) => held.up(db) },
  '0010-access': { up: (db) => access.up(db) },
  '0011-oauth': { up: (db) => oauth.up(db) },
  '0012-health': { up: (db) => health.up(db) },
  '0013-lately': { up: (db) => lately.up(db) },
  '0014-authorizations': { up: (db) => authorizations.up(db) },
  '0016-master-key': { up: (db) => masterKey.up(db) },
  '0017-expiry': { up: (db) => expiry.up(db) },
  '0019-answered': { up: (db) => answered.up(db) },
  '0020-certificates': { up: (db) => certificates.up(db) },
}

/** Names of all that this version knows. */
export const MIGRATION_NAMES: readonly string[] = Object.keys(MIGRATIONS)

/** Brings the tables up to date. Safe when several nodes do it at once: Kysely holds an advisory lock. */
export async function migrate(database: Database): Promise<void> {
  const migrator = new Migrator({
    db: database.kysely,
    provider: { getMigrations: () => Promise.resolve(MIGRATIONS) },
  })
  const { error, results } = await migrator.migrateToLatest()
  if (error === undefined) return
  const away = asUnavailable(error)
  if (away) throw away
  const failed = results?.find((result) => result.status === 'Error')
  throw new PermanentError(
    'migration_failed',
    `The database could not be brought up to date${failed ? ` (migration ${failed.migrationName})` : ''}: ${error instanceof Error ? error.message : JSON.stringify(error)}. Nothing was changed. Check that DATABASE_URL names a PostgreSQL 15 or newer whose user may create tables.`,
    { cause: error },
  )
}

/** Names of migrations that this code needs and that were not applied yet. */
export async function missingMigrations(client: Queryable): Promise<readonly string[]> {
  const { rows: found } = await client.query<{ there: boolean }>(
    `select to_regclass('kysely_migration') is not null as there`,
  )
  if (found[0]?.there !== true) return Object.keys(MIGRATIONS)
  const { rows } = await client.query<{ name: string }>('select name from kysely_migration')
  const applied = new Set(rows.map((row) => row.name))
  return Object.keys(MIGRATIONS).filter((name) => !applied.has(name))
}
