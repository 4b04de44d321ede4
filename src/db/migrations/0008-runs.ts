import { sql, type Kysely } from 'kysely'

/** What a dead letter says of its last answer, until when a run may go on, and what a flow has applied already. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}

const STATEMENTS = [
  // The beginning of the provider's answer, redacted, where the attempt failed.
  `alter table attempts add column excerpt text`,
  // When a person last let the run go on: giveUpAfter counts from here.
  `alter table runs add column goes_on_since timestamptz`,
  // The newest event about each subject that a flow has applied. dated: milliseconds since 1970, or a version.
  `create table applied_events (
     tenant text not null, flow text not null, subject text not null, dated numeric not null,
     event_id text not null, run_id text not null, applied_at timestamptz not null default now(),
     primary key (tenant, flow, subject))`,
]
