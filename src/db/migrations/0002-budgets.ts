import { sql, type Kysely } from 'kysely'

/** What connections may still spend of their providers' limits, and who spent it. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}

const STATEMENTS = [
  // One limit of one connection, shared by all nodes. state: JSON; version rises with every write (compare-and-set).
  // Written often by few, so that rows stay on their page.
  `create table budgets (
     tenant text not null, connection_id text not null, limit_name text not null,
     state text not null, version bigint not null default 1, updated_at timestamptz not null default clock_timestamp(),
     primary key (tenant, connection_id, limit_name)) with (fillfactor = 50)`,
  // What each flow spent in an hour. refused: calls that the provider refused for want of points.
  `create table budget_spending (
     tenant text not null, connection_id text not null, limit_name text not null, hour timestamptz not null, flow text not null,
     calls bigint not null default 0, points bigint not null default 0, refused bigint not null default 0,
     primary key (tenant, connection_id, limit_name, hour, flow))`,
  // How full the fullest window of a day was: 1 is the limit.
  `create table budget_peaks (
     tenant text not null, connection_id text not null, limit_name text not null, day date not null, peak real not null,
     primary key (tenant, connection_id, limit_name, day))`,
]
