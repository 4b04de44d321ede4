import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../tests/support/database.ts'
import { openDatabase, type Database, type Queryable } from './connect.ts'
import { distributeByTenant, tenantTables } from './distribute.ts'

let testDatabase: TestDatabase
let database: Database
beforeAll(async () => {
  testDatabase = await createTestDatabase()
  database = openDatabase({ url: testDatabase.url, max: 2 })
})
afterAll(async () => {
  await database.close()
  await testDatabase.drop()
})

/** The database as it would be with Citus: what only Citus has is answered here, and written down. */
function withCitus(distributed: string[]): Queryable & { readonly calls: unknown[][] } {
  const calls: unknown[][] = []
  const answer = (rows: object[]): never => ({ rows, rowCount: rows.length }) as never
  return {
    calls,
    query: (statement, values) => {
      const text = typeof statement === 'string' ? statement : statement.text
      if (text.includes('pg_extension')) return Promise.resolve(answer([{ there: 1 }]))
      if (text.includes('pg_dist_partition'))
        return Promise.resolve(answer(distributed.map((name) => ({ name }))))
      if (!text.includes('create_distributed_table')) return database.pool.query(statement, values)
      calls.push(values!)
      return Promise.resolve(answer([]))
    },
  }
}

describe('tables distributed by tenant', () => {
  it('are all that have one, beside each other', async () => {
    const client = withCitus([])
    const { now } = await distributeByTenant(client)
    expect(now).toEqual(await tenantTables(database.pool))
    expect(now).toEqual(expect.arrayContaining(['runs', 'journal', 'ledger', 'events', 'connections']))
    const [[first, alone] = [], ...others] = client.calls as [string, string][]
    expect(alone).toBe('none')
    expect(others.map(([, beside]) => beside)).toEqual(others.map(() => first))
  })

  it('are not distributed twice: a second time takes what a migration has added', async () => {
    const tables = await tenantTables(database.pool)
    const client = withCitus(tables.filter((table) => table !== 'runs'))
    expect((await distributeByTenant(client)).now).toEqual(['runs'])
    expect(client.calls).toHaveLength(1)
  })

  it('need the extension, and the message says what to do', async () => {
    await expect(distributeByTenant(database.pool)).rejects.toThrow(/CREATE EXTENSION citus/)
  })

  it('can be: every unique index of a table that has a tenant begins with it', async () => {
    const { rows } = await database.pool.query<{ index: string }>(
      `select i.indexrelid::regclass::text as index from pg_index i
       join pg_class c on c.oid = i.indrelid and c.relnamespace = 'public'::regnamespace
       join pg_attribute tenant on tenant.attrelid = c.oid and tenant.attname = 'tenant'
       where i.indisunique and i.indkey[0] <> tenant.attnum`,
    )
    expect(rows.map(({ index }) => index)).toEqual([])
  })

  it('the test notices: a unique index without the tenant is found', async () => {
    await database.pool.query('create unique index without_tenant on runs (id)')
    try {
      const { rows } = await database.pool.query(
        `select 1 from pg_index i join pg_attribute tenant on tenant.attrelid = i.indrelid and tenant.attname = 'tenant'
         where i.indrelid = 'runs'::regclass and i.indisunique and i.indkey[0] <> tenant.attnum`,
      )
      expect(rows).toHaveLength(1)
    } finally {
      await database.pool.query('drop index without_tenant')
    }
  })
})
