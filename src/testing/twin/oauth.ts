import { createHash } from 'node:crypto'
import type { Clock, Random } from '../../base/index.ts'
import { route, type TwinAnswer, type TwinRequest, type TwinRoute } from './routes.ts'

export interface OAuthOptions {
  readonly clock: Clock
  readonly random: Random
  readonly client: { readonly id: string; readonly secret: string }
  /** Lifetime of access tokens. Default one hour. */
  readonly accessTokenMs?: number
  /** Lifetime of refresh tokens. Default 100 days. */
  readonly refreshTokenMs?: number
  /**
   * What a refresh does to the refresh token: `keep` it (HubSpot); `rotate`, the old one stays good (QuickBooks,
   * for a day); `single_use`, the old one is dead; `revoke_family`, using a dead one kills the whole grant.
   * Default `single_use`.
   */
  readonly refresh?: 'keep' | 'rotate' | 'single_use' | 'revoke_family'
  /** More fields of a token answer, such as QuickBooks' `x_refresh_token_expires_in`. */
  readonly extra?: (grant: OAuthGrant) => Readonly<Record<string, unknown>>
}

/** One authorization that somebody gave. */
export interface OAuthGrant {
  readonly id: string
  readonly scope: string
  accessToken: string
  accessExpiresAt: number
  refreshToken: string
  refreshExpiresAt: number
  revoked: boolean
}

/** The provider's authorization server, as RFC 6749 describes it: code exchange, refresh, expiry, revocation. */
export interface OAuthServer {
  /** Somebody consents in the browser: the code that the redirect would carry. Good once, for 10 minutes. */
  authorize(options?: { redirectUri?: string; scope?: string }): string
  /**
   * The page where a person agrees, who does so at once: it sends the browser back with a code. `parameters`: what the
   * provider adds, such as QuickBooks' `realmId`.
   */
  authorizeRoute<State>(path: string, parameters?: () => Readonly<Record<string, string>>): TwinRoute<State>
  /** A grant without the browser dance, for seeds. */
  grant(scope?: string): OAuthGrant
  /** The token endpoint. */
  tokenRoute<State>(path: string): TwinRoute<State>
  /** RFC 7009. */
  revokeRoute<State>(path: string): TwinRoute<State>
  /** The grant of a request's bearer token, or why there is none. */
  check(
    headers: Readonly<Record<string, string>>,
  ): { grant: OAuthGrant } | { refused: 'missing' | 'unknown' | 'expired' | 'revoked' }
  /** Every access token is expired from now on, as after a provider's incident. */
  expireAccessTokens(): void
  /** The user takes the authorization back. */
  revoke(grant: OAuthGrant): void
  grants(): readonly OAuthGrant[]
  /** How often tokens were refreshed with success. */
  refreshCount(): number
}

interface PendingCode {
  readonly redirectUri: string | undefined
  readonly scope: string
  readonly at: number
  /** RFC 7636: what the code verifier must give by S256. */
  readonly challenge?: string
}

const CODE_LIFETIME_MS = 10 * 60 * 1000
const HOUR_MS = 60 * 60 * 1000

export function createOAuthServer(options: OAuthOptions): OAuthServer {
  const { clock, random } = options
  const policy = options.refresh ?? 'single_use'
  const grants: OAuthGrant[] = []
  const accessTokens = new Map<string, { grant: OAuthGrant; expiresAt: number }>()
  const refreshTokens = new Map<string, { grant: OAuthGrant; expiresAt: number; used: boolean }>()
  const codes = new Map<string, PendingCode>()
  let refreshes = 0

  const token = (prefix: string): string => `${prefix}-${random.bytes(18).toString('hex')}`

  const issueAccess = (grant: OAuthGrant): void => {
    grant.accessToken = token('at')
    grant.accessExpiresAt = clock.now() + (options.accessTokenMs ?? HOUR_MS)
    accessTokens.set(grant.accessToken, { grant, expiresAt: grant.accessExpiresAt })
  }
  const issueRefresh = (grant: OAuthGrant): void => {
    grant.refreshToken = token('rt')
    grant.refreshExpiresAt = clock.now() + (options.refreshTokenMs ?? 100 * 24 * HOUR_MS)
    refreshTokens.set(grant.refreshToken, { grant, expiresAt: grant.refreshExpiresAt, used: false })
  }
  const newGrant = (scope = ''): OAuthGrant => {
    const grant: OAuthGrant = {
      id: token('grant'),
      scope,
      accessToken: '',
      accessExpiresAt: 0,
      refreshToken: '',
      refreshExpiresAt: 0,
      revoked: false,
    }
    issueAccess(grant)
    issueRefresh(grant)
    grants.push(grant)
    return grant
  }

  const tokenAnswer = (grant: OAuthGrant): TwinAnswer => ({
    status: 200,
    headers: { 'cache-control': 'no-store' },
    json: {
      token_type: 'bearer',
      access_token: grant.accessToken,
      expires_in: Math.floor((grant.accessExpiresAt - clock.now()) / 1000),
      refresh_token: grant.refreshToken,
      ...(grant.scope === '' ? {} : { scope: grant.scope }),
      ...options.extra?.(grant),
    },
  })

  const exchangeCode = (form: URLSearchParams): TwinAnswer => {
    const code = form.get('code') ?? ''
    const pending = codes.get(code)
    codes.delete(code)
    if (!pending || clock.now() - pending.at > CODE_LIFETIME_MS)
      return refusal('invalid_grant', 'the authorization code is unknown, used or expired')
    if (pending.redirectUri !== undefined && pending.redirectUri !== form.get('redirect_uri'))
      return refusal('invalid_grant', 'the redirect_uri differs')
    if (pending.challenge !== undefined && pending.challenge !== challengeOf(form.get('code_verifier') ?? ''))
      return refusal('invalid_grant', 'the code_verifier is not that of the code_challenge')
    return tokenAnswer(newGrant(pending.scope))
  }

  const refresh = (form: URLSearchParams): TwinAnswer => {
    const given = refreshTokens.get(form.get('refresh_token') ?? '')
    if (!given || given.grant.revoked || given.expiresAt <= clock.now())
      return refusal('invalid_grant', 'the refresh token is unknown, expired or revoked')
    if (given.used) {
      if (policy === 'revoke_family') given.grant.revoked = true
      return refusal('invalid_grant', 'the refresh token was used before')
    }
    if (policy === 'single_use' || policy === 'revoke_family') given.used = true
    issueAccess(given.grant)
    if (policy !== 'keep') issueRefresh(given.grant)
    refreshes++
    return tokenAnswer(given.grant)
  }

  return {
    authorize({ redirectUri, scope = '' } = {}) {
      const code = token('code')
      codes.set(code, { redirectUri, scope, at: clock.now() })
      return code
    },
    authorizeRoute: (path, parameters = () => ({})) =>
      route('GET', path, ({ query }) => {
        const redirectUri = query.get('redirect_uri')
        if (query.get('client_id') !== options.client.id || redirectUri === null)
          return refusal('invalid_request', 'unknown client, or no redirect_uri')
        const code = token('code')
        const challenge = query.get('code_challenge')
        const scope = query.get('scope') ?? ''
        const pending = { redirectUri, scope, at: clock.now() }
        codes.set(code, challenge === null ? pending : { ...pending, challenge })
        const back = new URL(redirectUri)
        const state = query.get('state')
        const sent = { code, ...(state === null ? {} : { state }), ...parameters() }
        for (const [name, value] of Object.entries(sent)) back.searchParams.set(name, value)
        return { status: 302, headers: { location: back.href } }
      }),
    grant: newGrant,
    tokenRoute: (path) =>
      route('POST', path, (request) => {
        if (!isClient(request, options.client)) return refusal('invalid_client', 'unknown client', 401)
        const type = request.form.get('grant_type')
        if (type === 'authorization_code') return exchangeCode(request.form)
        if (type === 'refresh_token') return refresh(request.form)
        return refusal('unsupported_grant_type', `"${type}" is not supported`)
      }),
    revokeRoute: (path) =>
      route('POST', path, (request) => {
        if (!isClient(request, options.client)) return refusal('invalid_client', 'unknown client', 401)
        const given = revokedToken(request)
        const grant = (accessTokens.get(given) ?? refreshTokens.get(given))?.grant
        if (grant) grant.revoked = true
        return { status: 200 }
      }),
    check(headers) {
      const match = /^bearer (.+)$/i.exec(headers['authorization'] ?? '')
      if (!match) return { refused: 'missing' }
      const access = accessTokens.get(match[1]!)
      if (!access) return { refused: 'unknown' }
      if (access.grant.revoked) return { refused: 'revoked' }
      if (access.expiresAt <= clock.now()) return { refused: 'expired' }
      return { grant: access.grant }
    },
    expireAccessTokens() {
      for (const access of accessTokens.values()) access.expiresAt = clock.now()
    },
    revoke(grant) {
      grant.revoked = true
    },
    grants: () => grants,
    refreshCount: () => refreshes,
  }
}

function challengeOf(verifier: string): string {
  return createHash('sha256').update(verifier).digest('base64url')
}

function refusal(error: string, description: string, status = 400): TwinAnswer {
  return { status, json: { error, error_description: description } }
}

/** The token to revoke, from a form (RFC 7009) or from JSON (QuickBooks). */
function revokedToken(request: TwinRequest<unknown>): string {
  const inForm = request.form.get('token')
  if (inForm !== null) return inForm
  const { json } = request
  if (json === null || typeof json !== 'object' || !('token' in json)) return ''
  return typeof json.token === 'string' ? json.token : ''
}

/** Client authentication by HTTP basic or in the form (RFC 6749, 2.3.1). */
function isClient(request: TwinRequest<unknown>, client: { id: string; secret: string }): boolean {
  const basic = /^basic (.+)$/i.exec(request.headers['authorization'] ?? '')
  if (basic) {
    const [id = '', secret = ''] = Buffer.from(basic[1]!, 'base64').toString('utf8').split(':')
    return decodeURIComponent(id) === client.id && decodeURIComponent(secret) === client.secret
  }
  return request.form.get('client_id') === client.id && request.form.get('client_secret') === client.secret
}
