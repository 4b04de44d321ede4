import { sql, type Kysely } from 'kysely'

/**
 * The first schema. Every primary key begins with the tenant, so that the tables can be distributed by it.
 * Bodies and payloads are bytea: jsonb merges duplicate keys and refuses \u0000.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}

const STATEMENTS = [
  // --- connections and their secrets ------------------------------------------------------------------
  `create table connections (
     tenant text not null, id text not null, name text not null, connector text not null,
     state text not null default 'active', base_url text not null, token_url text, settings text not null default '{}',
     allow_private boolean not null default false, declared boolean not null default true,
     created_at timestamptz not null default now(), updated_at timestamptz not null default now(),
     primary key (tenant, id), unique (tenant, name))`,
  // One sealed value: AES-256-GCM, AAD tenant|connection|field. version rises with every write (compare-and-set).
  `create table secrets (
     tenant text not null, connection_id text not null, field text not null, version bigint not null default 1,
     sealed bytea not null, fingerprint bytea not null, expires_at timestamptz,
     created_at timestamptz not null default now(), updated_at timestamptz not null default now(),
     primary key (tenant, connection_id, field))`,
  `create table endpoints (
     tenant text not null, id text not null, path text not null, connection_id text not null,
     created_at timestamptz not null default now(),
     primary key (tenant, id), unique (tenant, path))`,
  `create table tokens (
     tenant text not null, id text not null, name text not null, hash bytea not null,
     created_at timestamptz not null default now(), last_used_at timestamptz, revoked_at timestamptz,
     primary key (tenant, id), unique (tenant, hash))`,

  // --- what came in -----------------------------------------------------------------------------------
  `create table deliveries (
     tenant text not null, id text not null, endpoint_id text, connection_id text not null,
     state text not null, reason text, headers bytea not null, content_type text not null default '', body bytea not null,
     event_count integer not null default 0, received_at timestamptz not null default now(),
     primary key (tenant, id))`,
  // Recognises an event again, for 400 days, after its payload is gone. kind: 'id' or 'content'.
  `create table event_keys (
     tenant text not null, connection_id text not null, key_hash bytea not null, kind text not null,
     event_id text not null, created_at timestamptz not null default now(),
     primary key (tenant, connection_id, key_hash))`,
  // seq orders listing; visible_xid (the writing transaction) lets a cursor stop before transactions still open.
  `create table events (
     tenant text not null, id text not null, connection_id text not null, delivery_id text not null,
     type text not null, provider_event_id text, state text not null, reason text, reason_path text,
     data_at text not null, duplicate_of text, summary text,
     occurred_at timestamptz, received_at timestamptz not null default now(),
     visible_xid xid8 not null default pg_current_xact_id(),
     primary key (tenant, id))`,
  `create index events_in_order on events (tenant, visible_xid, id)`,
  `create index events_by_connection on events (tenant, connection_id, received_at)`,
  `create index events_not_dispatched on events (tenant, state, id) where state <> 'dispatched'`,
  // Values of event fields that waitFor may match on.
  `create table event_fields (
     tenant text not null, connector text not null, type text not null, field text not null,
     value text not null, event_id text not null, connection_id text not null, received_at timestamptz not null default now(),
     primary key (tenant, connector, type, field, value, event_id))`,
  `create table rejected_counts (
     tenant text not null, endpoint_id text not null, minute timestamptz not null, reason text not null,
     count bigint not null, primary key (tenant, endpoint_id, minute, reason))`,
  `create table rejected_samples (
     tenant text not null, endpoint_id text not null, slot integer not null, reason text not null,
     headers bytea not null, body bytea not null, received_at timestamptz not null default now(),
     primary key (tenant, endpoint_id, slot))`,

  // --- runs -------------------------------------------------------------------------------------------
  `create table lanes (
     tenant text not null, flow text not null, lane_key text not null, last_seq bigint not null,
     primary key (tenant, flow, lane_key))`,
  // fence rises with every claim and every taking back; each write of an execution carries it.
  // lane_open: the run still holds its place in its lane. waits: what a suspended run waits for (JSON).
  // claims: claims since the last progress. undo_to: the end that an undoing run is on its way to.
  `create table runs (
     tenant text not null, id text not null, flow text not null, flow_version integer not null,
     event_id text not null, root_run_id text not null, replay_of text,
     lane_key text, lane_seq bigint, lane_open boolean not null default false,
     state text not null, fence bigint not null default 0, node_id text, claimed_at timestamptz,
     due_at timestamptz, waits text, claims integer not null default 0, progress_seq integer not null default 0,
     undo_to text, reason_code text, reason text, failed_step text, result bytea,
     created_at timestamptz not null default now(), updated_at timestamptz not null default now(),
     finished_at timestamptz, visible_xid xid8 not null default pg_current_xact_id(),
     primary key (tenant, id)) with (fillfactor = 80)`,
  `create index runs_in_order on runs (tenant, visible_xid, id)`,
  `create index runs_due on runs (due_at) where state in ('queued', 'waiting', 'parked', 'undoing')`,
  `create index runs_running on runs (node_id) where state in ('running', 'undoing')`,
  `create index runs_lane on runs (tenant, flow, lane_key, lane_seq) where lane_open`,
  `create index runs_by_event on runs (tenant, event_id)`,
  `create index runs_for_people on runs (tenant, state, id) where state in ('parked', 'held', 'dead_lettered', 'undoing')`,
  // One finished step. seq orders delivery to the flow's code. outcome: succeeded, failed, skipped.
  `create table journal (
     tenant text not null, run_id text not null, seq integer not null, kind text not null,
     name text not null, ordinal integer not null, connection_id text, operation text, input_digest bytea,
     outcome text not null, result bytea, error_code text, error text, undo bytea, summary text,
     finished_at timestamptz not null default now(),
     primary key (tenant, run_id, seq))`,
  `create unique index journal_steps on journal (tenant, run_id, name, ordinal)`,
  // One try of a step. state null: begun, outcome not known yet.
  `create table attempts (
     tenant text not null, run_id text not null, name text not null, ordinal integer not null, number integer not null,
     id text not null, connection_id text, operation text, generation integer not null default 0,
     idempotency_key text, request bytea, state text, status integer, code text, reason text,
     begun_at timestamptz not null default now(), finished_at timestamptz,
     primary key (tenant, run_id, name, ordinal, number))`,
  // Runs that wait for an event, indexed by what they wait for.
  `create table waits (
     tenant text not null, run_id text not null, name text not null, ordinal integer not null,
     connector text not null, connection_id text, type text not null, field text not null, value text not null,
     since timestamptz not null, created_at timestamptz not null default now(),
     primary key (tenant, run_id, name, ordinal))`,
  `create index waits_by_value on waits (tenant, connector, type, field, value)`,
  // Things kept back because their shape cannot be trusted. kind: 'event' or 'answer'.
  `create table quarantine (
     tenant text not null, id text not null, kind text not null, state text not null default 'quarantined',
     connection_id text not null, event_id text, run_id text, step_name text, step_ordinal integer, operation text,
     path text not null, reason text not null, payload bytea,
     created_at timestamptz not null default now(), settled_at timestamptz, settled_by text,
     primary key (tenant, id))`,
  `create index quarantine_open on quarantine (tenant, id) where state = 'quarantined'`,

  // --- nodes ------------------------------------------------------------------------------------------
  `create table nodes (
     id text primary key, roles text not null, version text not null, host text not null, pid integer not null,
     started_at timestamptz not null default now(), heartbeat_at timestamptz not null default now(), stopped_at timestamptz)`,

  // --- ledger -----------------------------------------------------------------------------------------
  // entry: the canonical JSON (RFC 8785) whose SHA-256 is the Merkle leaf; the other columns are copies for finding it.
  // day: the UTC day of the batch's latest entry, so that a batch is never spread over two partitions.
  `create table ledger (
     tenant text not null, day date not null, id text not null, batch_id text not null, position integer not null,
     at timestamptz not null, actor text not null, action text not null, target text not null, outcome text not null,
     run_id text, connection_id text, entry bytea not null, visible_xid xid8 not null default pg_current_xact_id(),
     primary key (tenant, day, id)) partition by range (day)`,
  // Catches an entry of a day without a partition of its own, so that none is ever refused.
  `create table ledger_default partition of ledger default`,
  `create index ledger_by_run on ledger (tenant, run_id) where run_id is not null`,
  `create index ledger_by_target on ledger (tenant, target)`,
  `create index ledger_in_order on ledger (tenant, visible_xid, id)`,
  `create table ledger_batches (
     id text primary key, at timestamptz not null, entries integer not null, root bytea not null, block bigint)`,
  `create index ledger_batches_by_block on ledger_batches (block, id)`,
  `create table ledger_blocks (
     number bigint primary key, at timestamptz not null, batches integer not null, entries bigint not null, root bytea not null,
     previous bytea not null, key_id text not null, signature bytea not null)`,

  // Small durable facts of the installation, such as the ledger's public key.
  `create table installation (name text primary key, value bytea not null, updated_at timestamptz not null default now())`,
]
