/**
 * The database: connection, transactions, group commit, migrations, and the embedded PostgreSQL.
 *
 * Owns: how statements reach PostgreSQL and how many callers share one commit.
 * Leaves to others: what the tables mean. Each folder writes its own rows.
 *
 * Invariants
 * 1. What {@link createGroupCommit} answers was committed; what it rejects was not, or nobody knows.
 * 2. A row that the database refuses never fails the rows beside it.
 */
export * from './backend.ts'
export * from './connect.ts'
export * from './cursor.ts'
export { distributeByTenant, type Distributed } from './distribute.ts'
export * from './embedded/index.ts'
export * from './groupCommit.ts'
export * from './migrate.ts'
export * from './transaction.ts'
