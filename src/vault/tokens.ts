import { createHash, timingSafeEqual } from 'node:crypto'
import {
  DAY,
  newId,
  NotFoundError,
  SECOND,
  UsageError,
  type Clock,
  type Id,
  type Random,
} from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import type { Actor, LedgerAction } from '../ledger/index.ts'
import { createExpiringCache } from './expiringCache.ts'
import { ALL_RIGHTS, beyond, type Rights } from './rights.ts'
import type { RecordEntry, VaultStorage } from './storage.ts'
import {
  countInForce,
  insertToken,
  listedOf,
  readToken,
  readTokenByHash,
  readTokens,
  verifiedOf,
  type TokenRow,
} from './tokenRows.ts'
import { isTokenText, newTokenText, startOf } from './tokenText.ts'
import { createTokenUses } from './tokenUses.ts'

/** Who speaks to the HTTP API, and what they may do. */
export interface VerifiedToken {
  readonly tenant: string
  readonly id: Id<'tok'>
  readonly name: string
  readonly rights: Rights
  /** `undefined`: never. */
  readonly expiresAt: Date | undefined
}

export interface ListedToken extends VerifiedToken {
  /** Its first characters, such as `trs_3kP9xA`; `undefined` for one of before they were kept. */
  readonly start: string | undefined
  readonly createdAt: Date
  readonly createdBy: string | undefined
  /** To some minutes. */
  readonly lastUsedAt: Date | undefined
  readonly revokedAt: Date | undefined
  /** The token that took its place. */
  readonly replacedBy: Id<'tok'> | undefined
}

export interface CreatedToken extends VerifiedToken {
  /** Shown once: only its hash is kept. */
  readonly token: string
}

/** What came of looking at a token's text. */
export type JudgedToken =
  | { readonly as: 'in_force'; readonly token: VerifiedToken }
  /** No token, or one that there never was. */
  | { readonly as: 'unknown' }
  | { readonly as: 'expired'; readonly token: VerifiedToken; readonly at: Date }
  | { readonly as: 'revoked'; readonly token: VerifiedToken; readonly at: Date }

/** Who makes or rotates a token: nobody gives more than they have, nor for longer. */
export interface Granter {
  readonly actor: Actor
  /** Default: {@link ALL_RIGHTS}, those of a person at the command line of the machine. */
  readonly rights?: Rights
  /** When their own token ends. Default: never. */
  readonly expiresAt?: Date | undefined
}

export interface NewToken extends Granter {
  readonly tenant: string
  /** At most 100 characters that say what it is for. */
  readonly name: string
  /** Default: a viewer. */
  readonly grants?: Rights
  /** Milliseconds from now until it ends, at most {@link LONGEST_LIFE_MS}. Default: it does not. */
  readonly lifeMs?: number | undefined
}

export interface Rotation extends Granter {
  /** How long the old token is good beside the new one. Default {@link OVERLAP_MS}; 0: it ends at once. */
  readonly overlapMs?: number | undefined
  /** Milliseconds until the new one ends. Default: as long as the old one was made for. */
  readonly lifeMs?: number | undefined
}

export interface RotatedToken {
  readonly made: CreatedToken
  /** The old one, and when it ends. */
  readonly old: { readonly id: Id<'tok'>; readonly expiresAt: Date }
}

export interface TokenStore {
  /** Throws `token_rights_beyond` where more is given than the granter has. */
  create(token: NewToken): Promise<CreatedToken>
  verify(text: string): Promise<JudgedToken>
  /** The same for a token whose id is known, such as that of a session that it opened. */
  inForce(tenant: string, id: string): Promise<boolean>
  /** Oldest first; at most `TOKENS_LISTED`, all that were not revoked among them. */
  list(tenant: string): Promise<readonly ListedToken[]>
  /** By id. Other nodes see it within {@link VERIFIED_FOR_MS}. */
  revoke(tenant: string, id: string, actor: Actor): Promise<void>
  /** Makes one of the same name and rights, and lets the old one end after an overlap. */
  rotate(tenant: string, id: string, rotation: Rotation): Promise<RotatedToken>
  /** Writes down when tokens were last used; happens by itself every minute. */
  saveUses(): Promise<void>
}

/** A verified token is believed this long without asking the database; its expiry is looked at each time. */
export const VERIFIED_FOR_MS = 10 * SECOND
export const OVERLAP_MS = DAY
export const LONGEST_OVERLAP_MS = 30 * DAY
export const LONGEST_LIFE_MS = 3650 * DAY
/** Tokens in force that a tenant may have. */
export const MOST_TOKENS = 1_000
const MOST_VERIFIED = 1_000
const NAME_LIMIT = 100

/** Tokens of the HTTP API. */
export function createTokenStore(options: {
  readonly storage: VaultStorage
  readonly clock: Clock
  readonly random: Random
  readonly record: RecordEntry
}): TokenStore {
  const { storage, clock, random, record } = options
  const uses = createTokenUses({ storage, clock })
  const verified = createExpiringCache<JudgedToken>({ clock, keepMs: VERIFIED_FOR_MS, most: MOST_VERIFIED })

  const note = (
    client: Queryable,
    entry: { tenant: string; actor: Actor; action: LedgerAction; target: string; detail: unknown },
  ): Promise<void> => record(client, { ...entry, at: clock.now(), outcome: 'succeeded' })

  /** Makes the text and the row; what it may do was looked at. */
  async function make(
    client: Queryable,
    token: Omit<VerifiedToken, 'id' | 'expiresAt'> & { lifeMs: number | undefined; by: Actor },
  ): Promise<CreatedToken> {
    const { tenant, name, rights, lifeMs, by } = token
    const text = newTokenText(random)
    const now = clock.now()
    const made = {
      tenant,
      id: newId('tok'),
      name,
      rights,
      expiresAt: lifeMs === undefined ? undefined : new Date(now + lifeMs),
    }
    await insertToken(client, {
      ...made,
      hash: hashOf(text),
      start: startOf(text),
      createdAt: now,
      createdBy: by,
    })
    return { ...made, token: text }
  }

  async function create(wish: NewToken): Promise<CreatedToken> {
    const { tenant, actor, grants = { role: 'viewer' }, lifeMs } = wish
    const name = readName(wish.name)
    refuseBeyond(wish, grants, lifeMs, clock.now())
    if ((await countInForce(storage.reader, tenant, clock.now())) >= MOST_TOKENS)
      throw new UsageError(
        'state_conflict',
        `There are ${MOST_TOKENS} tokens in force, which is the limit. Revoke those that nobody uses: trestle tokens list`,
      )
    return storage.transaction(async (client) => {
      const made = await make(client, { tenant, name, rights: grants, lifeMs, by: actor })
      const detail = { name, ...rightsDetail(made) }
      await note(client, { tenant, actor, action: 'token.created', target: made.id, detail })
      return made
    })
  }

  async function verify(text: string): Promise<JudgedToken> {
    if (!isTokenText(text)) return { as: 'unknown' }
    const hash = hashOf(text)
    const key = hash.toString('base64')
    const found = await verified.get(key, () => find(hash))
    if (found.as !== 'in_force') {
      verified.forget(key) // One made in the next moment works at once, and no memory is spent on it.
      return found
    }
    const { token } = found
    if (token.expiresAt !== undefined && token.expiresAt.getTime() <= clock.now())
      return { as: 'expired', token, at: token.expiresAt }
    uses.note(token)
    return found
  }

  /**
   * Looks the token up by its hash. How long that takes tells nothing of use: a caller who does not know the token
   * cannot choose its hash. The comparison of the whole hash takes constant time.
   */
  async function find(hash: Buffer): Promise<JudgedToken> {
    const row = await readTokenByHash(storage.reader, hash)
    if (row === undefined || !timingSafeEqual(row.hash, hash)) return { as: 'unknown' }
    return row.revoked_at === null
      ? { as: 'in_force', token: verifiedOf(row) }
      : { as: 'revoked', token: verifiedOf(row), at: row.revoked_at }
  }

  async function revoke(tenant: string, id: string, actor: Actor): Promise<void> {
    await storage.transaction(async (client) => {
      const row = await readToken(client, tenant, id, 'for update')
      if (row === undefined || row.revoked_at !== null) throw tokenMissing(id)
      await client.query(
        'update tokens set revoked_at = to_timestamp($3::float8 / 1000) where tenant = $1 and id = $2',
        [tenant, id, clock.now()],
      )
      await note(client, { tenant, actor, action: 'token.revoked', target: id, detail: { name: row.name } })
    })
    await forget(tenant, id)
  }

  async function rotate(tenant: string, id: string, rotation: Rotation): Promise<RotatedToken> {
    const { actor, overlapMs = OVERLAP_MS } = rotation
    if (overlapMs > LONGEST_OVERLAP_MS)
      throw new UsageError(
        'token_overlap_invalid',
        'Two tokens may be good side by side for 30 days at most.',
      )
    const rotated = await storage.transaction(async (client) => {
      const row = await readToken(client, tenant, id, 'for update')
      if (row === undefined) throw tokenMissing(id)
      refuseOver(row, clock.now())
      const { name, rights } = verifiedOf(row)
      const lifeMs =
        rotation.lifeMs ?? (row.expires_at ? row.expires_at.getTime() - row.created_at.getTime() : undefined)
      refuseBeyond(rotation, rights, lifeMs, clock.now())
      const made = await make(client, { tenant, name, rights, lifeMs, by: actor })
      const until = Math.min(clock.now() + overlapMs, row.expires_at?.getTime() ?? Infinity)
      await client.query(
        'update tokens set expires_at = to_timestamp($3::float8 / 1000), replaced_by = $4 where tenant = $1 and id = $2',
        [tenant, id, until, made.id],
      )
      const old = { id: row.id, expiresAt: new Date(until) }
      const detail = { name, by: made.id, oldEndsAt: old.expiresAt.toISOString(), ...rightsDetail(made) }
      await note(client, { tenant, actor, action: 'token.rotated', target: id, detail })
      return { made, old }
    })
    await forget(tenant, id)
    return rotated
  }

  async function forget(tenant: string, id: string): Promise<void> {
    const { rows } = await storage.reader.query<{ hash: Buffer }>(
      'select hash from tokens where tenant = $1 and id = $2',
      [tenant, id],
    )
    for (const { hash } of rows) verified.forget(hash.toString('base64'))
  }

  return {
    create,
    verify,
    async inForce(tenant, id) {
      const row = await readToken(storage.reader, tenant, id)
      return row !== undefined && isInForce(row, clock.now())
    },
    list: async (tenant) => (await readTokens(storage.reader, tenant)).map(listedOf),
    revoke,
    rotate,
    saveUses: () => uses.save(),
  }
}

function readName(text: string): string {
  const name = text.trim()
  if (name === '' || name.length > NAME_LIMIT || /\p{Cc}/u.test(name))
    throw new UsageError(
      'token_name_invalid',
      `A token needs a name of at most ${NAME_LIMIT} characters, without control characters, that says what it is for, such as "shop backend".`,
    )
  return name
}

/** Nobody gives more than they have, nor for longer than they have it. */
function refuseBeyond(by: Granter, grants: Rights, lifeMs: number | undefined, now: number): void {
  if (lifeMs !== undefined && (!(lifeMs > 0) || lifeMs > LONGEST_LIFE_MS))
    throw new UsageError('token_expiry_invalid', 'A token ends some time from now, in 10 years at most.')
  const more = beyond(by.rights ?? ALL_RIGHTS, grants)
  if (more.length > 0)
    throw new UsageError(
      'token_rights_beyond',
      `Your own token has no right to ${more.join(', ')}, so it cannot give it. Leave it out, or use a token that has it.`,
    )
  if (by.expiresAt !== undefined && (lifeMs === undefined || now + lifeMs > by.expiresAt.getTime()))
    throw new UsageError(
      'token_rights_beyond',
      `Your own token ends at ${by.expiresAt.toISOString()}, and gives none that outlives it. Say when the new one ends.`,
    )
}

function refuseOver(row: TokenRow, now: number): void {
  if (row.replaced_by !== null)
    throw new UsageError(
      'state_conflict',
      `${row.id} was rotated already: ${row.replaced_by} took its place.`,
    )
  if (!isInForce(row, now))
    throw new UsageError(
      'state_conflict',
      `${row.id} is over: there is nothing to rotate. Make another with: trestle tokens create`,
    )
}

function isInForce(row: TokenRow, now: number): boolean {
  return row.revoked_at === null && (row.expires_at === null || row.expires_at.getTime() > now)
}

function rightsDetail({ rights, expiresAt }: VerifiedToken): object {
  return { role: rights.role, scopes: rights.scopes ?? 'all', expiresAt: expiresAt?.toISOString() ?? 'never' }
}

function tokenMissing(id: string): NotFoundError {
  return new NotFoundError('token', id, 'See those in force with: trestle tokens list')
}

/** SHA-256 is enough: the token has 256 random bits, so there is nothing to guess slowly. */
function hashOf(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
