import { sql, type Kysely } from 'kysely'

/** Waits that began lately and events that came lately are looked for every second, however many there are. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}

const STATEMENTS = [
  'create index waits_lately on waits (created_at)',
  'create index event_fields_lately on event_fields (received_at)',
]
