import { sql, type Kysely } from 'kysely'

/** Under which master key new values are sealed, who knows which keys, and how far each rotation came. */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}

const STATEMENTS = [
  // One row. sealing: the id of the master key; '' until the first rotation: the one that always was. Whoever seals
  // shares its lock until the commit, so that nothing is sealed under a former key once another stands here.
  `create table master_key (one boolean primary key default true check (one), sealing text not null)`,
  `insert into master_key (sealing) values ('')`,
  // Processes that serve, with the ids of the keys that each of them can open with.
  `create table master_key_holders (
     id text primary key, host text not null, pid integer not null, keys text[] not null,
     seen_at timestamptz not null default clock_timestamp())`,
  // sealed_anew: values so far. runner: the process at work, until its lease ends by the database's clock.
  `create table master_key_rotations (
     to_key text primary key, from_key text not null, begun_at timestamptz not null default clock_timestamp(),
     finished_at timestamptz, sealed_anew bigint not null default 0, runner text, runner_until timestamptz)`,
]
