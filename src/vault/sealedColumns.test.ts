import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemRandom } from '../base/index.ts'
import { localMasterKey } from './masterKey.ts'
import { open, seal } from './seal.ts'
import { SEALED_COLUMNS, type SealedColumn } from './sealedColumns.ts'
import { openVaultFixture, type VaultFixture } from './vault.fixture.ts'

let fixture: VaultFixture
beforeAll(async () => {
  fixture = await openVaultFixture()
})
afterAll(() => fixture.close())

/** Columns of bytes that hold nothing sealed, and what they hold instead. A new one goes here or into the list. */
const NOT_SEALED: Readonly<Record<string, string>> = {
  'alerts.payload': 'an alert as it goes out',
  'attempts.request': 'a redacted request',
  'authorizations.browser': 'a hash',
  'authorizations.state_hash': 'a hash',
  'authorizations.ticket': 'a hash',
  'deliveries.body': 'what a provider sent',
  'deliveries.headers': 'what a provider sent, redacted',
  'event_keys.key_hash': 'a hash',
  'installation.value': 'see the list: of this table one row is sealed',
  'journal.input_digest': 'a hash',
  'journal.result': 'a result of a step, redacted',
  'journal.undo': 'what an undo is given',
  'ledger.entry': 'an entry, redacted',
  'ledger_batches.root': 'a hash',
  'ledger_blocks.previous': 'a hash',
  'ledger_blocks.root': 'a hash',
  'ledger_blocks.signature': 'a signature',
  'rejected_samples.body': 'what was sent and refused',
  'rejected_samples.headers': 'what was sent and refused, redacted',
  'schedules.stuck_digest': 'a hash',
  'quarantine.payload': 'what was kept back',
  'runs.result': 'a result of a flow',
  'secrets.fingerprint': 'an HMAC',
  'tokens.hash': 'a hash',
}

async function bytesColumns(): Promise<string[]> {
  const { rows } = await fixture.database.pool.query<{ name: string }>(
    `select c.relname || '.' || a.attname as name from pg_attribute a join pg_class c on c.oid = a.attrelid
     where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
       and a.attnum > 0 and not a.attisdropped and a.atttypid = 'bytea'::regtype order by 1`,
  )
  return rows.map(({ name }) => name)
}

function unknownOf(columns: readonly string[], sealed: readonly SealedColumn[] = SEALED_COLUMNS): string[] {
  const known = new Set([
    ...Object.keys(NOT_SEALED),
    ...sealed.map(({ table, column }) => `${table}.${column}`),
  ])
  return columns.filter((name) => !known.has(name))
}

it('every column of bytes in the database is in the list of sealed ones, or known to be none', async () => {
  const columns = await bytesColumns()
  expect(unknownOf(columns)).toEqual([])
  expect(Object.keys(NOT_SEALED).filter((name) => !columns.includes(name))).toEqual([])
})

it('CONTROL: a column that nobody named is noticed, whether it is new or was forgotten', async () => {
  const columns = await bytesColumns()
  expect(unknownOf(columns, SEALED_COLUMNS.slice(1))).toEqual(['secrets.sealed'])
  await fixture.database.pool.query('create table forgotten (id text primary key, token bytea)')
  expect(unknownOf(await bytesColumns())).toEqual(['forgotten.token'])
  await fixture.database.pool.query('drop table forgotten')
})

it('the primary key that the list gives for a column is the one that its table has', async () => {
  for (const { table, primaryKey } of SEALED_COLUMNS) {
    const { rows } = await fixture.database.pool.query<{ name: string; type: string }>(
      `select a.attname as name, a.atttypid::regtype::text as type from pg_index i
         join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
       where i.indrelid = $1::regclass and i.indisprimary order by array_position(i.indkey::smallint[], a.attnum)`,
      [table],
    )
    expect({ table, key: rows }).toEqual({ table, key: primaryKey.map((name) => ({ name, type: 'text' })) })
  }
})

const KEYED = SEALED_COLUMNS.flatMap((column) =>
  column.primaryKey.length > 1 ? column.primaryKey.map((part, i) => ({ column, part, i })) : [],
)

describe('a sealed value that is moved', () => {
  const key = localMasterKey(systemRandom.bytes(32), systemRandom)

  it.each(KEYED.map((one) => ({ ...one, name: `${one.column.table}.${one.column.column}` })))(
    'to another $part does not open in $name',
    async ({ column, i }) => {
      const here = column.primaryKey.map((name) => `${name} a`)
      const sealed = await seal(key.wrapper, column.placeOf(here), Buffer.from('secret'), systemRandom)
      expect((await open(key, column.placeOf(here), sealed)).toString()).toBe('secret')
      const there = here.with(i, `${column.primaryKey[i]} b`)
      await expect(open(key, column.placeOf(there), sealed)).rejects.toMatchObject({
        code: 'secret_unreadable',
      })
    },
  )

  it('to another column does not open, whatever the rows are called', async () => {
    for (const one of SEALED_COLUMNS)
      for (const other of SEALED_COLUMNS) {
        if (one === other) continue
        const row = ['default', 'con_1', 'x']
        const sealed = await seal(key.wrapper, one.placeOf(row), Buffer.from('secret'), systemRandom)
        await expect(open(key, other.placeOf(row), sealed)).rejects.toMatchObject({
          code: 'secret_unreadable',
        })
      }
  })
})
