import { sql, type Kysely } from 'kysely'

/** Schedules and polls: when each is due next, how far it has come, and what is wrong with it. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}

const STATEMENTS = [
  // One row for each flow that starts on the clock or on a poll; name: the flow's. kind: 'cron' or 'poll'.
  // state: 'active', or 'retired' once the code has it no more. declaration: what the code says, as text.
  // previous_at: the last due time that ran (cron). position: how far a poll has read (JSON).
  // node_id, fence: who polls now; each write of a poll carries the fence.
  // stuck_*: the delivery that holds a page which fails its contract, and the page's digest.
  `create table schedules (
     tenant text not null, name text not null, kind text not null, declaration text not null,
     state text not null default 'active', due_at timestamptz, previous_at timestamptz, done_at timestamptz,
     skipped bigint not null default 0, skipped_at timestamptz,
     position text, fence bigint not null default 0, node_id text,
     failures integer not null default 0, error_code text, error text, failed_at timestamptz,
     stuck_delivery text, stuck_digest bytea,
     created_at timestamptz not null default now(), updated_at timestamptz not null default now(),
     primary key (tenant, name))`,
  `create index schedules_due on schedules (due_at) where state = 'active'`,
]
