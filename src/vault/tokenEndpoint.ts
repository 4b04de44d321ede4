import * as oauth from 'oauth4webapi'
import { parseJson, PermanentError, reasonOf, type JsonValue } from '../base/index.ts'
import type { OAuth2Quirks, OAuth2Scheme } from '../define/index.ts'
import type { Egress, EgressRequest, EgressResult } from '../egress/index.ts'
import type { Connection } from './connections.ts'
import { CLIENT_SECRET_KIND, formersOf } from './formers.ts'
import type { Grant } from './grants.ts'
import { tokenUrlOf } from './plan.ts'
import type { KeptAnswer } from './refreshes.ts'
import type { SecretStore } from './secrets.ts'
import { expiryIn, textOf, usualAnswer, type AnswerFields } from './tokenQuirks.ts'

/** Longest that a token endpoint may take. Nothing is locked meanwhile. */
export const TOKEN_TIMEOUT_MS = 20_000

export interface TokenQuestion<Claim extends TokenClaim | undefined = TokenClaim> extends ClientSecrets {
  /** Absolute. */
  readonly tokenUrl: string
  readonly clientAuth: OAuth2Scheme['clientAuth']
  readonly quirks: OAuth2Quirks
  readonly allowPrivateNetwork: boolean
  /** For the record of what egress refuses. */
  readonly onBehalfOf?: EgressRequest['onBehalfOf']
  /** What tokens are asked for with. */
  readonly by: Claim
}

/** The client as it is registered at the provider. */
export interface ClientSecrets {
  readonly clientId: string
  readonly clientSecret: string
  /** Rotated out and in their overlap, the newest first: tried where the present one is refused. */
  readonly formerSecrets?: readonly string[]
}

type AnyQuestion = TokenQuestion<TokenClaim | undefined>

export type TokenClaim =
  | { readonly kind: 'refresh_token'; readonly refreshToken: string }
  | { readonly kind: 'client_credentials'; readonly scopes: readonly string[] }
  | {
      readonly kind: 'authorization_code'
      readonly code: string
      readonly codeVerifier: string
      readonly redirectUri: string
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
      /** Milliseconds since 1970. */
      readonly expiresAt?: number
      /** When the refresh token ends, where the provider says so. */
      readonly refreshExpiresAt?: number
      readonly raw: string
      readonly complaint?: string
    }
  | { readonly as: 'refused'; readonly code: string; readonly reason: string }
  | { readonly as: 'unavailable'; readonly code: string; readonly reason: string; readonly retryAt?: number }

export function oauthOf(connection: Connection): OAuth2Scheme {
  if (connection.auth?.kind === 'oauth2') return connection.auth
  throw new PermanentError(
    'connector_unknown',
    `Connection "${connection.name}" is not authorized by OAuth 2.0. Check that trestle.config.ts declares its connector.`,
  )
}

/** The client's id and secret. Throws `secret_missing`. */
export async function clientOf(
  connection: Connection,
  readSecrets: SecretStore['read'],
  now: number,
): Promise<ClientSecrets> {
  const secrets = await readSecrets(connection)
  const clientId = await secrets?.value('clientId')
  const clientSecret = await secrets?.value('clientSecret')
  if (secrets !== undefined && clientId !== undefined && clientSecret !== undefined) {
    const formers = formersOf(secrets, CLIENT_SECRET_KIND, now)
    const formerSecrets = await Promise.all(formers.map(async (field) => (await secrets.value(field))!))
    return { clientId, clientSecret, formerSecrets }
  }
  throw new PermanentError(
    'secret_missing',
    `Connection "${connection.name}" has no clientId or clientSecret. Give them with: trestle connections add ${connection.name}`,
  )
}

export function questionOf<Claim extends TokenClaim | undefined>(
  connection: Connection,
  client: ClientSecrets,
  by: Claim,
  scheme: OAuth2Scheme = oauthOf(connection),
): TokenQuestion<Claim> {
  return {
    ...client,
    tokenUrl: tokenUrlOf(scheme, connection),
    clientAuth: scheme.clientAuth,
    quirks: scheme.quirks ?? {},
    allowPrivateNetwork: connection.allowPrivateNetwork,
    onBehalfOf: { tenant: connection.tenant, connectionId: connection.id },
    by,
  }
}

/** With what a grant's next tokens are asked for; `undefined` where only a person can get more. */
export function claimOf(connection: Connection, grant: Grant): TokenClaim | undefined {
  const scheme = oauthOf(connection)
  if (scheme.grant === 'client_credentials') return { kind: 'client_credentials', scopes: scheme.scopes }
  return grant.refreshToken === undefined
    ? undefined
    : { kind: 'refresh_token', refreshToken: grant.refreshToken }
}

export interface AroundTokens extends Pick<EgressRequest, 'timeoutMs' | 'mayLeave' | 'onSent'> {
  /** Told where the provider takes the client by a secret that was rotated out, and not by the new one. */
  readonly onFormerTaken?: () => void
}

/**
 * Asks for tokens (RFC 6749, 4.1.3, 4.4.2 and 6), once. Whom the client's secret does not convince has looked at nothing
 * else (5.2, `invalid_client`): there it asks once more with each that counts still.
 */
export async function askForTokens(
  send: Egress['send'],
  question: TokenQuestion,
  { onFormerTaken, ...around }: AroundTokens,
): Promise<EgressResult> {
  const first = await askOnce(send, question, around)
  if (!refusesClient(first, question)) return first
  for (const clientSecret of question.formerSecrets ?? []) {
    const result = await askOnce(send, { ...question, clientSecret }, around)
    // What did not leave changes nothing of what was said.
    if (result.as === 'not_sent') return first
    if (refusesClient(result, question)) continue
    onFormerTaken?.()
    return result
  }
  return first
}

function refusesClient(result: EgressResult, { quirks }: TokenQuestion): boolean {
  if (result.as !== 'answered' || (result.status !== 400 && result.status !== 401)) return false
  return saysClientIsRefused(fieldsOf(result.body.toString()), quirks)
}

function saysClientIsRefused(fields: AnswerFields, quirks: OAuth2Quirks): boolean {
  return [quirks.errorField ?? 'error', 'error'].some((field) =>
    ['invalid_client', 'unauthorized_client'].includes(textOf(fields[field]) ?? ''),
  )
}

async function askOnce(
  send: Egress['send'],
  question: TokenQuestion,
  around: Pick<EgressRequest, 'timeoutMs' | 'mayLeave' | 'onSent'>,
): Promise<EgressResult> {
  let result: EgressResult | undefined
  await requestTokens(question, {
    // Egress holds the line on http: it allows it to private addresses only, and only where the connection does.
    [oauth.allowInsecureRequests]: true,
    [oauth.customFetch]: async (url, request) => {
      result = await send({
        method: 'POST',
        url,
        headers: Object.fromEntries(new Headers(request.headers).entries()),
        body: Buffer.from(String(request.body)),
        allowPrivate: question.allowPrivateNetwork,
        ...(question.onBehalfOf && { onBehalfOf: question.onBehalfOf }),
        ...around,
      })
      return new Response(null, { status: 502 }) // Not looked at: the answer is judged from `result`.
    },
  })
  return result!
}

/** Lets the library write the request; what it sends goes through `customFetch`. */
function requestTokens(
  question: TokenQuestion,
  options: oauth.TokenEndpointRequestOptions,
): Promise<Response> {
  const { by, clientId, clientSecret, clientAuth } = question
  const server = serverOf(question)
  const client: oauth.Client = { client_id: clientId }
  const shown = (clientAuth === 'basic' ? oauth.ClientSecretBasic : oauth.ClientSecretPost)(clientSecret)
  switch (by.kind) {
    case 'refresh_token':
      return oauth.refreshTokenGrantRequest(server, client, shown, by.refreshToken, options)
    case 'client_credentials': {
      const scope = by.scopes.join(' ')
      return oauth.clientCredentialsGrantRequest(
        server,
        client,
        shown,
        scope === '' ? {} : { scope },
        options,
      )
    }
    default: {
      // The callback was judged before; the library wants to have seen one.
      const callback = oauth.validateAuthResponse(server, client, new URLSearchParams({ code: by.code }))
      return oauth.authorizationCodeGrantRequest(
        server,
        client,
        shown,
        callback,
        by.redirectUri,
        by.codeVerifier,
        options,
      )
    }
  }
}

function serverOf(question: AnyQuestion): oauth.AuthorizationServer {
  return { issuer: new URL(question.tokenUrl).origin, token_endpoint: question.tokenUrl }
}

/** Judges what came back. No text in it holds a token or the client's secret. */
export async function judgeTokenAnswer(answer: KeptAnswer, question: AnyQuestion): Promise<TokenAnswer> {
  const { quirks } = question
  const fields = fieldsOf(answer.body)
  const error = textOf(fields[quirks.errorField ?? 'error']) ?? textOf(fields['error'])
  const isError = answer.status !== 200 || (quirks.errorsIn200 === true && error !== undefined)
  if (!isError) return judgeGranted(answer, fields, question)

  const said = [error, textOf(fields['error_description']) ?? textOf(fields['message'])]
    .filter((part) => part !== undefined)
    .join(': ')
  const reason = withoutSecrets(
    `The token endpoint answered ${answer.status}${said ? ` (${said})` : ''}.`,
    question,
  )
  const speaksOfGrant = answer.status === 400 || answer.status === 401 || answer.status === 200
  if (
    speaksOfGrant &&
    error !== undefined &&
    ['invalid_grant', ...(quirks.grantIsOver ?? [])].includes(error)
  )
    return { as: 'refused', code: 'invalid_grant', reason }
  const retryAt = retryAtOf(answer.retryAfter, answer.at)
  const clientRefused = saysClientIsRefused(fields, quirks)
  return {
    as: 'unavailable',
    code: clientRefused ? 'client_refused' : 'token_endpoint_failed',
    reason: clientRefused ? `${reason} Check clientId and clientSecret of the connection.` : reason,
    ...(retryAt === undefined ? {} : { retryAt }),
  }
}

async function judgeGranted(
  { body: raw, at }: KeptAnswer,
  fields: AnswerFields,
  question: AnyQuestion,
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
    const tokens = await oauth.processRefreshTokenResponse(
      serverOf(question),
      { client_id: question.clientId },
      new Response(JSON.stringify(usualAnswer(JSON.parse(raw) as object, question.quirks)), {
        headers: { 'content-type': 'application/json' },
      }),
    )
    return {
      ...kept,
      accessToken: headerToken(tokens.access_token),
      ...expiryIn(fields, question.quirks, at),
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
function fieldsOf(body: string): AnswerFields {
  try {
    const value = parseJson(body)
    return value !== null && typeof value === 'object' && !Array.isArray(value)
      ? (value as Record<string, JsonValue>)
      : {}
  } catch {
    return {}
  }
}

/** Words of the provider for a ledger: without what must not stand there, and without what the database does not take. */
function withoutSecrets(text: string, question: AnyQuestion): string {
  const { by, clientSecret, formerSecrets = [] } = question
  const claimed =
    by?.kind === 'refresh_token'
      ? [by.refreshToken]
      : by?.kind === 'authorization_code'
        ? [by.code, by.codeVerifier]
        : []
  return [...claimed, clientSecret, ...formerSecrets]
    .reduce((clean, secret) => clean.replaceAll(secret, '[secret]'), text)
    .replaceAll(/\p{Cc}/gu, ' ')
    .slice(0, 500)
}

/** `Retry-After` (RFC 9110, 10.2.3): seconds, or a date. */
function retryAtOf(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined
  if (/^\d{1,9}$/.test(header)) return now + Number(header) * 1000
  const date = Date.parse(header)
  return Number.isNaN(date) ? undefined : date
}
