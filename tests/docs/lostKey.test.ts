/** docs/guides/security.md, "A lost master key": what it says to delete is all that keeps another key from starting. */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { systemRandom } from '../../src/base/index.ts'
import { localMasterKey } from '../../src/vault/masterKey.ts'
import { seal } from '../../src/vault/seal.ts'
import { SEALED_COLUMNS } from '../../src/vault/sealedColumns.ts'
import { openVaultFixture, type VaultFixture } from '../../src/vault/vault.fixture.ts'

const GUIDE = readFileSync(resolve(import.meta.dirname, '../../docs/guides/security.md'), 'utf8')

let fixture: VaultFixture
beforeAll(async () => {
  fixture = await openVaultFixture()
})
afterAll(() => fixture.close())

/** A row for each table that holds something sealed; `$1` is the sealed value. */
const ROWS: Readonly<Record<string, string>> = {
  secrets: `insert into secrets (tenant, connection_id, field, sealed, fingerprint) values ('default', 'con_1', 'token', $1, '')`,
  grant_refreshes: `insert into grant_refreshes (tenant, connection_id, id, replaces, state, lease_until, answer)
    values ('default', 'con_1', 'rfr_1', 1, 'superseded', now(), $1)`,
  authorizations: `insert into authorizations (tenant, id, connection_id, connector, state, ticket, sealed, answer, actor, begun_at, ends_at, changed_at)
    values ('default', 'aut_1', 'con_1', 'books', 'begun', '', $1, $1, 'system', now(), now(), now())`,
  installation: `insert into installation (name, value) values ('ledger.private_key', $1)`,
}

/** The statements of the guide, one by one. */
function guidesStatements(): string[] {
  const section = GUIDE.slice(GUIDE.indexOf('### A lost master key'))
  return /`(delete from secrets;[^`]*)`/.exec(section)![1]!.split('; ')
}

async function startWith(statements: readonly string[]): Promise<void> {
  const { pool } = fixture.database
  const place = { tenant: 'default', record: 'con_1', field: 'token' }
  const sealed = await seal(fixture.key.wrapper, place, Buffer.from('secret'), systemRandom)
  await pool.query(
    `insert into connections (tenant, id, name, connector, base_url) values ('default', 'con_1', 'one', 'books', 'https://one.example')`,
  )
  for (const insert of Object.values(ROWS)) await pool.query(insert, [sealed])
  await pool.query(`update master_key set sealing = $1`, [fixture.key.wrapper.id])
  for (const statement of statements) await pool.query(statement)
  const other = fixture.node({ key: localMasterKey(systemRandom.bytes(32), systemRandom) })
  try {
    await other.checkMasterKey()
  } finally {
    await fixture.clear()
  }
}

it('after them another master key may start', async () => {
  expect(Object.keys(ROWS).sort()).toEqual([...new Set(SEALED_COLUMNS.map(({ table }) => table))].sort())
  await startWith(guidesStatements())
})

it('control: without any one of them it may not', async () => {
  const statements = guidesStatements()
  for (const left of statements)
    await expect(startWith(statements.filter((one) => one !== left))).rejects.toMatchObject({
      code: 'master_key_wrong',
    })
})
