import { DAY, type JsonValue } from '../base/index.ts'
import type { OAuth2Quirks } from '../define/index.ts'

export type AnswerFields = Readonly<Record<string, JsonValue>>

/** A token answer as RFC 6749 has it, made of one that differs in the ways that the quirks name. */
export function usualAnswer(answer: object, quirks: OAuth2Quirks): object {
  // An id token says who the person is; we asked for access only, and providers send it unasked (OpenID scopes).
  const { id_token: _, expires_in: expiresIn, ...rest } = answer as Record<string, unknown>
  return {
    ...rest,
    ...(quirks.tokenTypeMissing ? { token_type: 'bearer' } : {}),
    // Where the provider says it elsewhere, what stands here means something else.
    ...(expiresIn === undefined || expiresIn === null || expiresIn === Infinity || quirks.expiry !== undefined
      ? {}
      : { expires_in: expiresIn }),
    // Providers list scopes, or leave them null; nothing here depends on them.
    ...(typeof rest['scope'] === 'string' ? {} : { scope: undefined }),
  }
}

/** What lives longer than this ends never, as far as anybody here is concerned; a larger number may be no date at all. */
const LONGEST_LIFE_MS = 100 * 365 * DAY

/** When the tokens end, in milliseconds since 1970; nothing where the answer does not say. */
export function expiryIn(
  fields: AnswerFields,
  quirks: OAuth2Quirks,
  at: number,
): { readonly expiresAt?: number; readonly refreshExpiresAt?: number } {
  const expiresAt = within(accessExpiry(fields, quirks, at), at)
  const { refreshTokenLifetimeField } = quirks
  const lifetime =
    refreshTokenLifetimeField === undefined ? undefined : secondsOf(fields[refreshTokenLifetimeField])
  const refreshExpiresAt = within(lifetime === undefined ? undefined : at + lifetime * 1000, at)
  return {
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(refreshExpiresAt === undefined ? {} : { refreshExpiresAt }),
  }
}

function within(end: number | undefined, at: number): number | undefined {
  return end === undefined || end - at > LONGEST_LIFE_MS ? undefined : end
}

function accessExpiry(
  fields: AnswerFields,
  { expiry = { kind: 'seconds', field: 'expires_in' } }: OAuth2Quirks,
  at: number,
): number | undefined {
  if (expiry.kind === 'assumed') return at + expiry.seconds * 1000
  const value = fields[expiry.field]
  if (expiry.kind === 'at' && expiry.as === 'date') {
    const moment = Date.parse(textOf(value) ?? '')
    return Number.isNaN(moment) ? undefined : moment
  }
  const count = secondsOf(value)
  if (count === undefined) return undefined
  if (expiry.kind === 'seconds') return at + count * 1000
  return expiry.as === 'seconds' ? count * 1000 : count
}

/** A positive count, also where it comes as text. */
function secondsOf(value: JsonValue | undefined): number | undefined {
  const count =
    value === null || value === undefined || typeof value === 'object' ? Number.NaN : Number(value)
  return Number.isFinite(count) && count > 0 ? count : undefined
}

export function textOf(value: JsonValue | undefined): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}
