import type { Clock } from '../../base/index.ts'
import type { Actor } from '../../ledger/index.ts'
import type { JudgedToken, Rights, TokenStore } from '../../vault/index.ts'
import { within } from './deadline.ts'
import { HttpError } from './problem.ts'

/** Who asks, whose data it is about, and what they may do. */
export interface Caller {
  readonly tenant: string
  /** As the ledger has it: `token:tok_…/operator`, with the role that it was done in. */
  readonly actor: Actor
  readonly rights: Rights
  /** When their token ends; `undefined`: never. */
  readonly expiresAt?: Date | undefined
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
    throw new HttpError(
      401,
      'token_missing',
      'Send an API token: "Authorization: Bearer trs_…". Make one with: trestle tokens create NAME --role viewer',
      { headers: { 'www-authenticate': 'Bearer realm="trestle"' } },
    )
  const text = BEARER.exec(authorization)?.[1]
  const judged: JudgedToken =
    text === undefined
      ? { as: 'unknown' }
      : await within(clock, VERIFY_LIMIT_MS, 'The database', tokens.verify(text))
  if (judged.as !== 'in_force') throw refused(judged)
  const { tenant, id, rights, expiresAt } = judged.token
  return { tenant, actor: `token:${id}/${rights.role}`, rights, expiresAt }
}

function refused(judged: Exclude<JudgedToken, { as: 'in_force' }>): HttpError {
  if (judged.as === 'unknown')
    return invalid(
      'token_invalid',
      'This is no API token of this installation. Check that all of it was copied; list them with "trestle tokens list", or make another with: trestle tokens create NAME --role viewer',
    )
  const { id, name, rights } = judged.token
  const words = `The API token "${name}" (${id}) ${judged.as === 'expired' ? 'expired' : 'was revoked'} at ${judged.at.toISOString()}.`
  return invalid(
    `token_${judged.as}`,
    `${words} Make another with: trestle tokens create "${name}" --role ${rights.role}`,
  )
}

function invalid(code: string, detail: string): HttpError {
  return new HttpError(401, code, detail, {
    headers: { 'www-authenticate': 'Bearer realm="trestle", error="invalid_token"' },
  })
}
