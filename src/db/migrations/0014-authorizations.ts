import { sql, type Kysely } from 'kysely'

/**
 * Authorizations: a person agrees at the provider, in a browser. A row from the moment it is begun until what came of
 * it is in the connection. `ends_at` is by the nodes' clocks: minutes do not matter.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}

const STATEMENTS = [
  // What the authorization said of the account: settings and base URL, JSON. The configuration does not overwrite it.
  'alter table connections add column account text',
  // state: begun | opened (in a browser) | asking | answered (answer is sealed, not in the grant yet) | choosing
  //   | granted | failed | cancelled. ticket, state_hash, browser: SHA-256 of what the address, the provider's
  //   redirect and the browser's cookie carry. sealed: what opens the exchange. choices: accounts to choose from, JSON.
  `create table authorizations (
     tenant text not null, id text not null, connection_id text not null, connector text not null,
     state text not null, ticket bytea not null, state_hash bytea, browser bytea,
     sealed bytea not null, answer bytea, choices text, wanted text,
     code text, reason text, actor text not null,
     begun_at timestamptz not null, ends_at timestamptz not null, changed_at timestamptz not null,
     primary key (tenant, id))`,
  'create index authorizations_ticket on authorizations (ticket)',
  'create index authorizations_state on authorizations (state_hash)',
  'create index authorizations_connection on authorizations (tenant, connection_id)',
  // Answers of nodes that died before they read them.
  `create index authorizations_answered on authorizations (changed_at) where state = 'answered'`,
]
