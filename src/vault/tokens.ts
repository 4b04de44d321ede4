import { createHash, timingSafeEqual } from 'node:crypto'
import { newId, NotFoundError, SECOND, UsageError, type Clock, type Id, type Random } from '../base/index.ts'
import { createExpiringCache } from './expiringCache.ts'
import type { Actor } from '../ledger/index.ts'
import type { RecordEntry, VaultStorage } from './storage.ts'

/** Who speaks to the HTTP API. */
export interface VerifiedToken {
  readonly tenant: string
  readonly id: Id<'tok'>
  readonly name: string
}

export interface ListedToken extends VerifiedToken {
  readonly createdAt: Date
  /** To the minute. */
  readonly lastUsedAt: Date | undefined
  readonly revokedAt: Date | undefined
}

export interface CreatedToken extends VerifiedToken {
  /** `trs_` and 32 random bytes in base64url. Shown once: only its hash is kept. */
  readonly token: string
}

export interface TokenStore {
  create(token: {
    readonly tenant: string
    readonly name: string
    readonly actor: Actor
  }): Promise<CreatedToken>
  /** The token's owner; `undefined` if it is unknown, revoked, or no token at all. */
  verify(token: string): Promise<VerifiedToken | undefined>
  list(tenant: string): Promise<readonly ListedToken[]>
  /** By id. Other nodes see it within {@link VERIFIED_FOR_MS}. */
  revoke(tenant: string, id: string, actor: Actor): Promise<void>
}

/** A verified token is believed this long without asking the database. */
export const VERIFIED_FOR_MS = 10 * SECOND
const MOST_VERIFIED = 1000
const TOKEN = /^trs_[A-Za-z0-9_-]{43}$/

/** Tokens of the HTTP API. */
export function createTokenStore(options: {
  readonly storage: VaultStorage
  readonly clock: Clock
  readonly random: Random
  readonly record: RecordEntry
}): TokenStore {
  const { storage, clock, random, record } = options
  const verified = createExpiringCache<VerifiedToken | undefined>({
    clock,
    keepMs: VERIFIED_FOR_MS,
    most: MOST_VERIFIED,
  })

  async function create(token: { tenant: string; name: string; actor: Actor }): Promise<CreatedToken> {
    const name = token.name.trim()
    if (name === '' || name.length > 100)
      throw new UsageError(
        'token_name_invalid',
        'A token needs a name of at most 100 characters that says what it is for, such as "shop backend".',
      )
    const text = `trs_${random.bytes(32).toString('base64url')}`
    const id = newId('tok')
    await storage.transaction(async (client) => {
      await client.query('insert into tokens (tenant, id, name, hash) values ($1, $2, $3, $4)', [
        token.tenant,
        id,
        name,
        hashOf(text),
      ])
      await record(client, {
        tenant: token.tenant,
        at: clock.now(),
        actor: token.actor,
        action: 'token.created',
        target: id,
        outcome: 'succeeded',
        detail: { name },
      })
    })
    return { tenant: token.tenant, id, name, token: text }
  }

  async function verify(token: string): Promise<VerifiedToken | undefined> {
    if (!TOKEN.test(token)) return undefined
    const hash = hashOf(token)
    const key = hash.toString('base64')
    const owner = await verified.get(key, () => find(hash))
    if (owner === undefined) verified.forget(key) // One made in the next moment works at once.
    return owner
  }

  /**
   * Looks the token up by its hash. How long that takes tells nothing of use: a caller who does not know the token
   * cannot choose its hash. The comparison of the whole hash takes constant time.
   */
  async function find(hash: Buffer): Promise<VerifiedToken | undefined> {
    const { rows } = await storage.reader.query<{
      tenant: string
      id: Id<'tok'>
      name: string
      hash: Buffer
    }>('select tenant, id, name, hash from tokens where hash = $1 and revoked_at is null', [hash])
    const row = rows[0]
    if (row === undefined || !timingSafeEqual(row.hash, hash)) return undefined
    await storage.reader.query(
      `update tokens set last_used_at = now() where tenant = $1 and id = $2
         and (last_used_at is null or last_used_at < now() - interval '1 minute')`,
      [row.tenant, row.id],
    )
    return { tenant: row.tenant, id: row.id, name: row.name }
  }

  async function list(tenant: string): Promise<readonly ListedToken[]> {
    const { rows } = await storage.reader.query<{
      id: Id<'tok'>
      name: string
      created_at: Date
      last_used_at: Date | null
      revoked_at: Date | null
    }>('select id, name, created_at, last_used_at, revoked_at from tokens where tenant = $1 order by id', [
      tenant,
    ])
    return rows.map((row) => ({
      tenant,
      id: row.id,
      name: row.name,
      createdAt: row.created_at,
      lastUsedAt: row.last_used_at ?? undefined,
      revokedAt: row.revoked_at ?? undefined,
    }))
  }

  async function revoke(tenant: string, id: string, actor: Actor): Promise<void> {
    const hash = await storage.transaction(async (client) => {
      const { rows } = await client.query<{ name: string; hash: Buffer }>(
        `update tokens set revoked_at = now() where tenant = $1 and id = $2 and revoked_at is null
         returning name, hash`,
        [tenant, id],
      )
      const row = rows[0]
      if (row === undefined)
        throw new NotFoundError('token', id, 'See those in force with: trestle tokens list')
      await record(client, {
        tenant,
        at: clock.now(),
        actor,
        action: 'token.revoked',
        target: id,
        outcome: 'succeeded',
        detail: { name: row.name },
      })
      return row.hash
    })
    verified.forget(hash.toString('base64'))
  }

  return { create, verify, list, revoke }
}

/** SHA-256 is enough: the token has 256 random bits, so there is nothing to guess slowly. */
function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
