import { MINUTE, PermanentError, type Clock, type Random } from '../base/index.ts'
import type { ConnectionState } from '../define/index.ts'
import type { Queryable } from '../db/index.ts'
import type { MasterKey } from './masterKey.ts'
import { open, seal } from './seal.ts'
import { leaveReturn } from './returns.ts'
import { sealingKey } from './sealingKey.ts'
import { GRANT_FIELD } from './secrets.ts'
import { keyOf, type ConnectionRef } from './storage.ts'
import { createExpiringCache } from './expiringCache.ts'

/** What a token endpoint granted. Sealed as one value, so that its parts cannot be mixed. Times in ms since 1970. */
export interface Grant {
  /** Absent until the first refresh, and after an answer that held none. */
  readonly accessToken?: string
  /** Absent where the provider gives none, and for a client that has its tokens by its own credentials. */
  readonly refreshToken?: string
  /** Absent where the provider does not say; the token is then used until it is refused. */
  readonly expiresAt?: number
  readonly obtainedAt: number
  /** When the refresh token itself ends, where the provider says so. */
  readonly refreshExpiresAt?: number
  /** The token endpoint's answer as it came. */
  readonly raw?: string
}

export interface VersionedGrant extends Grant {
  /** Rises with every write. Versions are never used twice, even after a removal. */
  readonly version: string
}

/** A connection's state and grant, as of one moment. */
export interface GrantReading {
  readonly state: ConnectionState
  readonly grant: VersionedGrant | undefined
}

export interface GrantStore {
  /** `undefined` if there is no such connection. */
  read(client: Queryable, connection: ConnectionRef): Promise<GrantReading | undefined>
  /** The same, holding the rows of the connection and its grant until the transaction ends. */
  lock(client: Queryable, connection: ConnectionRef): Promise<GrantReading | undefined>
  /** Puts a grant in place of version `expected`; `undefined` if another one stands there now. */
  replace(
    client: Queryable,
    connection: ConnectionRef,
    expected: string,
    grant: Grant,
  ): Promise<VersionedGrant | undefined>
  /** Puts a grant in place whatever stood there: a person authorized anew. The caller holds the connection's row. */
  plant(client: Queryable, connection: ConnectionRef, grant: Grant): Promise<void>
}

/** Opened grants in memory at once. */
const MOST_OPENED = 1000
const OPENED_FOR_MS = 60_000

interface GrantRow {
  readonly state: ConnectionState
  readonly version: string | null
  readonly sealed: Buffer | null
}

/** Grants in the table `secrets`. `expires_at` is there in clear, for forecasts. */
export function createGrantStore(options: {
  readonly key: MasterKey
  readonly random: Random
  readonly clock: Clock
}): GrantStore {
  const { key, random, clock } = options
  // A version never changes its content, so an opened one may stay; which version counts is read each time.
  const opened = createExpiringCache<Grant>({ clock, keepMs: OPENED_FOR_MS, most: MOST_OPENED })

  const placeOf = (connection: ConnectionRef) => ({
    tenant: connection.tenant,
    record: connection.id,
    field: GRANT_FIELD,
  })
  const sealGrant = async (client: Queryable, connection: ConnectionRef, grant: Grant): Promise<Buffer> => {
    const { wrapper } = await sealingKey(client, key)
    return seal(wrapper, placeOf(connection), Buffer.from(JSON.stringify(grant)), random)
  }
  const openGrant = async (connection: ConnectionRef, sealed: Buffer): Promise<Grant> =>
    JSON.parse((await open(key, placeOf(connection), sealed)).toString()) as Grant

  async function readingOf(
    connection: ConnectionRef,
    row: GrantRow | undefined,
  ): Promise<GrantReading | undefined> {
    if (row === undefined) return undefined
    const { state, version, sealed } = row
    if (version === null || sealed === null) return { state, grant: undefined }
    const digest = sealed.subarray(-16).toString('hex')
    const grant = await opened.get(`${keyOf(connection)}/${version}/${digest}`, () =>
      openGrant(connection, sealed),
    )
    return { state, grant: { ...grant, version } }
  }

  return {
    async read(client, connection) {
      const { rows } = await client.query<GrantRow>(
        `select c.state, s.version::text, s.sealed from connections c
           left join secrets s on s.tenant = c.tenant and s.connection_id = c.id and s.field = $3
         where c.tenant = $1 and c.id = $2`,
        [connection.tenant, connection.id, GRANT_FIELD],
      )
      return readingOf(connection, rows[0])
    },

    async lock(client, connection) {
      // Always the connection first, then its grant, as everything does that writes both: no deadlock.
      const held = await client.query<{ state: ConnectionState }>(
        'select state from connections where tenant = $1 and id = $2 for update',
        [connection.tenant, connection.id],
      )
      const grants = await client.query<{ version: string; sealed: Buffer }>(
        'select version::text, sealed from secrets where tenant = $1 and connection_id = $2 and field = $3 for update',
        [connection.tenant, connection.id, GRANT_FIELD],
      )
      const state = held.rows[0]?.state
      return state === undefined
        ? undefined
        : readingOf(connection, {
            state,
            version: grants.rows[0]?.version ?? null,
            sealed: grants.rows[0]?.sealed ?? null,
          })
    },

    async replace(client, connection, expected, grant) {
      const { rows } = await client.query<{ version: string }>(
        `update secrets set sealed = $5, expires_at = $6, version = version + 1, updated_at = now(), ends_at = $7,
           end_moved_at = case when $7::timestamptz is null then null
             when ends_at is null or $7 > ends_at + interval '1 minute' then $8::timestamptz else end_moved_at end
         where tenant = $1 and connection_id = $2 and field = $3 and version = $4::bigint
         returning version::text`,
        [
          connection.tenant,
          connection.id,
          GRANT_FIELD,
          expected,
          await sealGrant(client, connection, grant),
          expiryOf(grant, RENEWED_AGAIN_MS),
          endOf(grant),
          new Date(clock.now()),
        ],
      )
      return rows[0] && { ...grant, version: rows[0].version }
    },

    async plant(client, connection, grant) {
      // Begins at the time, so that a version is not used again after a removal; see replace. A grant is changed by
      // version alone and has no fingerprint.
      await client.query(
        `insert into secrets (tenant, connection_id, field, version, sealed, fingerprint, expires_at, ends_at, end_moved_at)
         values ($1, $2, $3, $4::bigint, $5, ''::bytea, $6, $7, $8)
         on conflict (tenant, connection_id, field) do update
           set sealed = excluded.sealed, expires_at = excluded.expires_at, ends_at = excluded.ends_at,
             end_moved_at = excluded.end_moved_at, version = secrets.version + 1, updated_at = now()`,
        [
          connection.tenant,
          connection.id,
          GRANT_FIELD,
          String(clock.now()),
          await sealGrant(client, connection, grant),
          expiryOf(grant, 0),
          endOf(grant),
          endOf(grant) && new Date(clock.now()),
        ],
      )
      await leaveReturn(client, connection, clock)
    },
  }
}

/** Longest raw answer that stays in a grant, in characters. */
const RAW_LIMIT = 64 * 1024

/** The grant that a token endpoint's answer gives. Where it has no new refresh token, the one asked with stays. */
export function grantFrom(
  answer: Partial<Omit<Grant, 'obtainedAt' | 'raw'>> & { readonly raw: string },
  at: number,
  askedWith: string | undefined,
): Grant {
  const refreshToken = answer.refreshToken ?? askedWith
  return {
    obtainedAt: at,
    ...(refreshToken === undefined ? {} : { refreshToken }),
    ...(answer.raw.length > RAW_LIMIT ? {} : { raw: answer.raw }),
    ...(answer.accessToken === undefined ? {} : { accessToken: answer.accessToken }),
    ...(answer.expiresAt === undefined ? {} : { expiresAt: answer.expiresAt }),
    ...(answer.refreshExpiresAt === undefined ? {} : { refreshExpiresAt: answer.refreshExpiresAt }),
  }
}

/** When its refresh token ends, so that nothing of ours can renew it. */
function endOf(grant: Grant): Date | null {
  return grant.refreshExpiresAt === undefined ? null : new Date(grant.refreshExpiresAt)
}

/** An answer that held no access token is not asked for anew at once, as it would most likely be the same. */
const RENEWED_AGAIN_MS = 15 * MINUTE

/** When it is to be renewed by; one that has no access token, `after` it came. */
function expiryOf({ accessToken, expiresAt, obtainedAt }: Grant, after: number): Date | null {
  if (accessToken === undefined) return new Date(obtainedAt + after)
  return expiresAt === undefined ? null : new Date(expiresAt)
}

/** The grant of a person that has no refresh token ends with its access token, and nothing of ours can renew it. */
export function lasting(grant: Grant): Grant {
  const { accessToken, refreshToken, expiresAt } = grant
  if (accessToken === undefined || refreshToken !== undefined || expiresAt === undefined) return grant
  return { ...grant, refreshExpiresAt: expiresAt }
}

/**
 * Whether a token should be refreshed before it is used: it is missing, or within `aheadMs` of its end. A short-lived
 * token is refreshed in the second half of its life, lest every call refresh it.
 */
export function shouldRefresh(grant: Grant, now: number, aheadMs: number): boolean {
  if (grant.accessToken === undefined) return true
  if (grant.expiresAt === undefined) return false
  const lifetime = grant.expiresAt - grant.obtainedAt
  return now >= grant.expiresAt - Math.min(aheadMs, lifetime / 2)
}

/** Whether the token may still be sent, when a new one cannot be had now. */
export function isUsable(grant: Grant, now: number): boolean {
  return grant.accessToken !== undefined && (grant.expiresAt === undefined || now < grant.expiresAt)
}

/** The grant to work with. Throws where a person must authorize first. */
export function grantOf(
  connection: { readonly name: string },
  reading: GrantReading | undefined,
): VersionedGrant {
  if (reading === undefined || reading.state === 'revoked')
    throw new PermanentError(
      'connection_revoked',
      `Connection "${connection.name}" was removed. Add it again with: trestle connections add ${connection.name}`,
    )
  if (reading.state === 'needs_reauthorization' || reading.grant === undefined)
    throw needsReauthorization(connection, 'Its grant was refused, or it never had one.')
  return reading.grant
}

export function needsReauthorization(connection: { readonly name: string }, why: string): PermanentError {
  return new PermanentError(
    'needs_reauthorization',
    `Connection "${connection.name}" must be authorized again. ${why} Authorize Trestle at the provider with: trestle connections add ${connection.name}`,
  )
}
