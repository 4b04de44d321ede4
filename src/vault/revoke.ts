import * as oauth from 'oauth4webapi'
import { NotFoundError, UsageError, type Clock } from '../base/index.ts'
import { schemesOf, type AuthScheme, type OAuth2Scheme } from '../define/index.ts'
import type { Egress, EgressResult } from '../egress/index.ts'
import type { Queryable } from '../db/index.ts'
import type { Actor } from '../ledger/index.ts'
import { oauthAddress } from './authorizing/addresses.ts'
import type { Connection } from './connections.ts'
import type { Grant, GrantStore } from './grants.ts'
import { GRANT_FIELD, type SecretStore } from './secrets.ts'
import type { ConnectionRef, RecordEntry, VaultStorage } from './storage.ts'
import { clientOf, type ClientSecrets } from './tokenEndpoint.ts'

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

export interface Revoker {
  /**
   * Takes the grant back at the provider, where the connector names an endpoint (RFC 7009), and the connection needs an
   * authorization from then on. Where that failed, the connection stays as it was. It is on record either way.
   */
  revokeGrant(this: void, tenant: string, name: string, actor: Actor): Promise<Revocation>
  /** The same, and leaves the connection as it is: for one that is being removed. */
  revokeAtProvider(this: void, tenant: string, name: string, actor: Actor): Promise<Revocation>
}

export interface RevokerOptions {
  readonly storage: VaultStorage
  readonly grants: Pick<GrantStore, 'read'>
  readonly readSecrets: SecretStore['read']
  readonly send: Egress['send']
  readonly authOf: (connector: string) => AuthScheme | undefined
  readonly loadConnection: (tenant: string, name: string) => Promise<Connection>
  readonly clock: Clock
  readonly record: RecordEntry
  readonly onChanged: (connection: ConnectionRef) => void
}

const TIMEOUT_MS = 15_000
/** A refresh may have put another token in its place meanwhile. */
const MOST_TRIES = 3

export function createRevoker(options: RevokerOptions): Revoker {
  const { storage, clock } = options

  async function revokeAtProvider(tenant: string, name: string, actor: Actor): Promise<Revocation> {
    const connection = await options.loadConnection(tenant, name)
    const revocation = await revoke(connection)
    if (revocation.as !== 'nothing') await note(connection, actor, revocation)
    return revocation
  }

  async function revokeGrant(tenant: string, name: string, actor: Actor): Promise<Revocation> {
    const connection = await options.loadConnection(tenant, name)
    if (connection.state === 'revoked') throw new NotFoundError('connection', name, 'It was removed.')
    if (schemeOf(connection) === undefined)
      throw new UsageError(
        'authorization_unsupported',
        `Connection "${name}" has no grant of OAuth. Take its key back at the provider, and remove it with: trestle connections remove ${name}`,
      )
    const revocation = await revoke(connection)
    await note(connection, actor, revocation)
    return revocation
  }

  async function revoke(connection: Connection): Promise<Revocation> {
    const scheme = schemeOf(connection)
    let last: Revocation = { as: 'nothing' }
    if (scheme === undefined) return last
    let seen: string | undefined
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const { grant } = (await options.grants.read(storage.reader, connection)) ?? {}
      if (grant === undefined || grant.version === seen) break
      seen = grant.version
      if (tokenOf(grant) === undefined) break
      if (scheme.revocationUrl === undefined) return { as: 'unsupported' }
      last = await ask(connection, scheme, scheme.revocationUrl, grant)
      if (last.as === 'failed') break
    }
    return last
  }

  async function ask(
    connection: Connection,
    scheme: OAuth2Scheme,
    revocationUrl: string,
    grant: Grant,
  ): Promise<Revocation> {
    let client: ClientSecrets
    try {
      client = await clientOf(connection, options.readSecrets, clock.now())
    } catch {
      return {
        as: 'failed',
        code: 'secret_missing',
        reason: 'The connection has no clientId or clientSecret.',
      }
    }
    const { token, hint } = tokenOf(grant)!
    let result: EgressResult | undefined
    const shown = scheme.clientAuth === 'basic' ? oauth.ClientSecretBasic : oauth.ClientSecretPost
    const url = oauthAddress(revocationUrl, scheme, connection)
    await oauth.revocationRequest(
      { issuer: new URL(url).origin, revocation_endpoint: url },
      { client_id: client.clientId },
      shown(client.clientSecret),
      token,
      {
        additionalParameters: { token_type_hint: hint },
        // Egress holds the line on http, as at the token endpoint.
        [oauth.allowInsecureRequests]: true,
        [oauth.customFetch]: async (to, request) => {
          result = await options.send({
            method: 'POST',
            url: to,
            headers: Object.fromEntries(new Headers(request.headers).entries()),
            body: Buffer.from(String(request.body)),
            allowPrivate: connection.allowPrivateNetwork,
            onBehalfOf: { tenant: connection.tenant, connectionId: connection.id },
            timeoutMs: TIMEOUT_MS,
          })
          return new Response(null, { status: 502 }) // Not looked at: the answer is judged from `result`.
        },
      },
    )
    return judge(result!)
  }

  async function note(connection: Connection, actor: Actor, revocation: Revocation): Promise<void> {
    const { tenant, id, name } = connection
    await storage.transaction(async (client) => {
      if (revocation.as === 'revoked' && schemeOf(connection)?.grant !== 'client_credentials')
        await end(client, connection)
      await options.record(client, {
        tenant,
        at: clock.now(),
        actor,
        action: 'grant.revoked',
        target: id,
        outcome: revocation.as === 'revoked' ? 'succeeded' : outcomeOf(revocation),
        connectionId: id,
        detail: { name, ...(revocation.as === 'failed' ? { reason: revocation.reason } : {}) },
      })
    })
    options.onChanged(connection)
  }

  /** A refresh that is still under way finds another version, so that what it gets does not bring the grant back. */
  async function end(client: Queryable, { tenant, id }: ConnectionRef): Promise<void> {
    await client.query(
      `update connections set state = 'needs_reauthorization', updated_at = now()
       where tenant = $1 and id = $2 and state in ('active', 'needs_reauthorization')`,
      [tenant, id],
    )
    await client.query(
      'update secrets set version = version + 1 where tenant = $1 and connection_id = $2 and field = $3',
      [tenant, id, GRANT_FIELD],
    )
  }

  /** The OAuth scheme that its grant belongs to. */
  function schemeOf(connection: Connection): OAuth2Scheme | undefined {
    const auth = connection.auth ?? options.authOf(connection.connector)
    return auth && schemesOf(auth).find((scheme) => scheme.kind === 'oauth2')
  }

  return { revokeGrant, revokeAtProvider }
}

function tokenOf({ refreshToken, accessToken }: Grant): { token: string; hint: string } | undefined {
  if (refreshToken !== undefined) return { token: refreshToken, hint: 'refresh_token' }
  return accessToken === undefined ? undefined : { token: accessToken, hint: 'access_token' }
}

/** RFC 7009, 2.2: 200, also for a token that the server does not know; some answer 204. */
function judge(result: EgressResult): Revocation {
  if (result.as !== 'answered') return { as: 'failed', code: result.code, reason: result.reason }
  if (result.status === 200 || result.status === 204) return { as: 'revoked' }
  return {
    as: 'failed',
    code: 'revocation_refused',
    reason: `The provider's revocation endpoint answered ${result.status}.`,
  }
}

function outcomeOf(revocation: Exclude<Revocation, { as: 'revoked' }>): string {
  return revocation.as === 'failed' ? revocation.code : revocation.as
}
