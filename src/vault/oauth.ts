import { MINUTE, RetryableError, SECOND, type Clock } from '../base/index.ts'
import type { Connection } from './connections.ts'
import { createSharedRead } from './expiringCache.ts'
import {
  grantOf,
  isUsable,
  needsReauthorization,
  shouldRefresh,
  type GrantReading,
  type GrantStore,
  type VersionedGrant,
} from './grants.ts'
import type { Refresher } from './refresh.ts'
import type { RefreshOutcome } from './refreshOutcome.ts'
import { keyOf, type VaultStorage } from './storage.ts'
import { claimOf, oauthOf } from './tokenEndpoint.ts'

const DEFAULT_AHEAD_SECONDS = 120
/** Refreshes that refused tokens may cause per connection and minute: a new token that is refused is not the token's fault. */
const MOST_FORCED_PER_MINUTE = 3

export interface GrantKeeperOptions {
  readonly storage: VaultStorage
  readonly grants: GrantStore
  readonly refresher: Refresher
  readonly clock: Clock
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
   * The token to use now. Read at use: do not keep it. One that nears its end is given out while a new one is being
   * fetched, so that a slow token endpoint delays nobody; one that has ended is waited for.
   * Throws a {@link RetryableError} with `retryAt` if the token endpoint cannot give one now, and a `PermanentError`
   * `needs_reauthorization` if a person must authorize again. `trying`: a token that nothing of ours can renew is given
   * out also where the provider refused it before.
   */
  accessToken(connection: Connection, options?: { readonly trying?: boolean }): Promise<AccessToken>
  /**
   * After a 401: sees to a newer token than the one that was refused. One that nothing of ours can renew is
   * `credential_refused`, as a key is: nothing is changed, and the connection's check says what it is worth.
   */
  refreshAfterUnauthorized(connection: Connection, versionUsed: string): Promise<AfterUnauthorized>
  /** Refreshes the grant if it is within its time, earlier by `share` (0 to 1) of that time again. Never throws. */
  refreshAhead(connection: Connection, share: number): Promise<void>
  /** Goes on with a refresh of this version whose node died while it asked, whatever time its token has left. */
  refreshLost(connection: Connection, version: string): Promise<void>
  /** Resolves when every refresh that was begun here is over. */
  drain(): Promise<void>
}

/** Keeps OAuth grants fresh: when to refresh, and what a caller is told. How a refresh is done is in refresh.ts. */
export function createGrantKeeper(options: GrantKeeperOptions): GrantKeeper {
  const { storage, grants, refresher, clock } = options
  const underWay = new Map<string, Promise<RefreshOutcome>>()
  const paused = new Map<string, { readonly outcome: Postponed; readonly version: string }>()
  const forced = new Map<string, readonly { readonly version: string; readonly at: number }[]>()
  const readShared = createSharedRead<GrantReading | undefined>()

  function read(connection: Connection): Promise<GrantReading | undefined> {
    return readShared(keyOf(connection), () => grants.read(storage.reader, connection))
  }

  /** Only a person can give another: it is treated as a key is, until it ends. */
  function isLikeKey(connection: Connection, grant: VersionedGrant): boolean {
    return claimOf(connection, grant) === undefined && isUsable(grant, clock.now())
  }

  async function accessToken(
    connection: Connection,
    { trying = false }: { readonly trying?: boolean } = {},
  ): Promise<AccessToken> {
    const reading = await read(connection)
    if (trying && reading?.state === 'needs_reauthorization' && reading.grant !== undefined)
      if (isLikeKey(connection, reading.grant)) return tokenOf(reading.grant)
    const grant = grantOf(connection, reading)
    if (!isDue(connection, grant, aheadOf(connection))) return tokenOf(grant)
    const refreshing = refresh(connection, grant.version)
    if (isUsable(grant, clock.now())) {
      refreshing.catch(() => undefined) // Who finds the token ended hears of it.
      return tokenOf(grant)
    }
    const outcome = await refreshing
    switch (outcome.as) {
      case 'refreshed':
        if (isUsable(outcome.grant, clock.now())) return tokenOf(outcome.grant)
        throw new RetryableError(
          'token_answer_invalid',
          `The token endpoint of connection "${connection.name}" gave no usable access token. It is asked again at the next try.`,
        )
      case 'postponed':
        throw new RetryableError(outcome.code, outcome.reason, { retryAt: outcome.retryAt })
      default:
        throw needsReauthorization(connection, outcome.reason)
    }
  }

  /** What only a person can renew is used to its end. */
  function isDue(connection: Connection, grant: VersionedGrant, aheadMs: number): boolean {
    const now = clock.now()
    if (claimOf(connection, grant) === undefined) return !isUsable(grant, now)
    return shouldRefresh(grant, now, aheadMs)
  }

  async function refreshAfterUnauthorized(
    connection: Connection,
    versionUsed: string,
  ): Promise<AfterUnauthorized> {
    const reading = await read(connection)
    if (reading?.grant?.version === versionUsed && isLikeKey(connection, reading.grant))
      return {
        as: 'refused',
        code: 'credential_refused',
        reason: `The provider refuses the token of connection "${connection.name}", and gives no refresh tokens. The connection's check asks once more before it is believed. Where it lasts, authorize again with: trestle connections add ${connection.name}`,
      }
    const grant = grantOf(connection, reading)
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
    if (pause?.version === seenVersion && clock.now() < pause.outcome.retryAt)
      return Promise.resolve(pause.outcome)
    const key = `${keyOf(connection)}/${seenVersion}`
    const shared = underWay.get(key)
    if (shared !== undefined) return shared
    const started = refreshOnce(connection, seenVersion).finally(() => underWay.delete(key))
    underWay.set(key, started)
    return started
  }

  async function refreshOnce(connection: Connection, seenVersion: string): Promise<RefreshOutcome> {
    paused.delete(keyOf(connection))
    const outcome = await refresher.refresh(connection, seenVersion)
    if (outcome.as === 'postponed') paused.set(keyOf(connection), { outcome, version: seenVersion })
    return outcome
  }

  async function refreshAhead(connection: Connection, share: number): Promise<void> {
    try {
      const grant = grantOf(connection, await read(connection))
      if (isDue(connection, grant, aheadOf(connection) * (1 + share)))
        await refresh(connection, grant.version)
    } catch {
      // A call over the connection will say why; until then there is nobody to tell.
    }
  }

  return {
    accessToken,
    refreshAfterUnauthorized,
    refreshAhead,
    async refreshLost(connection, version) {
      await refresh(connection, version)
    },
    async drain() {
      await Promise.allSettled(underWay.values())
      await refresher.kept()
    },
  }
}

type Postponed = Extract<RefreshOutcome, { as: 'postponed' }>

function aheadOf(connection: Connection): number {
  return (oauthOf(connection).refreshAheadSeconds ?? DEFAULT_AHEAD_SECONDS) * SECOND
}

function tokenOf(grant: VersionedGrant): AccessToken {
  return { token: grant.accessToken!, version: grant.version }
}
