import type { Queryable } from '../../db/index.ts'

/**
 * Puts the database on the simulated clock: `now()` and `clock_timestamp()` of every statement and default mean its
 * time. They are found before PostgreSQL's own, by the search path. To be done before the tables are made.
 */
export async function installDatabaseClock(client: Queryable, database: string): Promise<void> {
  await client.query('create schema simulation')
  await client.query('create table simulation.clock (at timestamptz not null)')
  await client.query(`insert into simulation.clock values ('2000-01-01T00:00:00Z')`)
  for (const name of ['now', 'clock_timestamp'])
    await client.query(
      `create function simulation.${name}() returns timestamptz language sql stable parallel safe as 'select at from simulation.clock'`,
    )
  await client.query(`alter database ${database} set search_path = public, simulation, pg_catalog`)
}

/** Sets the database's time, in milliseconds since 1970. */
export async function setDatabaseClock(client: Queryable, ms: number): Promise<void> {
  await client.query('update simulation.clock set at = $1', [new Date(ms)])
}
