import { sql, type Kysely } from 'kysely'

/** Breakers that all nodes share, one record for each outage, and which runs wait for its end. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}

const STATEMENTS = [
  // A breaker that is not closed; none: it is closed. op_group: the group of operations, '' for the whole connection.
  // until: the next probe. prober, probing_until: the node that makes it. returned_at, used_until, released, backlog: how
  // those who waited are let go.
  `create table breakers (
     tenant text not null, connection_id text not null, op_group text not null, connector text not null,
     state text not null, outage_id text not null, openings integer not null default 0, until timestamptz,
     prober text, probing_until timestamptz,
     returned_at timestamptz, used_until timestamptz, released bigint not null default 0, backlog boolean not null default true,
     updated_at timestamptz not null default now(),
     primary key (tenant, connection_id, op_group))`,
  // cause: failing, slow or isolated. returned_at: a probe found the provider back. ended_at: those who waited are through.
  // absorbed_by: the outage of the whole connection that this one turned out to be a part of.
  `create table outages (
     tenant text not null, id text not null, connection_id text not null, op_group text not null, connector text not null,
     cause text not null, code text not null, reason text not null, opened_by text not null, closed_by text,
     began_at timestamptz not null, returned_at timestamptz, ended_at timestamptz, absorbed_by text,
     probes bigint not null default 0, last_probe_at timestamptz, last_answer text, released bigint not null default 0,
     primary key (tenant, id))`,
  `create index outages_open on outages (tenant, connection_id) where ended_at is null`,
  // Connection and group whose breaker the run waits for, or was let go by and is not through yet: 'con_…/invoices'.
  `alter table runs add column parked_for text`,
  `create index runs_parked_for on runs (tenant, parked_for, state, id) where parked_for is not null`,
]
