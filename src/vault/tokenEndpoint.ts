import * as oauth from 'oauth4webapi'
import { parseJson, reasonOf, type JsonValue } from '../base/index.ts'
import type { OAuth2Scheme } from '../define/index.ts'
import type { Egress, EgressResult } from '../egress/index.ts'

/** Longest that a token endpoint may take. The grant's row is locked meanwhile. */
export const TOKEN_TIMEOUT_MS = 20_000

export interface TokenQuestion {
  /** Absolute. */
  readonly tokenUrl: string
  readonly clientAuth: OAuth2Scheme['clientAuth']
  readonly allowPrivateNetwork: boolean
  readonly clientId: string
  readonly clientSecret: string
  readonly refreshToken: string
}

/**
 * What a token endpoint's answer means.
 * - `granted`: new tokens. `complaint` where the answer breaks the standard, so that its access token is not used;
 *   a new refresh token in it must be kept all the same.
 * - `refused`: the provider says that this grant is over (`invalid_grant`).
 * - `unavailable`: anything else. The grant may be as good as before.
 */
export type TokenAnswer =
  | {
      readonly as: 'granted'
      readonly accessToken?: string
      readonly refreshToken?: string
      readonly lifetimeMs?: number
      readonly raw: string
      readonly complaint?: string
    }
  | { readonly as: 'refused'; readonly code: string; readonly reason: string }
  | { readonly as: 'unavailable'; readonly code: string; readonly reason: string; readonly retryAt?: number }

/** Asks for new tokens (RFC 6749, 6), once. */
export async function askForTokens(send: Egress['send'], question: TokenQuestion): Promise<EgressResult> {
  let result: EgressResult | undefined
  const client: oauth.Client = { client_id: question.clientId }
  const authenticate = question.clientAuth === 'basic' ? oauth.ClientSecretBasic : oauth.ClientSecretPost
  await oauth.refreshTokenGrantRequest(
    serverOf(question),
    client,
    authenticate(question.clientSecret),
    question.refreshToken,
    {
      // Egress holds the line on http: it allows it to private addresses only, and only where the connection does.
      [oauth.allowInsecureRequests]: true,
      [oauth.customFetch]: async (url, request) => {
        result = await send({
          method: 'POST',
          url,
          headers: Object.fromEntries(new Headers(request.headers).entries()),
          body: Buffer.from(String(request.body)),
          timeoutMs: TOKEN_TIMEOUT_MS,
          allowPrivate: question.allowPrivateNetwork,
        })
        return new Response(null, { status: 502 }) // Not looked at: the answer is judged from `result`.
      },
    },
  )
  return result!
}

function serverOf(question: TokenQuestion): oauth.AuthorizationServer {
  return { issuer: new URL(question.tokenUrl).origin, token_endpoint: question.tokenUrl }
}

/** Judges what came back. No text in it holds a token or the client's secret. */
export async function judgeTokenAnswer(
  result: EgressResult,
  question: TokenQuestion,
  now: number,
): Promise<TokenAnswer> {
  if (result.as !== 'answered')
    return { as: 'unavailable', code: result.code, reason: `The token endpoint: ${result.reason}` }
  const text = result.body.toString()
  const fields = fieldsOf(result.body)
  if (result.status === 200) return judgeGranted(text, fields, question)

  const error = textOf(fields['error'])
  const said = [error, textOf(fields['error_description'])].filter((part) => part !== undefined).join(': ')
  const reason = withoutSecrets(
    `The token endpoint answered ${result.status}${said ? ` (${said})` : ''}.`,
    question,
  )
  if (error === 'invalid_grant' && (result.status === 400 || result.status === 401))
    return { as: 'refused', code: 'invalid_grant', reason }
  const retryAt = retryAtOf(result.headers['retry-after'], now)
  return {
    as: 'unavailable',
    code:
      error === 'invalid_client' || error === 'unauthorized_client'
        ? 'client_refused'
        : 'token_endpoint_failed',
    reason:
      error === 'invalid_client' || error === 'unauthorized_client'
        ? `${reason} Check clientId and clientSecret of the connection.`
        : reason,
    ...(retryAt === undefined ? {} : { retryAt }),
  }
}

async function judgeGranted(
  raw: string,
  fields: Readonly<Record<string, JsonValue>>,
  question: TokenQuestion,
): Promise<TokenAnswer> {
  const refreshToken = textOf(fields['refresh_token'])
  if (refreshToken === undefined && textOf(fields['access_token']) === undefined)
    return {
      as: 'unavailable',
      code: 'token_answer_invalid',
      reason:
        'The token endpoint answered 200, but without a token. Something else may have answered for it.',
    }
  const kept = { as: 'granted' as const, raw, ...(refreshToken === undefined ? {} : { refreshToken }) }
  try {
    // An id token says who the person is; we asked for access only, and providers send it unasked (OpenID scopes).
    const { id_token: _, ...access } = JSON.parse(raw) as Record<string, unknown>
    const tokens = await oauth.processRefreshTokenResponse(
      serverOf(question),
      { client_id: question.clientId },
      new Response(JSON.stringify(access), { headers: { 'content-type': 'application/json' } }),
    )
    return {
      ...kept,
      accessToken: headerToken(tokens.access_token),
      ...(tokens.expires_in === undefined ? {} : { lifetimeMs: tokens.expires_in * 1000 }),
    }
  } catch (error) {
    // The library's error carries the body; only its words go on.
    return {
      ...kept,
      complaint: withoutSecrets(`The token endpoint's answer is not usable: ${reasonOf(error)}.`, question),
    }
  }
}

function headerToken(token: string): string {
  if (!/^[\x21-\x7e]+$/.test(token)) throw new Error('the access token cannot stand in an HTTP header')
  return token
}

/** The answer's fields; none if it is not a JSON object. */
function fieldsOf(body: Buffer): Readonly<Record<string, JsonValue>> {
  try {
    const value = parseJson(body)
    return value !== null && typeof value === 'object' && !Array.isArray(value)
      ? (value as Record<string, JsonValue>)
      : {}
  } catch {
    return {}
  }
}

function textOf(value: JsonValue | undefined): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

function withoutSecrets(text: string, question: TokenQuestion): string {
  return [question.refreshToken, question.clientSecret]
    .reduce((clean, secret) => clean.replaceAll(secret, '[secret]'), text)
    .slice(0, 500)
}

/** `Retry-After` (RFC 9110, 10.2.3): seconds, or a date. */
function retryAtOf(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined
  if (/^\d{1,9}$/.test(header)) return now + Number(header) * 1000
  const date = Date.parse(header)
  return Number.isNaN(date) ? undefined : date
}
