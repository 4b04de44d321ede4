import { sql, type Kysely } from 'kysely'

/** Held runs are looked at flow by flow, so that many of one flow hide none of another. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql.raw(`create index runs_held on runs (tenant, flow, id) where state = 'held'`).execute(db)
}
