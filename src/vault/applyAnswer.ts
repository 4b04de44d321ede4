import type { Clock, Random } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import type { ConnectionState } from '../define/index.ts'
import type { Connection } from './connections.ts'
import { grantFrom, type Grant, type GrantStore, type VersionedGrant } from './grants.ts'
import type { KeptAnswer, Refresh, RefreshStore } from './refreshes.ts'
import { busy, mayHideTokens, retryAtOf, type RefreshOutcome } from './refreshOutcome.ts'
import type { LateTokens } from './lateTokens.ts'
import { leaveReturn } from './returns.ts'
import { toRevokeOf } from './revocation.ts'
import type { RecordEntry } from './storage.ts'
import { oauthOf, type ClientSecrets, type TokenAnswer } from './tokenEndpoint.ts'

export interface AnswerApplierOptions {
  readonly grants: Pick<GrantStore, 'lock' | 'replace'>
  readonly refreshes: RefreshStore
  readonly late: Pick<LateTokens, 'isLate' | 'keep'>
  readonly clock: Clock
  readonly random: Random
  readonly record: RecordEntry
}

/** What was asked with, and what came of it. */
export interface Answered {
  /** `undefined` where it is gone with its connection. */
  readonly asked: Grant | undefined
  readonly kept: KeptAnswer
  readonly answer: TokenAnswer
  /** Who asked. */
  readonly client: ClientSecrets
}

/** What stands there, under the lock. */
interface Held {
  readonly state: ConnectionState
  readonly grant: VersionedGrant
}

/** Brings a grant to what a token endpoint said of it: in the caller's transaction, under the lock of the connection's row. */
export interface AnswerApplier {
  apply(client: Queryable, connection: Connection, own: Refresh, answered: Answered): Promise<RefreshOutcome>
  /** A token that has ended, without a refresh token to it: the grant is over, unless another stands there by now. */
  cannotAsk(client: Queryable, connection: Connection, own: Refresh): Promise<RefreshOutcome>
}

export function createAnswerApplier(options: AnswerApplierOptions): AnswerApplier {
  const { grants, refreshes, late, clock, random } = options

  async function apply(
    client: Queryable,
    connection: Connection,
    own: Refresh,
    answered: Answered,
  ): Promise<RefreshOutcome> {
    const { asked, kept, answer } = answered
    const held = await grants.lock(client, connection)
    if (held === undefined) return removed(client, connection, own)
    if (held.state === 'revoked' || held.grant === undefined) {
      // Removed, or removed and added again. One that is active without a grant has other credentials.
      const isKept = held.state !== 'active' && (await takeBack(client, connection, own, answered))
      return isKept ? removedMeanwhile(connection) : removed(client, connection, own)
    }
    if (held.state !== 'active' && (await late.isLate(client, connection, own)))
      if (await takeBack(client, connection, own, answered)) return takenBack()
    switch (answer.as) {
      case 'granted':
        return put(client, connection, own, grantFrom(answer, kept.at, asked?.refreshToken), asked, {
          state: held.state,
          grant: held.grant,
        })
      case 'unavailable': {
        const retryAt = retryAtOf(own, answer.retryAt, { clock, random })
        const doubtful = mayHideTokens(kept)
        const failure = { code: answer.code, reason: answer.reason, retryAt, doubtful }
        await refreshes.fail(client, connection, own, failure)
        return { as: 'postponed', code: failure.code, reason: failure.reason, retryAt }
      }
      default:
        return believeDead(client, connection, own, { state: held.state, grant: held.grant }, answer)
    }
  }

  /** Commits with the caller's transaction; only then is the token given to anybody. */
  async function put(
    client: Queryable,
    connection: Connection,
    own: Refresh,
    granted: Grant,
    asked: Grant | undefined,
    held: Held,
  ): Promise<RefreshOutcome> {
    const saved = await grants.replace(client, connection, own.replaces, granted)
    // Somebody else was faster although it was our turn: theirs stands, ours stays sealed and is not used.
    if (saved === undefined) {
      await refreshes.supersede(client, connection, own)
      return held.state === 'active' ? { as: 'refreshed', grant: held.grant } : takenBack()
    }
    await refreshes.finish(client, connection, own)
    await refreshes.dropEmpty(client, connection)
    const { rows } = await client.query(
      `update connections set state = 'active', updated_at = now()
       where tenant = $1 and id = $2 and state = 'needs_reauthorization' returning id`,
      [connection.tenant, connection.id],
    )
    const entry = {
      tenant: connection.tenant,
      at: clock.now(),
      actor: 'system' as const,
      target: connection.id,
      outcome: 'succeeded',
      connectionId: connection.id,
    }
    await options.record(client, {
      ...entry,
      action: 'credential.refreshed',
      detail: {
        name: connection.name,
        version: saved.version,
        rotated: granted.refreshToken !== asked?.refreshToken,
        ...timeIn('expiresAt', granted.expiresAt),
        ...timeIn('refreshTokenExpiresAt', granted.refreshExpiresAt),
      },
    })
    if (rows.length > 0) {
      await leaveReturn(client, connection, clock)
      await options.record(client, {
        ...entry,
        action: 'connection.reauthorized',
        detail: { name: connection.name, by: 'an answer of the token endpoint that was found again' },
      })
    }
    return { as: 'refreshed', grant: saved }
  }

  /** What came after the grant was taken back is to be taken back, too; `false` where there is nothing that could be. */
  async function takeBack(
    client: Queryable,
    connection: Connection,
    own: Refresh,
    { asked, answer, client: askedBy }: Answered,
  ): Promise<boolean> {
    if (answer.as !== 'granted') return false
    const { accessToken, refreshToken, expiresAt } = answer
    // The refresh token that it was asked with is taken back already.
    const isNew = refreshToken !== undefined && refreshToken !== asked?.refreshToken
    const tokens = {
      ...(accessToken && { accessToken }),
      ...(isNew && { refreshToken }),
      ...(expiresAt !== undefined && { expiresAt }),
    }
    const toRevoke = toRevokeOf(connection, oauthOf(connection), askedBy, tokens)
    if (toRevoke === undefined) return false
    await late.keep(client, connection, own, toRevoke)
    return true
  }

  function takenBack(): RefreshOutcome {
    const reason = 'It was taken back, or refused, while it was being refreshed.'
    return { as: 'refused', code: 'needs_reauthorization', reason }
  }

  /**
   * `invalid_grant` is believed only if the grant is still the one that was asked with, and no other answer for it is
   * there to be read. Nothing of the grant is deleted.
   */
  async function believeDead(
    client: Queryable,
    connection: Connection,
    own: Refresh,
    { state, grant: held }: Held,
    refusal: { readonly code: string; readonly reason: string },
  ): Promise<RefreshOutcome> {
    await refreshes.finish(client, connection, own)
    if (state === 'needs_reauthorization') return { as: 'refused', ...refusal }
    if (held.version !== own.replaces) return { as: 'refreshed', grant: held }
    const others = await refreshes.list(client, connection)
    if (others.some((row) => row.state === 'answered' && row.replaces === own.replaces))
      return busy(connection, clock)
    const answer = own.doubtful
      ? {
          code: 'token_answer_lost',
          reason: `${refusal.reason} An earlier answer of the token endpoint to the same refresh token was lost on its way, so the provider has most likely rotated to a token that we never got.`,
        }
      : refusal
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
      detail: { name: connection.name, version: held.version, reason: answer.reason },
    })
    return { as: 'refused', ...answer }
  }

  async function cannotAsk(client: Queryable, connection: Connection, own: Refresh): Promise<RefreshOutcome> {
    const { state, grant } = (await grants.lock(client, connection)) ?? {}
    if (state === undefined || grant === undefined) return removed(client, connection, own)
    return believeDead(
      client,
      connection,
      own,
      { state, grant },
      {
        code: 'token_refused',
        reason: 'The access token has ended, and the provider gives no refresh tokens.',
      },
    )
  }

  async function removed(client: Queryable, connection: Connection, own: Refresh): Promise<RefreshOutcome> {
    await refreshes.finish(client, connection, own)
    return removedMeanwhile(connection)
  }

  function removedMeanwhile(connection: Connection): RefreshOutcome {
    const reason = `Connection "${connection.name}" was removed while its grant was being refreshed.`
    return { as: 'refused', code: 'connection_revoked', reason }
  }

  return { apply, cannotAsk }
}

function timeIn(name: string, at: number | undefined): Record<string, string> {
  return at === undefined ? {} : { [name]: new Date(at).toISOString() }
}
