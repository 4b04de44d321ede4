import type { Queryable } from '../db/index.ts'
import type { LedgerEntry } from '../ledger/index.ts'

/** What the vault needs of the database. */
export interface VaultStorage {
  /** Runs single statements, each its own transaction. */
  readonly reader: Queryable
  /** Commits what `work` did, or nothing of it. */
  transaction<Result>(work: (client: Queryable) => Promise<Result>): Promise<Result>
}

/** Writes a ledger entry in the transaction of the change that it tells of. */
export type RecordEntry = (client: Queryable, entry: LedgerEntry) => Promise<void>

/** Which connection, where its other facts do not matter. */
export interface ConnectionRef {
  readonly tenant: string
  readonly id: string
}

export function keyOf(ref: ConnectionRef): string {
  return `${ref.tenant}/${ref.id}`
}
