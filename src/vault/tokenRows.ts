import type { Id } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import { storedRights } from './rights.ts'
import type { ListedToken, VerifiedToken } from './tokens.ts'

/** A token as the database has it, without its hash. */
export interface TokenRow {
  readonly tenant: string
  readonly id: Id<'tok'>
  readonly name: string
  readonly role: string
  readonly scopes: string | null
  readonly start: string | null
  readonly created_at: Date
  readonly created_by: string | null
  readonly expires_at: Date | null
  readonly last_used_at: Date | null
  readonly revoked_at: Date | null
  readonly replaced_by: Id<'tok'> | null
}

const COLUMNS =
  'tenant, id, name, role, scopes, start, created_at, created_by, expires_at, last_used_at, revoked_at, replaced_by'

/** Tokens of one listing: beyond, of those that were revoked the oldest are left out. */
export const TOKENS_LISTED = 2_000

export async function readTokens(client: Queryable, tenant: string): Promise<readonly TokenRow[]> {
  const { rows } = await client.query<TokenRow>(
    `select ${COLUMNS} from tokens where tenant = $1 order by revoked_at is not null, id desc limit ${TOKENS_LISTED}`,
    [tenant],
  )
  return rows.toSorted((a, b) => (a.id < b.id ? -1 : 1))
}

/** `lock`: until the end of the transaction. */
export async function readToken(
  client: Queryable,
  tenant: string,
  id: string,
  lock: '' | 'for update' = '',
): Promise<TokenRow | undefined> {
  const { rows } = await client.query<TokenRow>(
    `select ${COLUMNS} from tokens where tenant = $1 and id = $2 ${lock}`,
    [tenant, id],
  )
  return rows[0]
}

export async function readTokenByHash(
  client: Queryable,
  hash: Buffer,
): Promise<(TokenRow & { readonly hash: Buffer }) | undefined> {
  const { rows } = await client.query<TokenRow & { hash: Buffer }>(
    `select ${COLUMNS}, hash from tokens where hash = $1`,
    [hash],
  )
  return rows[0]
}

/** Tokens of the tenant that open the API at this time. */
export async function countInForce(client: Queryable, tenant: string, now: number): Promise<number> {
  const { rows } = await client.query<{ count: string }>(
    `select count(*)::text as count from tokens where tenant = $1 and revoked_at is null
       and (expires_at is null or expires_at > to_timestamp($2::float8 / 1000))`,
    [tenant, now],
  )
  return Number(rows[0]!.count)
}

export async function insertToken(
  client: Queryable,
  token: Pick<VerifiedToken, 'tenant' | 'id' | 'name' | 'rights' | 'expiresAt'> & {
    readonly hash: Buffer
    readonly start: string
    readonly createdAt: number
    readonly createdBy: string
  },
): Promise<void> {
  await client.query(
    `insert into tokens (tenant, id, name, hash, start, role, scopes, expires_at, created_at, created_by)
     values ($1, $2, $3, $4, $5, $6, $7, $8, to_timestamp($9::float8 / 1000), $10)`,
    [
      token.tenant,
      token.id,
      token.name,
      token.hash,
      token.start,
      token.rights.role,
      token.rights.scopes?.join(' ') ?? null,
      token.expiresAt ?? null,
      token.createdAt,
      token.createdBy,
    ],
  )
}

export function verifiedOf(row: TokenRow): VerifiedToken {
  return {
    tenant: row.tenant,
    id: row.id,
    name: row.name,
    rights: storedRights(row.role, row.scopes),
    expiresAt: row.expires_at ?? undefined,
  }
}

export function listedOf(row: TokenRow): ListedToken {
  return {
    ...verifiedOf(row),
    start: row.start ?? undefined,
    createdAt: row.created_at,
    createdBy: row.created_by ?? undefined,
    lastUsedAt: row.last_used_at ?? undefined,
    revokedAt: row.revoked_at ?? undefined,
    replacedBy: row.replaced_by ?? undefined,
  }
}
