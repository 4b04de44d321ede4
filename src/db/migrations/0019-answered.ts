import { sql, type Kysely } from 'kysely'

/** When the token endpoint answered an authorization: the tokens of two that were open at once are told apart by it. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql.raw('alter table authorizations add column answered_at timestamptz').execute(db)
}
