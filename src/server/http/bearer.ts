import type { Clock } from '../../base/index.ts'
import type { Actor } from '../../ledger/index.ts'
import type { TokenStore, VerifiedToken } from '../../vault/index.ts'
import { within } from './deadline.ts'
import { HttpError } from './problem.ts'

/** Who asks, and whose data it is about. */
export interface Caller {
  readonly tenant: string
  /** As the ledger has it: `token:tok_…`. */
  readonly actor: Actor
}

/** A token is known within this time, or the answer is 503. */
const VERIFY_LIMIT_MS = 500
/** RFC 6750, 2.1. */
const BEARER = /^Bearer +([A-Za-z0-9\-._~+/]+=*) *$/i

/** The owner of the request's bearer token (RFC 6750). Throws 401. */
export async function authenticate(
  authorization: string | undefined,
  tokens: Pick<TokenStore, 'verify'>,
  clock: Clock,
): Promise<Caller> {
  if (authorization === undefined)
    throw unauthorized(
      'token_missing',
      'Send an API token: "Authorization: Bearer trs_…". Make one with: trestle tokens create NAME',
      'Bearer realm="trestle"',
    )
  const token = BEARER.exec(authorization)?.[1]
  const owner: VerifiedToken | undefined =
    token === undefined
      ? undefined
      : await within(clock, VERIFY_LIMIT_MS, 'The database', tokens.verify(token))
  if (owner === undefined)
    throw unauthorized(
      'token_invalid',
      'The API token is unknown or was revoked. Make another with: trestle tokens create NAME',
      'Bearer realm="trestle", error="invalid_token"',
    )
  return { tenant: owner.tenant, actor: `token:${owner.id}` }
}

function unauthorized(code: string, detail: string, challenge: string): HttpError {
  return new HttpError(401, code, detail, { headers: { 'www-authenticate': challenge } })
}
