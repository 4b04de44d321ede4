import { UsageError } from '../base/index.ts'
import type { Queryable } from './connect.ts'

/** Tables that were distributed now, and those that had been. */
export interface Distributed {
  readonly now: readonly string[]
  readonly before: readonly string[]
}

/**
 * Turns every table that has a tenant into one that Citus distributes by it, all beside each other, so that what
 * belongs to one tenant is on one shard. Tables without a tenant, and pg-boss's, stay on the coordinator. Rows that are
 * there already are moved. Call it in a transaction, on the coordinator, while no node runs. Throws `citus_missing`.
 */
export async function distributeByTenant(client: Queryable): Promise<Distributed> {
  if (!(await hasCitus(client)))
    throw new UsageError(
      'citus_missing',
      'The extension citus is not in this database. Install Citus on the coordinator and its workers, run CREATE EXTENSION citus, add the workers, and try again. A single PostgreSQL needs none of this.',
    )
  const tables = await tenantTables(client)
  const before = await alreadyDistributed(client)
  const now = tables.filter((table) => !before.includes(table))
  const first = tables.find((table) => before.includes(table)) ?? now[0]
  for (const table of now)
    await client.query(`select create_distributed_table($1::text::regclass, 'tenant', colocate_with => $2)`, [
      table,
      table === first ? 'none' : first,
    ])
  return { now, before: tables.filter((table) => before.includes(table)) }
}

async function hasCitus(client: Queryable): Promise<boolean> {
  const { rows } = await client.query(`select 1 from pg_extension where extname = 'citus'`)
  return rows.length > 0
}

async function alreadyDistributed(client: Queryable): Promise<readonly string[]> {
  const { rows } = await client.query<{ name: string }>(
    'select logicalrelid::text as name from pg_dist_partition',
  )
  return rows.map(({ name }) => name)
}

/** Our tables whose rows belong to a tenant; a partition follows its table. */
export async function tenantTables(client: Queryable): Promise<readonly string[]> {
  const { rows } = await client.query<{ name: string }>(
    `select c.relname as name from pg_class c
     where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
       and exists (select 1 from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped)
     order by c.relname`,
  )
  return rows.map(({ name }) => name)
}
