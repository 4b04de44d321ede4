import { sql, type Kysely } from 'kysely'

/** What a token may do, until when, and which one took its place. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}

const STATEMENTS = [
  // Tokens that are there already could do all but make tokens: that is what a developer may.
  // scopes: separated by spaces; null: all of the role. start: its first characters, to find it again.
  `alter table tokens
     add column role text not null default 'developer', add column scopes text, add column start text,
     add column expires_at timestamptz, add column created_by text, add column replaced_by text`,
  `create index tokens_by_hash on tokens (hash)`,
  `create index tokens_ending on tokens (tenant, expires_at) where expires_at is not null and revoked_at is null`,
]
