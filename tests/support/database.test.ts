import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openDatabase } from '../../src/db/index.ts'
import { createTestDatabase, impatient, type TestDatabase } from './database.ts'

describe('a test database', () => {
  let databases: TestDatabase[]
  beforeAll(async () => {
    databases = await Promise.all([createTestDatabase(), createTestDatabase(), createTestDatabase()])
  })
  afterAll(() => Promise.all(databases.map((database) => database.drop())))

  const query = async (url: string, statement: string): Promise<unknown[]> => {
    const client = new Client({ connectionString: url })
    await client.connect()
    return client.query(statement).then(
      async ({ rows }) => {
        await client.end()
        return rows
      },
      async (error: unknown) => {
        await client.end()
        throw error
      },
    )
  }

  it('has the tables and shares no rows with the others', async () => {
    const [first, second] = databases
    await query(
      first!.url,
      `insert into endpoints (tenant, id, path, connection_id) values ('default', 'ep_1', 'stripe', 'con_1')`,
    )
    expect(await query(first!.url, 'select id from endpoints')).toEqual([{ id: 'ep_1' }])
    expect(await query(second!.url, 'select id from endpoints')).toEqual([])
  })

  it('lets a test that stands still keep its transaction, and its connection', async () => {
    const database = openDatabase({ url: databases[0]!.url })
    const { rows } = await database.pool.query('show idle_in_transaction_session_timeout')
    expect(rows).toEqual([{ idle_in_transaction_session_timeout: '10min' }])
    expect(database.pool.options.connectionTimeoutMillis).toBe(60_000)
    await database.close()
    const usual = openDatabase({ url: impatient(databases[0]!.url) })
    const shown = await usual.pool.query('show idle_in_transaction_session_timeout')
    expect(shown.rows).toEqual([{ idle_in_transaction_session_timeout: '4s' }])
    await usual.close()
  })

  it('is gone once dropped, even while somebody is connected', async () => {
    const third = databases[2]!
    const connected = new Client({ connectionString: third.url })
    const cut = new Promise((resolve) => {
      connected.on('error', resolve)
    })
    await connected.connect()
    await third.drop()
    await cut
    await expect(query(third.url, 'select 1')).rejects.toMatchObject({ code: '3D000' })
  })
})
