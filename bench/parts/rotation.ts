import { Client } from 'pg'
import { systemRandom } from '../../src/base/index.ts'
import { openDatabase, type Database } from '../../src/db/index.ts'
import { fingerprintOf } from '../../src/vault/fingerprint.ts'
import { masterKeyOf } from '../../src/vault/masterKey.ts'
import { seal } from '../../src/vault/seal.ts'
import type { startChild } from './child.ts'

export interface RotationPlay {
  readonly databaseUrl: string
  /** Sealed values; two for each connection. */
  readonly secrets: number
  readonly readers: number
  readonly start: (name: string, given: Record<string, unknown>) => ReturnType<typeof startChild>
  /** Takes the place of the dead process at once, as if its lease had ended. Default: its end is waited for. */
  readonly endLease?: boolean
}

export interface RotationFigures {
  readonly [name: string]: unknown
  readonly secrets: number
  /** From the first rotating process to the end of the second, with the wait for the lease of the first. */
  readonly seconds: number
  /** Values that were turned when the first was killed. */
  readonly killedAt: number
  readonly leftUnderFormerKey: number
  readonly reads: number
  readonly failedReads: number
  readonly writes: number
  readonly failedWrites: number
}

const newKey = (): string => systemRandom.bytes(32).toString('base64')

/**
 * A rotation of the master key that is killed (SIGKILL) when it has turned a third, and carried on by another process,
 * while others read and write secrets all the while.
 */
export async function playRotation({
  databaseUrl,
  secrets,
  readers,
  start,
  endLease = false,
}: RotationPlay): Promise<RotationFigures> {
  const [previous, masterKey] = [newKey(), newKey()]
  const ids = secrets / 2
  const database = openDatabase({ url: databaseUrl, max: 2, statementTimeoutMs: 600_000 })
  const given = { databaseUrl, masterKey, previous, ids }
  try {
    await fillVault(database, previous, ids)
    const reading = await Promise.all(
      Array.from({ length: readers }, (_, i) =>
        start('rotateNode', { ...given, work: 'read', seed: i * 31 }),
      ),
    )
    const held = await holdOne(databaseUrl, previous)
    const first = await start('rotateNode', { ...given, work: 'rotate', seed: 0 })
    const begun = performance.now()
    const died = first.ask({}).catch(() => 'killed')
    const killedAt = await untilTurned(database, secrets / 3)
    first.kill('SIGKILL')
    if ((await died) !== 'killed') throw new Error('The rotation was over before it could be killed.')
    await held.letGo()
    if (endLease)
      await database.pool.query('update master_key_rotations set runner_until = clock_timestamp()')
    const second = await start('rotateNode', { ...given, work: 'rotate', seed: 0 })
    await second.ask({})
    const seconds = Math.round((performance.now() - begun) / 100) / 10
    const counts = await Promise.all(reading.map((one) => one.ask<Record<string, number>>({})))
    await Promise.all([...reading, second].map((one) => one.stop()))
    const total = (name: string): number => counts.reduce((sum, one) => sum + one[name]!, 0)
    const said = counts.map((one) => one['said']).find((text) => (text as unknown) !== '')
    return {
      secrets,
      seconds,
      killedAt,
      leftUnderFormerKey: await countUnder(database, masterKeyOf(previous, 'key', systemRandom).wrapper.id),
      reads: total('reads'),
      failedReads: total('failedReads'),
      writes: total('writes'),
      failedWrites: total('failedWrites'),
      ...(said !== undefined && { said }),
    }
  } finally {
    await database.close()
  }
}

const AT_ONCE = 2_500

/** Connections `con_0`, `con_1` and so on, each with a user name and the password `pw-0`, `pw-1` and so on. */
async function fillVault(database: Database, text: string, ids: number): Promise<void> {
  const key = masterKeyOf(text, 'key', systemRandom)
  await database.pool.query(
    `insert into connections (tenant, id, name, connector, base_url, settings, allow_private, declared)
     select 'default', 'con_' || n, 'c' || n, 'kept', 'https://kept.example', '{}', false, false
     from generate_series(0, $1::integer - 1) n`,
    [ids],
  )
  for (let from = 0; from < ids; from += AT_ONCE) {
    const rows = await Promise.all(
      Array.from({ length: Math.min(AT_ONCE, ids - from) * 2 }, async (_, i) => {
        const n = from + (i >> 1)
        const field = i % 2 === 0 ? 'username' : 'password'
        const place = { tenant: 'default', record: `con_${n}`, field }
        const value = Buffer.from(field === 'username' ? `u${n}` : `pw-${n}`)
        const sealed = await seal(key.wrapper, place, value, systemRandom)
        return { id: place.record, field, sealed, fingerprint: fingerprintOf(key, place, value) }
      }),
    )
    await database.pool.query(
      `insert into secrets (tenant, connection_id, field, sealed, fingerprint)
       select 'default', * from unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[])`,
      [
        rows.map((row) => row.id),
        rows.map((row) => row.field),
        rows.map((row) => row.sealed),
        rows.map((row) => row.fingerprint),
      ],
    )
  }
  await database.pool.query('analyze secrets, connections')
}

/** One more value, which nobody uses, is held: however late the rotation is killed, it was not over. */
async function holdOne(databaseUrl: string, text: string): Promise<{ letGo(): Promise<void> }> {
  const key = masterKeyOf(text, 'key', systemRandom)
  const place = { tenant: 'default', record: 'con_held', field: 'password' }
  const value = Buffer.from('held')
  const sealed = await seal(key.wrapper, place, value, systemRandom)
  const client = new Client({ connectionString: databaseUrl })
  await client.connect()
  await client.query('set idle_in_transaction_session_timeout = 0')
  await client.query(
    `insert into connections (tenant, id, name, connector, base_url, settings, allow_private, declared)
     values ('default', 'con_held', 'held', 'kept', 'https://kept.example', '{}', false, false)`,
  )
  await client.query(
    `insert into secrets (tenant, connection_id, field, sealed, fingerprint) values ('default', 'con_held', 'password', $1, $2)`,
    [sealed, fingerprintOf(key, place, value)],
  )
  await client.query('begin')
  await client.query(`select 1 from secrets where connection_id = 'con_held' for update`)
  return { letGo: () => client.end() }
}

async function untilTurned(database: Database, count: number): Promise<number> {
  for (;;) {
    const { rows } = await database.pool.query<{ turned: string }>(
      'select sealed_anew::text as turned from master_key_rotations',
    )
    const turned = Number(rows[0]?.turned ?? 0)
    if (turned >= count) return turned
  }
}

async function countUnder(database: Database, keyId: string): Promise<number> {
  const { rows } = await database.pool.query<{ count: string }>(
    `select count(*)::text as count from secrets where position($1::bytea in sealed) > 0`,
    [Buffer.from(keyId)],
  )
  return Number(rows[0]!.count)
}
