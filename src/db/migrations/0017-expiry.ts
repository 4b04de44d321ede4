import { sql, type Kysely } from 'kysely'

/** When credentials end, who waits for a new one, and what the checks of connections found. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}

const STATEMENTS = [
  // A connection has a new credential, and those who waited for it are let go. It is there from the transaction that
  // wrote the credential until the last of them is through. changed_at: by the database's clock, as runs.updated_at is.
  `create table credential_returns (
     tenant text not null, connection_id text not null, returned_at timestamptz not null,
     changed_at timestamptz not null default now(), used_until timestamptz, released bigint not null default 0,
     primary key (tenant, connection_id))`,
  // When a secret ends and nothing of ours can renew it; of a grant, when its refresh token does.
  // end_moved_at: when that was last put off; a refresh does so for most grants.
  `alter table secrets add column ends_at timestamptz, add column end_moved_at timestamptz`,
  `create index secrets_ending on secrets (tenant, ends_at) where ends_at is not null`,
  // What the check of a connection found last, and when the next is due. used_at: the last answer to any call over it.
  // checker, checking_until: the node that makes it now. refused_since: the provider has not accepted the credential of
  // this version since. former_used_at: the credential that was rotated out was taken instead.
  `create table connection_checks (
     tenant text not null, connection_id text not null, due_at timestamptz not null,
     checker text, checking_until timestamptz, used_at timestamptz,
     checked_at timestamptz, outcome text, code text, reason text, accepted_at timestamptz,
     refused_since timestamptz, refused_at timestamptz, refused_version text, refused_reason text, former_used_at timestamptz,
     primary key (tenant, connection_id))`,
  `create index connection_checks_due on connection_checks (tenant, due_at)`,
]
