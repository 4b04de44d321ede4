import { sql, type Kysely } from 'kysely'

/** Incidents, their alerts, what the watch remembers between two looks, and the counts that must balance. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}

const STATEMENTS = [
  // Who reads the ledger as it grows, one node at a time: the row is locked for the length of a turn. read_to: all entries
  // of transactions before it are read; begun_at: none of a transaction before it ever was.
  `create table ledger_readers (
     tenant text not null, name text not null, begun_at xid8 not null, read_to xid8 not null,
     read_at timestamptz not null, turn_at timestamptz not null, primary key (tenant, name))`,
  // subject: what it is about, unique among the incidents of its kind that are not resolved.
  `create table incidents (
     tenant text not null, id text not null, kind text not null, subject text not null, state text not null default 'open',
     title text not null, what text not null, holds_up text not null, todo text not null,
     connection_id text, flow text, since timestamptz not null,
     opened_at timestamptz not null, updated_at timestamptz not null,
     acknowledged_at timestamptz, acknowledged_by text, resolved_at timestamptz, resolution text,
     primary key (tenant, id))`,
  `create unique index incidents_open on incidents (tenant, kind, subject) where state <> 'resolved'`,
  // Alerts to be sent, and those that were. payload: JSON of what is told, the same in every attempt.
  `create table alerts (
     tenant text not null, id text not null, incident_id text not null, channel text not null, change text not null,
     state text not null default 'waiting', payload bytea not null, attempts integer not null default 0,
     due_at timestamptz not null, created_at timestamptz not null, settled_at timestamptz, last_error text,
     primary key (tenant, id))`,
  `create index alerts_due on alerts (due_at) where state = 'waiting'`,
  `create index alerts_by_incident on alerts (tenant, incident_id, channel, id)`,
  // Operations whose newest calls failed. in_row: since the last one that succeeded; alerted: in_row has reached three.
  `create table call_streaks (
     tenant text not null, connection_id text not null, target text not null, in_row integer not null, total integer not null,
     alerted boolean not null, since timestamptz not null, failed_at timestamptz not null, succeeded_at timestamptz,
     code text not null, reason text not null, run_ids text[] not null,
     primary key (tenant, connection_id, target))`,
  `create index runs_dead_letters on runs (tenant, flow, id) where state = 'dead_lettered'`,
  // One row per hour, connection and flow; flow '' counts events. declared: what the ledger says there is, counted as it
  // is written. expected and counted: the same and the rows there are, both as of one moment (checked_at).
  `create table conservation (
     tenant text not null, hour timestamptz not null, connection_id text not null, flow text not null,
     declared bigint not null default 0, expected bigint not null default 0, counted bigint not null default 0,
     states text not null default '{}', missing text not null default '[]', broken boolean not null default false, checked_at timestamptz,
     primary key (tenant, hour, connection_id, flow))`,
  `create index conservation_by_check on conservation (tenant, checked_at nulls first, hour)`,
  `create index conservation_broken on conservation (tenant, hour) where broken`,
]
