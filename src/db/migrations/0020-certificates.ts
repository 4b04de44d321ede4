import { sql, type Kysely } from 'kysely'

/** The certificate that the server of a connection showed last: from when it counts, and when it ends. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql
    .raw(
      'alter table connection_checks add column certificate_from timestamptz, add column certificate_ends_at timestamptz',
    )
    .execute(db)
}
