import { sql, type Kysely } from 'kysely'

/**
 * Refreshes of OAuth grants. A refresh is a row from before the token endpoint is asked until what it said is in the
 * grant, so that nothing is locked while the endpoint thinks, and an answer outlives the node that got it.
 * `lease_until` is by the database's clock: clocks of nodes differ.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}

const STATEMENTS = [
  // state: asking | answered (answer is sealed, and not in the grant yet) | failed | superseded (another grant stands).
  // replaces: the version of the grant that it was begun for. doubtful: an earlier answer for it may have been lost.
  `create table grant_refreshes (
     tenant text not null, connection_id text not null, id text not null, replaces bigint not null,
     state text not null, lease_until timestamptz not null, answer bytea,
     doubtful boolean not null default false, failures integer not null default 0,
     retry_at timestamptz, code text, reason text, begun_at timestamptz not null default clock_timestamp(),
     primary key (tenant, connection_id, id))`,
  // What nobody has carried to its end: answers of nodes that died, and leases of nodes that died while they asked.
  `create index grant_refreshes_open on grant_refreshes (lease_until) where state in ('asking', 'answered')`,
  // Grants that near their end.
  `create index secrets_expiring on secrets (expires_at) where field = 'grant'`,
]
