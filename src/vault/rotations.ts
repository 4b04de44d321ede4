import type { Queryable } from '../db/index.ts'
import { listHolders, type Holder } from './holders.ts'
import type { MasterKey } from './masterKey.ts'
import { countSealed } from './sealedColumns.ts'

/** How long a rotating process may be silent before another may go on in its place, by the database's clock. */
export const RUNNER_LEASE_MS = 10_000

/** A turn from one master key to another, begun or over. */
export interface Rotation {
  readonly from: string
  readonly to: string
  readonly begunAt: Date
  readonly finishedAt: Date | undefined
  /** Values that were sealed anew so far. */
  readonly sealedAnew: number
  /** Who is at work, where somebody is: `host pid 123`. */
  readonly runner: string | undefined
}

/** How the master key stands. */
export interface MasterKeyState {
  /** The name of the key that new values are sealed under; `undefined`: there was never a rotation. */
  readonly sealing: string | undefined
  /** Sealed values there are, by the name of their master key. */
  readonly sealed: ReadonlyMap<string, number>
  /** Newest first. */
  readonly rotations: readonly Rotation[]
}

/** The same, and who knows which keys. */
export interface MasterKeyReport extends MasterKeyState {
  /** Names of the keys of the process that asks. */
  readonly present: string
  readonly former: string | undefined
  /** Processes that serve now. */
  readonly nodes: readonly Holder[]
}

interface RotationRow {
  readonly from_key: string
  readonly to_key: string
  readonly begun_at: Date
  readonly finished_at: Date | null
  readonly sealed_anew: string
  readonly runner: string | null
}

export async function readMasterKeyState(client: Queryable): Promise<MasterKeyState> {
  const { rows } = await client.query<{ sealing: string }>('select sealing from master_key')
  const rotations = await client.query<RotationRow>(
    `select from_key, to_key, begun_at, finished_at, sealed_anew::text,
       case when runner_until > clock_timestamp() then runner end as runner
     from master_key_rotations order by begun_at desc`,
  )
  return {
    sealing: rows[0]?.sealing || undefined,
    sealed: (await countSealed(client)).byKey,
    rotations: rotations.rows.map((row) => ({
      from: row.from_key,
      to: row.to_key,
      begunAt: row.begun_at,
      finishedAt: row.finished_at ?? undefined,
      sealedAnew: Number(row.sealed_anew),
      runner: row.runner ?? undefined,
    })),
  }
}

export async function reportMasterKey(client: Queryable, key: MasterKey): Promise<MasterKeyReport> {
  return {
    ...(await readMasterKeyState(client)),
    present: key.wrapper.id,
    former: key.former?.wrapper.id,
    nodes: await listHolders(client),
  }
}

/**
 * From its commit on everything is sealed under `to`. Waits for what is being sealed under the former key. `false`:
 * another process began it meanwhile.
 */
export async function beginRotation(client: Queryable, from: string, to: string): Promise<boolean> {
  const { rowCount } = await client.query('update master_key set sealing = $1 where sealing <> $1', [to])
  if (rowCount === 0) return false
  await client.query('insert into master_key_rotations (to_key, from_key) values ($1, $2)', [to, from])
  return true
}

/** Takes or keeps the rotation for this process; `false`: another one is at it. */
export async function leaseRotation(client: Queryable, to: string, runner: string): Promise<boolean> {
  const { rowCount } = await client.query(
    `update master_key_rotations set runner = $2, runner_until = clock_timestamp() + $3 * interval '1 millisecond'
     where to_key = $1 and (runner is null or runner = $2 or runner_until <= clock_timestamp())`,
    [to, runner, RUNNER_LEASE_MS],
  )
  return rowCount === 1
}

/** Counts what was done, and keeps the lease; `false`: it was lost to another process. */
export async function countTurned(
  client: Queryable,
  to: string,
  runner: string,
  turned: number,
): Promise<boolean> {
  const { rowCount } = await client.query(
    `update master_key_rotations set sealed_anew = sealed_anew + $4,
       runner_until = clock_timestamp() + $3 * interval '1 millisecond'
     where to_key = $1 and runner = $2`,
    [to, runner, RUNNER_LEASE_MS, turned],
  )
  return rowCount === 1
}

export async function releaseRotation(client: Queryable, to: string, runner: string): Promise<void> {
  await client.query(
    `update master_key_rotations set runner = null, runner_until = null where to_key = $1 and runner = $2`,
    [to, runner],
  )
}

/** Gives how many values it sealed anew, over all processes that worked on it; `undefined` if it was over before. */
export async function finishRotation(client: Queryable, to: string): Promise<number | undefined> {
  const { rows } = await client.query<{ sealed_anew: string }>(
    `update master_key_rotations set finished_at = clock_timestamp()
     where to_key = $1 and finished_at is null returning sealed_anew::text`,
    [to],
  )
  return rows[0] && Number(rows[0].sealed_anew)
}
