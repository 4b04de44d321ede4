import type { Queryable } from '../db/index.ts'
import { keyHeader, type SealedPlace } from './seal.ts'

/** A column of the database that holds sealed values. */
export interface SealedColumn {
  readonly table: string
  readonly column: string
  /** What is sealed there, in words, for the guide. */
  readonly holds: string
  /** Columns of the table's primary key, all of them text, in order. */
  readonly primaryKey: readonly string[]
  /** The rows of the table that hold a sealed value there, as a condition; the others hold something else. */
  readonly rows?: string
  /** Where the value of a row belongs, from the row's primary key. */
  placeOf(key: readonly string[]): SealedPlace
  /** The column of a fingerprint of the same value, made under the same master key; empty bytes where there is none. */
  readonly fingerprint?: string
}

/** The row of `installation` that holds the ledger's private key, and the field that it is sealed as. */
const LEDGER_KEY = { row: 'ledger.private_key', field: 'ledger-key' }

/** Where an answer of a token endpoint is sealed; see refreshes.ts. */
export function placeOfAnswer(tenant: string, connection: string, refresh: string): SealedPlace {
  return { tenant, record: connection, field: `grant.answer/${refresh}` }
}

/** Where a secret of the installation itself is sealed. */
export function placeInInstallation(field: string): SealedPlace {
  return { tenant: '', record: 'installation', field }
}

/** Every column that holds sealed values: what a rotation turns, and what the master key is held against. */
export const SEALED_COLUMNS: readonly SealedColumn[] = [
  {
    table: 'secrets',
    column: 'sealed',
    holds:
      'what connections authorize with, those of alerts among them: API keys, tokens, passwords, client secrets, OAuth grants with their refresh tokens, signing and webhook secrets',
    primaryKey: ['tenant', 'connection_id', 'field'],
    placeOf: ([tenant = '', record = '', field = '']) => ({ tenant, record, field }),
    fingerprint: 'fingerprint',
  },
  {
    table: 'grant_refreshes',
    column: 'answer',
    holds:
      'answers of token endpoints, with the id and secret of the client that asked, from when they come until the grant has what they gave; tokens that came too late for it, until the provider has taken them back or they are given up',
    primaryKey: ['tenant', 'connection_id', 'id'],
    placeOf: ([tenant = '', connection = '', id = '']) => placeOfAnswer(tenant, connection, id),
  },
  {
    table: 'authorizations',
    column: 'sealed',
    holds: 'what opens the exchange of an authorization that a person began: its state and its PKCE verifier',
    primaryKey: ['tenant', 'id'],
    placeOf: ([tenant = '', record = '']) => ({ tenant, record, field: 'sealed' }),
  },
  {
    table: 'authorizations',
    column: 'answer',
    holds: 'what the token endpoint said to it, until the connection has what it gave',
    primaryKey: ['tenant', 'id'],
    placeOf: ([tenant = '', record = '']) => ({ tenant, record, field: 'answer' }),
  },
  {
    table: 'installation',
    column: 'value',
    holds: "the ledger's private key (the row `ledger.private_key`)",
    primaryKey: ['name'],
    rows: `name = '${LEDGER_KEY.row}'`,
    placeOf: () => placeInInstallation(LEDGER_KEY.field),
  },
]

/** Rows of a sealed column. */
export function sealedRowsOf({ column, rows }: SealedColumn): string {
  return rows === undefined ? `${column} is not null` : `${column} is not null and ${rows}`
}

/** How many sealed values there are in all, and under keys other than `known`, by the key's name. */
export interface Census {
  readonly all: number
  /** By the name of the master key; what has no name that can be read counts as ''. */
  readonly byKey: ReadonlyMap<string, number>
}

/** Everything sealed begins with the id of its master key, so one count tells under which keys, without opening. */
export async function countSealed(client: Queryable): Promise<Census> {
  const union = SEALED_COLUMNS.map(
    (one) => `select ${one.column} as sealed from ${one.table} where ${sealedRowsOf(one)}`,
  ).join(' union all ')
  const { rows } = await client.query<{ header: Buffer; count: string }>(
    `select substring(sealed from 1 for 2 + case when length(sealed) > 1 then get_byte(sealed, 1) else 0 end) as header,
       count(*)::text as count
     from (${union}) s group by 1`,
  )
  const byKey = new Map<string, number>()
  for (const { header, count } of rows) {
    const name = header.subarray(2).toString('latin1')
    const known = keyHeader(name).equals(header) ? name : ''
    byKey.set(known, (byKey.get(known) ?? 0) + Number(count))
  }
  return { all: [...byKey.values()].reduce((sum, count) => sum + count, 0), byKey }
}
