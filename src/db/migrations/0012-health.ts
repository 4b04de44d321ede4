import { sql, type Kysely } from 'kysely'

/** What each node's calls show of providers that something is wrong with, so that all nodes count together. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}

const STATEMENTS = [
  // results: succeeded, slow and failed calls by slots of the window, newest first (JSON); slot: the newest's number.
  // Written every second while something is wrong, so that rows stay on their page.
  `create table provider_health (
     tenant text not null, connection_id text not null, op_group text not null, node text not null,
     slot bigint not null, results text not null, heard_at timestamptz not null,
     primary key (tenant, connection_id, op_group, node)) with (fillfactor = 50)`,
]
