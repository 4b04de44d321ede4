import { newId, NotFoundError, UsageError, type Clock } from '../base/index.ts'
import { schemesOf, type AuthScheme, type OAuth2Scheme } from '../define/index.ts'
import type { Egress } from '../egress/index.ts'
import type { Queryable } from '../db/index.ts'
import type { Actor } from '../ledger/index.ts'
import type { Overtake } from './authorizing/overtake.ts'
import type { Connection } from './connections.ts'
import type { GrantStore, VersionedGrant } from './grants.ts'
import type { LateTokens } from './lateTokens.ts'
import { askToRevoke, toRevokeOf, type Revocation } from './revocation.ts'
import { GRANT_FIELD, type SecretStore } from './secrets.ts'
import type { ConnectionRef, RecordEntry, VaultStorage } from './storage.ts'
import { clientOf, type ClientSecrets } from './tokenEndpoint.ts'

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
  readonly grants: Pick<GrantStore, 'read' | 'lock'>
  readonly readSecrets: SecretStore['read']
  readonly send: Egress['send']
  readonly authOf: (connector: string) => AuthScheme | undefined
  readonly loadConnection: (tenant: string, name: string) => Promise<Connection>
  readonly clock: Clock
  readonly record: RecordEntry
  readonly late: Pick<LateTokens, 'noteTakenBack' | 'keep'>
  /** Ends the authorizations that were agreed to before. */
  readonly overtake: Overtake
  /** Puts an answer of the token endpoint in place that nobody has read yet. */
  readonly recover: (connection: Connection) => Promise<void>
  readonly onChanged: (connection: ConnectionRef) => void
}

/** What was asked of the provider, and of which grant. */
interface Asked {
  readonly revocation: Revocation
  readonly version?: string
  readonly by?: ClientSecrets
}

/** A refresh may have put another token in its place meanwhile. */
const MOST_TRIES = 3

export function createRevoker(options: RevokerOptions): Revoker {
  const { storage, clock } = options

  async function revokeAtProvider(tenant: string, name: string, actor: Actor): Promise<Revocation> {
    const connection = await options.loadConnection(tenant, name)
    const asked = await revoke(connection)
    if (asked.revocation.as !== 'nothing') await note(connection, actor, asked)
    return asked.revocation
  }

  async function revokeGrant(tenant: string, name: string, actor: Actor): Promise<Revocation> {
    const connection = await options.loadConnection(tenant, name)
    if (connection.state === 'revoked') throw new NotFoundError('connection', name, 'It was removed.')
    if (schemeOf(connection) === undefined)
      throw new UsageError(
        'authorization_unsupported',
        `Connection "${name}" has no grant of OAuth. Take its key back at the provider, and remove it with: trestle connections remove ${name}`,
      )
    const asked = await revoke(connection)
    await note(connection, actor, asked)
    return asked.revocation
  }

  async function revoke(connection: Connection): Promise<Asked> {
    const scheme = schemeOf(connection)
    let last: Asked = { revocation: { as: 'nothing' } }
    if (scheme === undefined) return last
    // What a node that died got for this grant, and nobody has read, is a part of it.
    await options.recover(connection).catch(() => undefined)
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const { grant } = (await options.grants.read(storage.reader, connection)) ?? {}
      if (grant === undefined || grant.version === last.version) break
      if ((grant.refreshToken ?? grant.accessToken) === undefined) break
      if (scheme.revocationUrl === undefined) return { revocation: { as: 'unsupported' } }
      last = await ask(connection, scheme, grant)
      if (last.revocation.as === 'failed') break
    }
    return last
  }

  async function ask(connection: Connection, scheme: OAuth2Scheme, grant: VersionedGrant): Promise<Asked> {
    let by: ClientSecrets
    try {
      by = await clientOf(connection, options.readSecrets, clock.now())
    } catch {
      const reason = 'The connection has no clientId or clientSecret.'
      return { revocation: { as: 'failed', code: 'secret_missing', reason } }
    }
    const toRevoke = toRevokeOf(connection, scheme, by, grant)
    if (toRevoke === undefined) return { revocation: { as: 'unsupported' } }
    const revocation = await askToRevoke(options.send, toRevoke, connection)
    return { revocation, version: grant.version, by }
  }

  async function note(connection: Connection, actor: Actor, asked: Asked): Promise<void> {
    const { tenant, id, name } = connection
    const { revocation } = asked
    await storage.transaction(async (client) => {
      if (revocation.as === 'revoked' && schemeOf(connection)?.grant !== 'client_credentials')
        await end(client, connection, asked)
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

  /**
   * A refresh that is still under way finds another version, so that what it gets does not bring the grant back, and
   * learns that it is to be taken back, too.
   */
  async function end(client: Queryable, connection: Connection, asked: Asked): Promise<void> {
    const { tenant, id } = connection
    await keepOther(client, connection, asked)
    await client.query(
      `update connections set state = 'needs_reauthorization', updated_at = now()
       where tenant = $1 and id = $2 and state in ('active', 'needs_reauthorization')`,
      [tenant, id],
    )
    await options.late.noteTakenBack(client, connection)
    await options.overtake(client, connection)
    await client.query(
      'update secrets set version = version + 1 where tenant = $1 and connection_id = $2 and field = $3',
      [tenant, id, GRANT_FIELD],
    )
  }

  /** A refresh that ended after the provider was asked has put another grant there: its tokens are late, too. */
  async function keepOther(client: Queryable, connection: Connection, { version, by }: Asked): Promise<void> {
    const { grant } = (await options.grants.lock(client, connection)) ?? {}
    const scheme = schemeOf(connection)
    if (grant === undefined || grant.version === version || scheme === undefined || by === undefined) return
    const toRevoke = toRevokeOf(connection, scheme, by, grant)
    if (toRevoke === undefined) return
    await options.late.keep(client, connection, { id: newId('rfr'), replaces: grant.version }, toRevoke)
  }

  /** The OAuth scheme that its grant belongs to. */
  function schemeOf(connection: Connection): OAuth2Scheme | undefined {
    const auth = connection.auth ?? options.authOf(connection.connector)
    return auth && schemesOf(auth).find((scheme) => scheme.kind === 'oauth2')
  }

  return { revokeGrant, revokeAtProvider }
}

function outcomeOf(revocation: Exclude<Revocation, { as: 'revoked' }>): string {
  return revocation.as === 'failed' ? revocation.code : revocation.as
}
