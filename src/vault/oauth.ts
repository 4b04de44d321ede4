import { MINUTE, PermanentError, RetryableError, SECOND, type Clock } from '../base/index.ts'
import type { OAuth2Scheme } from '../define/index.ts'
import type { Queryable } from '../db/index.ts'
import type { Egress } from '../egress/index.ts'
import type { Connection } from './connections.ts'
import { createSharedRead } from './expiringCache.ts'
import {
  isUsable,
  shouldRefresh,
  type Grant,
  type GrantReading,
  type GrantStore,
  type VersionedGrant,
} from './grants.ts'
import { tokenUrlOf } from './plan.ts'
import type { ConnectionSecrets, SecretStore } from './secrets.ts'
import { keyOf, type ConnectionRef, type RecordEntry, type VaultStorage } from './storage.ts'
import { askForTokens, judgeTokenAnswer, TOKEN_TIMEOUT_MS, type TokenQuestion } from './tokenEndpoint.ts'

const DEFAULT_AHEAD_SECONDS = 120
/** After a failed refresh this process asks the token endpoint again at the earliest then. */
const PAUSE_AFTER_FAILURE_MS = 5 * SECOND
/** Longest pause that a token endpoint can ask for. */
const LONGEST_PAUSE_MS = 15 * MINUTE
/** SQLSTATE of a lock that was not given in time. */
const LOCK_NOT_AVAILABLE = '55P03'
/** A grant's row is waited for as long as one holder may take, and a little. */
const LOCK_TIMEOUT_MS = TOKEN_TIMEOUT_MS + 5 * SECOND
/** Longest answer that is kept as it came, in characters. Tokens are kept whatever its length. */
const RAW_LIMIT = 64 * 1024
/** Refreshes that refused tokens may cause per connection and minute: a new token that is refused is not the token's fault. */
const MOST_FORCED_PER_MINUTE = 3

export interface GrantKeeperOptions {
  readonly storage: VaultStorage
  readonly grants: GrantStore
  readonly readSecrets: SecretStore['read']
  readonly send: Egress['send']
  readonly clock: Clock
  readonly record: RecordEntry
  /** Told when a connection's state changed. */
  readonly onStateChanged: (connection: ConnectionRef) => void
}

export interface AccessToken {
  readonly token: string
  /** Version of the grant that it belongs to. */
  readonly version: string
}

/** What became of a refused token. `refreshed`: there is a newer one, so the same request may be sent again, once. */
export type AfterUnauthorized =
  | { readonly as: 'refreshed' }
  | { readonly as: 'postponed'; readonly code: string; readonly reason: string; readonly retryAt: number }
  | { readonly as: 'refused'; readonly code: string; readonly reason: string }

export interface GrantKeeper {
  /**
   * The token to use now, refreshed if it is about to expire. Read at use: do not keep it.
   * Throws a {@link RetryableError} with `retryAt` if the token endpoint cannot give one now, and a
   * {@link PermanentError} `needs_reauthorization` if a person must authorize again.
   */
  accessToken(connection: Connection): Promise<AccessToken>
  /** After a 401: sees to a newer token than the one that was refused. */
  refreshAfterUnauthorized(connection: Connection, versionUsed: string): Promise<AfterUnauthorized>
}

type RefreshOutcome =
  | { readonly as: 'refreshed'; readonly grant: VersionedGrant }
  | { readonly as: 'postponed'; readonly code: string; readonly reason: string; readonly retryAt: number }
  | { readonly as: 'refused'; readonly code: string; readonly reason: string }

/**
 * Keeps OAuth grants fresh. One refresh at a time per grant over all nodes: in this process by sharing it, between
 * processes by the lock on the grant's row, and where a lock was lost by the grant's version (compare-and-set).
 */
export function createGrantKeeper(options: GrantKeeperOptions): GrantKeeper {
  const { storage, grants, clock } = options
  const underWay = new Map<string, Promise<RefreshOutcome>>()
  const paused = new Map<string, Extract<RefreshOutcome, { as: 'postponed' }>>()
  /** Granted by the provider, and not known to be committed: it replaces the version that it came from, before anything else. */
  const unsaved = new Map<string, { readonly replaces: string; readonly grant: Grant }>()
  const forced = new Map<string, readonly { readonly version: string; readonly at: number }[]>()
  const readShared = createSharedRead<GrantReading | undefined>()

  async function readGrant(connection: Connection): Promise<VersionedGrant> {
    const read = (): Promise<GrantReading | undefined> => grants.read(storage.reader, connection)
    return grantOf(connection, await readShared(keyOf(connection), read))
  }

  async function accessToken(connection: Connection): Promise<AccessToken> {
    const grant = await readGrant(connection)
    const aheadMs = (schemeOf(connection).refreshAheadSeconds ?? DEFAULT_AHEAD_SECONDS) * 1000
    if (!shouldRefresh(grant, clock.now(), aheadMs)) return tokenOf(grant)
    const outcome = await refresh(connection, grant.version)
    switch (outcome.as) {
      case 'refreshed':
        if (isUsable(outcome.grant, clock.now())) return tokenOf(outcome.grant)
        throw new RetryableError(
          'token_answer_invalid',
          `The token endpoint of connection "${connection.name}" gave no usable access token. It is asked again at the next try.`,
        )
      case 'postponed':
        if (isUsable(grant, clock.now())) return tokenOf(grant)
        throw new RetryableError(outcome.code, outcome.reason, { retryAt: outcome.retryAt })
      default:
        throw needsReauthorization(connection, outcome.reason)
    }
  }

  async function refreshAfterUnauthorized(
    connection: Connection,
    versionUsed: string,
  ): Promise<AfterUnauthorized> {
    const grant = await readGrant(connection)
    if (grant.version !== versionUsed) return { as: 'refreshed' }
    if (!mayForce(keyOf(connection), versionUsed))
      return {
        as: 'refused',
        code: 'new_token_refused',
        reason: `The provider refuses tokens of connection "${connection.name}" that it has just issued. Check the granted scopes and the account at the provider.`,
      }
    const outcome = await refresh(connection, versionUsed)
    return outcome.as === 'refreshed' ? { as: 'refreshed' } : outcome
  }

  function mayForce(key: string, version: string): boolean {
    const recent = (forced.get(key) ?? []).filter(({ at }) => at > clock.monotonic() - MINUTE)
    if (recent.some((one) => one.version === version)) return true
    if (recent.length >= MOST_FORCED_PER_MINUTE) return false
    forced.set(key, [...recent, { version, at: clock.monotonic() }])
    return true
  }

  /** Callers that saw the same version share one refresh of it. */
  function refresh(connection: Connection, seenVersion: string): Promise<RefreshOutcome> {
    const pause = paused.get(keyOf(connection))
    if (pause !== undefined && clock.now() < pause.retryAt) return Promise.resolve(pause)
    const key = `${keyOf(connection)}/${seenVersion}`
    const shared = underWay.get(key)
    if (shared !== undefined) return shared
    const started = refreshOnce(connection, seenVersion).finally(() => underWay.delete(key))
    underWay.set(key, started)
    return started
  }

  async function refreshOnce(connection: Connection, seenVersion: string): Promise<RefreshOutcome> {
    paused.delete(keyOf(connection))
    const secrets = await options.readSecrets(connection)
    let outcome: RefreshOutcome
    try {
      outcome = await storage.transaction((client) =>
        refreshUnderLock(client, connection, secrets, seenVersion),
      )
    } catch (error) {
      if (!unsaved.has(keyOf(connection))) return busyOrThrow(connection, error)
      // The answer of the token endpoint is worth more than that transaction: it is saved in another.
      outcome = await storage.transaction((client) =>
        refreshUnderLock(client, connection, secrets, seenVersion),
      )
    }
    unsaved.delete(keyOf(connection))
    if (outcome.as === 'postponed') paused.set(keyOf(connection), outcome)
    if (outcome.as === 'refused') options.onStateChanged(connection)
    return outcome
  }

  async function refreshUnderLock(
    client: Queryable,
    connection: Connection,
    secrets: ConnectionSecrets | undefined,
    seenVersion: string,
  ): Promise<RefreshOutcome> {
    await boundLock(client)
    const held = await grants.lock(client, connection)
    const grant = grantOf(connection, held)
    if (grant.version !== seenVersion) return { as: 'refreshed', grant }

    const waiting = unsaved.get(keyOf(connection))
    if (waiting?.replaces === grant.version) return save(client, connection, grant, waiting.grant)

    const question = await questionOf(connection, secrets, grant.refreshToken)
    const answer = await judgeTokenAnswer(await askForTokens(options.send, question), question, clock.now())
    switch (answer.as) {
      case 'granted': {
        const now = clock.now()
        const granted: Grant = {
          refreshToken: answer.refreshToken ?? grant.refreshToken,
          obtainedAt: now,
          ...(answer.raw.length > RAW_LIMIT ? {} : { raw: answer.raw }),
          ...(answer.accessToken === undefined ? {} : { accessToken: answer.accessToken }),
          ...(answer.lifetimeMs === undefined ? {} : { expiresAt: now + answer.lifetimeMs }),
        }
        unsaved.set(keyOf(connection), { replaces: grant.version, grant: granted })
        return save(client, connection, grant, granted)
      }
      case 'unavailable':
        return postponed(answer)
      default:
        return believeDead(client, connection, grant, answer)
    }
  }

  /** Commits with the caller's transaction; only then is the token given to anybody. */
  async function save(
    client: Queryable,
    connection: Connection,
    old: VersionedGrant,
    granted: Grant,
  ): Promise<RefreshOutcome> {
    const saved = await grants.replace(client, connection, old.version, granted)
    // Somebody else was faster although we held the lock: theirs stands, ours is not used.
    if (saved === undefined)
      return { as: 'refreshed', grant: grantOf(connection, await grants.read(client, connection)) }
    await options.record(client, {
      tenant: connection.tenant,
      at: clock.now(),
      actor: 'system',
      action: 'credential.refreshed',
      target: connection.id,
      outcome: 'succeeded',
      connectionId: connection.id,
      detail: {
        name: connection.name,
        version: saved.version,
        rotated: granted.refreshToken !== old.refreshToken,
        ...(granted.expiresAt === undefined ? {} : { expiresAt: new Date(granted.expiresAt).toISOString() }),
      },
    })
    return { as: 'refreshed', grant: saved }
  }

  /** `invalid_grant` is believed only if the grant is still the one that we asked with. Nothing of it is deleted. */
  async function believeDead(
    client: Queryable,
    connection: Connection,
    asked: VersionedGrant,
    answer: { readonly code: string; readonly reason: string },
  ): Promise<RefreshOutcome> {
    const now = grantOf(connection, await grants.read(client, connection))
    if (now.version !== asked.version) return { as: 'refreshed', grant: now }
    await client.query(
      `update connections set state = 'needs_reauthorization', updated_at = now()
       where tenant = $1 and id = $2 and state = 'active'`,
      [connection.tenant, connection.id],
    )
    await options.record(client, {
      tenant: connection.tenant,
      at: clock.now(),
      actor: 'system',
      action: 'credential.refused',
      target: connection.id,
      outcome: answer.code,
      connectionId: connection.id,
      detail: { name: connection.name, version: asked.version, reason: answer.reason },
    })
    return { as: 'refused', ...answer }
  }

  /** Another node holds the lock longer than a refresh can take. */
  function busyOrThrow(connection: Connection, error: unknown): RefreshOutcome {
    if ((error as { code?: unknown }).code !== LOCK_NOT_AVAILABLE) throw error
    return postponed({
      code: 'credential_busy',
      reason: `Another node has been refreshing the grant of connection "${connection.name}" for more than ${LOCK_TIMEOUT_MS / SECOND} s.`,
    })
  }

  function postponed(answer: { code: string; reason: string; retryAt?: number }): RefreshOutcome {
    const now = clock.now()
    const retryAt = Math.min(
      Math.max(answer.retryAt ?? 0, now + PAUSE_AFTER_FAILURE_MS),
      now + LONGEST_PAUSE_MS,
    )
    return { as: 'postponed', code: answer.code, reason: answer.reason, retryAt }
  }

  return { accessToken, refreshAfterUnauthorized }
}

/** The row is held while the token endpoint is asked: both the wait for it and the hold itself are bounded. */
async function boundLock(client: Queryable): Promise<void> {
  await client.query(`set local lock_timeout = ${LOCK_TIMEOUT_MS}`)
  await client.query(`set local idle_in_transaction_session_timeout = ${LOCK_TIMEOUT_MS}`)
}

async function questionOf(
  connection: Connection,
  secrets: ConnectionSecrets | undefined,
  refreshToken: string,
): Promise<TokenQuestion> {
  const clientId = await secrets?.value('clientId')
  const clientSecret = await secrets?.value('clientSecret')
  if (clientId === undefined || clientSecret === undefined)
    throw new PermanentError(
      'secret_missing',
      `Connection "${connection.name}" has no clientId or clientSecret. Give them with: trestle connections add ${connection.name}`,
    )
  const scheme = schemeOf(connection)
  return {
    tokenUrl: tokenUrlOf(scheme, connection),
    clientAuth: scheme.clientAuth,
    allowPrivateNetwork: connection.allowPrivateNetwork,
    clientId,
    clientSecret,
    refreshToken,
  }
}

function schemeOf(connection: Connection): OAuth2Scheme {
  if (connection.auth?.kind === 'oauth2') return connection.auth
  throw new PermanentError(
    'connector_unknown',
    `Connection "${connection.name}" is not authorized by OAuth 2.0. Check that trestle.config.ts declares its connector.`,
  )
}

/** The grant to work with. Throws where a person must authorize first. */
function grantOf(connection: Connection, reading: GrantReading | undefined): VersionedGrant {
  if (reading === undefined || reading.state === 'revoked')
    throw new PermanentError(
      'connection_revoked',
      `Connection "${connection.name}" was removed. Add it again with: trestle connections add ${connection.name}`,
    )
  if (reading.state === 'needs_reauthorization' || reading.grant === undefined)
    throw needsReauthorization(connection, 'Its grant was refused, or it never had one.')
  return reading.grant
}

function needsReauthorization(connection: Connection, why: string): PermanentError {
  return new PermanentError(
    'needs_reauthorization',
    `Connection "${connection.name}" must be authorized again. ${why} Authorize Trestle at the provider and give the new refresh token with: trestle connections add ${connection.name}`,
  )
}

function tokenOf(grant: VersionedGrant): AccessToken {
  return { token: grant.accessToken!, version: grant.version }
}
