import * as oauth from 'oauth4webapi'
import type { OAuth2Scheme } from '../define/index.ts'
import type { Egress, EgressResult } from '../egress/index.ts'
import { oauthAddress } from './authorizing/addresses.ts'
import type { Connection } from './connections.ts'
import type { Grant } from './grants.ts'
import type { ConnectionRef } from './storage.ts'
import type { ClientSecrets } from './tokenEndpoint.ts'

/** What came of taking a grant back at its provider. */
export type Revocation =
  /** The provider took it back, or knew it no more. */
  | { readonly as: 'revoked' }
  /** It is as good as before at the provider: a person takes it back there. */
  | { readonly as: 'failed'; readonly code: string; readonly reason: string }
  /** The connector names no endpoint for it: a person takes it back at the provider. */
  | { readonly as: 'unsupported' }
  /** There is no grant. */
  | { readonly as: 'nothing' }

/** All that a provider must be told to take a token back. It is whole, so that it can be kept when its connection is gone. */
export interface ToRevoke {
  readonly url: string
  readonly clientAuth: OAuth2Scheme['clientAuth']
  readonly clientId: string
  readonly clientSecret: string
  readonly token: string
  readonly hint: 'refresh_token' | 'access_token'
  /** When an access token ends by itself, in ms since 1970, where the provider says so. */
  readonly endsAt?: number
  readonly allowPrivate: boolean
}

/** Longest that a revocation endpoint may take. */
const TIMEOUT_MS = 15_000

/** `undefined` where the connector names no endpoint, or the grant has no token. */
export function toRevokeOf(
  connection: Connection,
  scheme: OAuth2Scheme,
  { clientId, clientSecret }: ClientSecrets,
  { refreshToken, accessToken, expiresAt }: Pick<Grant, 'refreshToken' | 'accessToken' | 'expiresAt'>,
): ToRevoke | undefined {
  const token = refreshToken ?? accessToken
  if (scheme.revocationUrl === undefined || token === undefined) return undefined
  return {
    url: oauthAddress(scheme.revocationUrl, scheme, connection),
    clientAuth: scheme.clientAuth,
    clientId,
    clientSecret,
    token,
    hint: refreshToken === undefined ? 'access_token' : 'refresh_token',
    ...(refreshToken === undefined && expiresAt !== undefined && { endsAt: expiresAt }),
    allowPrivate: connection.allowPrivateNetwork,
  }
}

/** Asks the provider to take a token back (RFC 7009, 2.1). To ask again is harmless. */
export async function askToRevoke(
  send: Egress['send'],
  { url, clientAuth, clientId, clientSecret, token, hint, allowPrivate }: ToRevoke,
  { tenant, id }: ConnectionRef,
): Promise<Extract<Revocation, { as: 'revoked' | 'failed' }>> {
  let result: EgressResult | undefined
  const shown = clientAuth === 'basic' ? oauth.ClientSecretBasic : oauth.ClientSecretPost
  await oauth.revocationRequest(
    { issuer: new URL(url).origin, revocation_endpoint: url },
    { client_id: clientId },
    shown(clientSecret),
    token,
    {
      additionalParameters: { token_type_hint: hint },
      // Egress holds the line on http, as at the token endpoint.
      [oauth.allowInsecureRequests]: true,
      [oauth.customFetch]: async (to, request) => {
        result = await send({
          method: 'POST',
          url: to,
          headers: Object.fromEntries(new Headers(request.headers).entries()),
          body: Buffer.from(String(request.body)),
          allowPrivate,
          onBehalfOf: { tenant, connectionId: id },
          timeoutMs: TIMEOUT_MS,
        })
        return new Response(null, { status: 502 }) // Not looked at: the answer is judged from `result`.
      },
    },
  )
  return judge(result!)
}

/** RFC 7009, 2.2: 200, also for a token that the server does not know; some answer 204. */
function judge(result: EgressResult): Extract<Revocation, { as: 'revoked' | 'failed' }> {
  if (result.as !== 'answered') return { as: 'failed', code: result.code, reason: result.reason }
  if (result.status === 200 || result.status === 204) return { as: 'revoked' }
  return {
    as: 'failed',
    code: 'revocation_refused',
    reason: `The provider's revocation endpoint answered ${result.status}.`,
  }
}
