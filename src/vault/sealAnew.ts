import { codeOf, type Random } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import { fingerprintOf } from './fingerprint.ts'
import type { MasterKey } from './masterKey.ts'
import { keyHeader, open, seal } from './seal.ts'
import { sealedRowsOf, type SealedColumn } from './sealedColumns.ts'

/** Values that are sealed anew by one statement, and so the most rows that it locks, for some milliseconds. */
export const BATCH = 500

/** One value, on its way from one master key to the next. */
interface Turned {
  readonly key: readonly string[]
  readonly was: Buffer
  readonly sealed: Buffer
  readonly fingerprint: Buffer
}

export interface BatchResult {
  /** Written. What was read and not written was changed or locked by others: a later pass sees to it. */
  readonly turned: number
  readonly read: number
  /** Primary keys of values that do not open. They stay as they are. */
  readonly unreadable: readonly (readonly string[])[]
  /** The last primary key that was read; `undefined`: there are no more. */
  readonly last: readonly string[] | undefined
}

/**
 * Seals the next values of a column behind `after` under the present master key, each with a new data key. Nothing is
 * locked while they are opened and sealed. A value that was changed meanwhile is not overwritten (compare-and-set by
 * its bytes), and one that another transaction holds is not waited for.
 */
export async function sealBatchAnew(
  client: Queryable,
  column: SealedColumn,
  after: readonly string[] | undefined,
  { key, random }: { readonly key: MasterKey; readonly random: Random },
): Promise<BatchResult> {
  const found = await readBatch(client, column, after, key)
  const turned: Turned[] = []
  const unreadable: (readonly string[])[] = []
  for (const { primaryKey, sealed, fingerprint } of found) {
    const place = column.placeOf(primaryKey)
    try {
      const value = await open(key, place, sealed)
      turned.push({
        key: primaryKey,
        was: sealed,
        sealed: await seal(key.wrapper, place, value, random),
        fingerprint: fingerprint.length === 0 ? fingerprint : fingerprintOf(key, place, value),
      })
      value.fill(0)
    } catch (error) {
      // A key service that is away now is no fault of the value.
      if (codeOf(error, '') !== 'secret_unreadable') throw error
      unreadable.push(primaryKey)
    }
  }
  return {
    turned: turned.length === 0 ? 0 : await writeBatch(client, column, turned),
    read: found.length,
    unreadable,
    last: found.length < BATCH ? undefined : found.at(-1)!.primaryKey,
  }
}

interface ReadRow {
  readonly primaryKey: readonly string[]
  readonly sealed: Buffer
  readonly fingerprint: Buffer
}

/** What is not under the present key yet, in the order of the primary key. */
async function readBatch(
  client: Queryable,
  column: SealedColumn,
  after: readonly string[] | undefined,
  key: MasterKey,
): Promise<readonly ReadRow[]> {
  const ours = keyHeader(key.wrapper.id)
  const columns = column.primaryKey.join(', ')
  const behind =
    after === undefined ? '' : `and (${columns}) > (${after.map((_, i) => `$${i + 3}`).join(', ')})`
  const { rows } = await client.query<{ primary_key: string[]; sealed: Buffer; fingerprint: Buffer }>(
    `select array[${columns}] as primary_key, ${column.column} as sealed, ${column.fingerprint ?? `''::bytea`} as fingerprint
     from ${column.table}
     where ${sealedRowsOf(column)} and substring(${column.column} from 1 for $2::integer) <> $1 ${behind}
     order by ${columns} limit ${BATCH}`,
    [ours, ours.length, ...(after ?? [])],
  )
  return rows.map(({ primary_key, sealed, fingerprint }) => ({
    primaryKey: primary_key,
    sealed,
    fingerprint,
  }))
}

/** One statement, so that its locks end with it. It waits for nobody: two that wait for each other would be a deadlock. */
async function writeBatch(
  client: Queryable,
  { table, column, primaryKey, fingerprint }: SealedColumn,
  turned: readonly Turned[],
): Promise<number> {
  const given = [...primaryKey, 'was', 'sealed_anew', 'fingerprint_anew']
  const types = given.map((_, i) => `$${i + 1}::${i < primaryKey.length ? 'text' : 'bytea'}[]`)
  const same = (a: string, b: string): string =>
    primaryKey.map((name) => `${a}.${name} = ${b}.${name}`).join(' and ')
  const { rowCount } = await client.query(
    `with given as materialized (select * from unnest(${types.join(', ')}) as g(${given.join(', ')})),
       free as materialized (
         select ${primaryKey.map((name) => `t.${name}`).join(', ')} from ${table} t join given g on ${same('t', 'g')}
         where t.${column} = g.was for no key update of t skip locked)
     update ${table} t set ${column} = g.sealed_anew ${fingerprint === undefined ? '' : `, ${fingerprint} = g.fingerprint_anew`}
     from given g join free f on ${same('f', 'g')} where ${same('t', 'g')}`,
    [
      ...primaryKey.map((_, i) => turned.map((one) => one.key[i]!)),
      turned.map((one) => one.was),
      turned.map((one) => one.sealed),
      turned.map((one) => one.fingerprint),
    ],
  )
  return rowCount ?? 0
}
