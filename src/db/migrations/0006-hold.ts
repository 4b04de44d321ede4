import { sql, type Kysely } from 'kysely'

/**
 * Holds: times in which nothing is claimed and nothing leaves. Like the nodes they are the installation's, of no
 * tenant.
 *
 * A hold with `lost_from` and `lost_to` stands for a database that was put back from a copy: what was done between the
 * two is not in it. The row stays after the release, since runs of that time are in doubt for as long as they live.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of STATEMENTS) await sql.raw(statement).execute(db)
}

const STATEMENTS = [
  `create table holds (
     id text primary key, kind text not null, reason text not null,
     began_at timestamptz not null default now(), began_by text not null,
     lost_from timestamptz, lost_to timestamptz, detail text not null default '{}',
     released_at timestamptz, released_by text)`,
  // Asked with every claim: empty as long as no hold is open.
  `create index holds_open on holds (id) where released_at is null`,
  // Runs of which it is known that they did nothing in a hold's lost time, such as those that slept beyond it.
  `create table hold_untouched_runs (
     tenant text not null, run_id text not null, hold_id text not null,
     primary key (tenant, run_id, hold_id))`,
]
