import { createHash } from 'node:crypto'
import { SECOND, type Clock, type Random } from '../base/index.ts'
import type { ConnectionState } from '../define/index.ts'
import type { Queryable } from '../db/index.ts'
import type { Actor } from '../ledger/index.ts'
import { createExpiringCache } from './expiringCache.ts'
import type { MasterKey } from './masterKey.ts'
import { fingerprintOf, isFingerprint } from './fingerprint.ts'
import { open, seal } from './seal.ts'
import { sealingKey } from './sealingKey.ts'
import { keyOf, type ConnectionRef, type RecordEntry, type VaultStorage } from './storage.ts'

/** The field under which an OAuth grant is kept; see grants.ts. It is no secret that a person gives. */
export const GRANT_FIELD = 'grant'

/** Opened secrets are kept in memory this long; a change by another process is seen at the latest then. */
export const OPENED_FOR_MS = 5 * SECOND
/** Connections whose secrets are in memory at once. */
const MOST_OPENED = 1000

export interface SecretStoreOptions {
  readonly storage: VaultStorage
  readonly key: MasterKey
  readonly random: Random
  readonly clock: Clock
  readonly record: RecordEntry
}

export interface SecretChange {
  readonly connection: ConnectionRef
  readonly field: string
  readonly value: string
  readonly actor: Actor
  /** When it ends, where that is known. Default: not known. */
  readonly endsAt?: Date | undefined
  /** Where it takes the place of others that count for a while longer: what its entry in the ledger says of that. */
  readonly rotation?: { readonly name: string; readonly field: string; readonly formerUntil: string }
}

/** The secrets of one connection, each opened when it is asked for. */
export interface ConnectionSecrets {
  readonly state: ConnectionState
  readonly fields: readonly string[]
  /** Changes whenever one of the secrets does. Tells nothing about them. */
  readonly version: string
  /** Throws `secret_unreadable`; `undefined` if there is no such field. */
  value(field: string): Promise<string | undefined>
  /** Until when it counts, in milliseconds since 1970, where it was rotated out. */
  expiresAt(field: string): number | undefined
  /** The same, with nothing of it opened yet. */
  closed(): ConnectionSecrets
}

interface SecretRow {
  readonly state: ConnectionState
  readonly field: string | null
  readonly sealed: Buffer
  readonly fingerprint: Buffer
  readonly expires_at: Date | null
}

export interface SecretStore {
  /**
   * Seals a secret, unless the same one is sealed already; tells whether it was written. The caller's transaction
   * holds the connection's row, and calls {@link forget} once it is committed.
   */
  put(client: Queryable, change: SecretChange): Promise<boolean>
  /**
   * Puts a secret that is being replaced aside into the field `into`, where it counts until `until`. The caller's
   * transaction holds the connection's row. Gives its value.
   */
  retire(
    client: Queryable,
    connection: ConnectionRef,
    field: string,
    aside: { readonly into: string; readonly until: Date },
  ): Promise<string>
  /** Whether one of these fields holds this value. */
  isAmong(
    client: Queryable,
    connection: ConnectionRef,
    fields: readonly string[],
    value: string,
  ): Promise<boolean>
  /** Deletes these fields. */
  remove(client: Queryable, connection: ConnectionRef, fields: readonly string[], actor: Actor): Promise<void>
  /** `undefined` if there is no such connection. */
  read(connection: ConnectionRef): Promise<ConnectionSecrets | undefined>
  forget(connection: ConnectionRef): void
}

export function createSecretStore(options: SecretStoreOptions): SecretStore {
  const { storage, key, random, clock, record } = options
  const kept = createExpiringCache<ConnectionSecrets | undefined>({
    clock,
    keepMs: OPENED_FOR_MS,
    most: MOST_OPENED,
  })

  async function put(client: Queryable, change: SecretChange): Promise<boolean> {
    const { connection, field } = change
    const found = await client.query<{ fingerprint: Buffer }>(
      'select fingerprint from secrets where tenant = $1 and connection_id = $2 and field = $3',
      [connection.tenant, connection.id, field],
    )
    const place = { tenant: connection.tenant, record: connection.id, field }
    const value = Buffer.from(change.value)
    const known = found.rows[0]?.fingerprint
    if (known !== undefined && isFingerprint(key, place, value, known)) {
      if (change.endsAt !== undefined) await setEnd(client, connection, field, change.endsAt)
      return false
    }
    const current = await sealingKey(client, key)
    const sealed = await seal(current.wrapper, place, value, random)
    const written = await client.query<{ version: string }>(
      `insert into secrets (tenant, connection_id, field, sealed, fingerprint, ends_at) values ($1, $2, $3, $4, $5, $6)
       on conflict (tenant, connection_id, field) do update
         set sealed = excluded.sealed, fingerprint = excluded.fingerprint, ends_at = excluded.ends_at, version = secrets.version + 1, updated_at = now()
       returning version::text`,
      [
        connection.tenant,
        connection.id,
        field,
        sealed,
        fingerprintOf(current, place, value),
        change.endsAt ?? null,
      ],
    )
    await record(client, {
      tenant: connection.tenant,
      at: clock.now(),
      actor: change.actor,
      action:
        found.rows.length === 0 && change.rotation === undefined ? 'credential.added' : 'credential.rotated',
      target: connection.id,
      outcome: 'succeeded',
      connectionId: connection.id,
      detail: {
        field,
        version: written.rows[0]!.version,
        ...(change.endsAt && { endsAt: change.endsAt.toISOString() }),
        ...change.rotation,
      },
    })
    return true
  }

  async function retire(
    client: Queryable,
    connection: ConnectionRef,
    field: string,
    { into, until }: { readonly into: string; readonly until: Date },
  ): Promise<string> {
    const { rows } = await client.query<{ sealed: Buffer }>(
      'select sealed from secrets where tenant = $1 and connection_id = $2 and field = $3',
      [connection.tenant, connection.id, field],
    )
    const from = { tenant: connection.tenant, record: connection.id, field }
    const to = { ...from, field: into }
    const value = await open(key, from, rows[0]!.sealed)
    const current = await sealingKey(client, key)
    await client.query(
      'insert into secrets (tenant, connection_id, field, sealed, fingerprint, expires_at) values ($1, $2, $3, $4, $5, $6)',
      [
        connection.tenant,
        connection.id,
        into,
        await seal(current.wrapper, to, value, random),
        fingerprintOf(current, to, value),
        until,
      ],
    )
    return value.toString()
  }

  async function isAmong(
    client: Queryable,
    connection: ConnectionRef,
    fields: readonly string[],
    value: string,
  ): Promise<boolean> {
    if (fields.length === 0) return false
    const { rows } = await client.query<{ field: string; fingerprint: Buffer }>(
      'select field, fingerprint from secrets where tenant = $1 and connection_id = $2 and field = any($3)',
      [connection.tenant, connection.id, fields],
    )
    return rows.some(({ field, fingerprint }) =>
      isFingerprint(
        key,
        { tenant: connection.tenant, record: connection.id, field },
        Buffer.from(value),
        fingerprint,
      ),
    )
  }

  async function remove(
    client: Queryable,
    connection: ConnectionRef,
    fields: readonly string[],
    actor: Actor,
  ): Promise<void> {
    const removed = await client.query<{ field: string }>(
      'delete from secrets where tenant = $1 and connection_id = $2 and field = any($3) returning field',
      [connection.tenant, connection.id, fields],
    )
    if (removed.rows.length === 0) return
    await record(client, {
      tenant: connection.tenant,
      at: clock.now(),
      actor,
      action: 'credential.revoked',
      target: connection.id,
      outcome: 'succeeded',
      connectionId: connection.id,
      detail: {
        fields: removed.rows
          .map((row) => row.field)
          .sort()
          .join(', '),
      },
    })
  }

  async function load(connection: ConnectionRef): Promise<ConnectionSecrets | undefined> {
    const { rows } = await storage.reader.query<SecretRow>(
      `select c.state, s.field, s.sealed, s.fingerprint, s.expires_at from connections c
         left join secrets s on s.tenant = c.tenant and s.connection_id = c.id and s.field <> $3
       where c.tenant = $1 and c.id = $2 order by s.field`,
      [connection.tenant, connection.id, GRANT_FIELD],
    )
    return rows.length === 0 ? undefined : secretsIn(rows, connection)
  }

  function secretsIn(rows: readonly SecretRow[], connection: ConnectionRef): ConnectionSecrets {
    const sealed = new Map(rows.flatMap((row) => (row.field === null ? [] : [[row.field, row] as const])))
    const opened = new Map<string, Promise<string>>()
    const digest = createHash('sha256')
    for (const row of sealed.values()) digest.update(row.fingerprint)
    return {
      state: rows[0]!.state,
      fields: [...sealed.keys()],
      version: digest.digest('base64url').slice(0, 16),
      async value(field) {
        const row = sealed.get(field)
        if (row === undefined) return undefined
        let value = opened.get(field)
        if (value === undefined) {
          const place = { tenant: connection.tenant, record: connection.id, field }
          value = open(key, place, row.sealed).then((bytes) => bytes.toString())
          opened.set(field, value)
          value.catch(() => opened.delete(field))
        }
        return value
      },
      expiresAt: (field) => sealed.get(field)?.expires_at?.getTime(),
      closed: () => secretsIn(rows, connection),
    }
  }

  return {
    put,
    retire,
    isAmong,
    remove,
    read: (connection) => kept.get(keyOf(connection), () => load(connection)),
    forget: (connection) => kept.forget(keyOf(connection)),
  }
}

/** Says when a secret ends; the secret itself stays. */
export async function setEnd(
  client: Queryable,
  connection: ConnectionRef,
  field: string,
  endsAt: Date | null,
): Promise<boolean> {
  const { rowCount } = await client.query(
    `update secrets set ends_at = $4 where tenant = $1 and connection_id = $2 and field = $3
       and ends_at is distinct from $4`,
    [connection.tenant, connection.id, field, endsAt],
  )
  return (rowCount ?? 0) > 0
}
