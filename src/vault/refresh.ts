import {
  crashPoint,
  MINUTE,
  newId,
  pause,
  RetryableError,
  SECOND,
  type Clock,
  type Random,
} from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import type { ConnectionState } from '../define/index.ts'
import type { Egress } from '../egress/index.ts'
import type { Connection } from './connections.ts'
import { grantFrom, grantOf, type Grant, type GrantStore, type VersionedGrant } from './grants.ts'
import {
  keptAnswerOf,
  turnOf,
  type KeptAnswer,
  type Refresh,
  type RefreshStore,
  type Turn,
} from './refreshes.ts'
import type { SecretStore } from './secrets.ts'
import { keyOf, type ConnectionRef, type RecordEntry, type VaultStorage } from './storage.ts'
import {
  askForTokens,
  claimOf,
  clientOf,
  judgeTokenAnswer,
  questionOf,
  TOKEN_TIMEOUT_MS,
  type TokenAnswer,
  type TokenQuestion,
} from './tokenEndpoint.ts'

/** How long a refresh may take. A turn outlives both together: whoever takes the next one knows that nobody asks any more. */
export interface RefreshTiming {
  /** Within this time of taking its turn a node must have asked; otherwise it lets the turn pass. */
  readonly askWithinMs: number
  /** Longest exchange with a token endpoint. */
  readonly answerWithinMs: number
}

const TIMING: RefreshTiming = { askWithinMs: 10 * SECOND, answerWithinMs: TOKEN_TIMEOUT_MS }
/** How long a caller waits for the turn of another node before it is told to come again. */
const WAIT_LIMIT_MS = 25 * SECOND
/** When it may come again: whatever ends the turn, the next caller should find out at once. */
const BUSY_PAUSE_MS = SECOND
const POLL_MS = 250
/** The first pause after the token endpoint failed; each further one is twice as long. */
const FIRST_PAUSE_MS = 5 * SECOND
const LONGEST_OWN_PAUSE_MS = 5 * MINUTE
/** Longest pause that a token endpoint can ask for. */
const LONGEST_PAUSE_MS = 15 * MINUTE
/** An answer that could not be committed is tried again at this interval, as long as the process lives. */
const KEEP_AGAIN_MS = SECOND

export interface RefresherOptions {
  readonly storage: VaultStorage
  readonly grants: GrantStore
  readonly refreshes: RefreshStore
  readonly readSecrets: SecretStore['read']
  readonly send: Egress['send']
  readonly clock: Clock
  readonly random: Random
  /** By which another node's turn is waited for. */
  readonly pollClock: Clock
  /** For simulations. Default: 10 s and 20 s. */
  readonly timing?: RefreshTiming | undefined
  readonly record: RecordEntry
  /** Told when a connection's state changed. */
  readonly onStateChanged: (connection: ConnectionRef) => void
}

export type RefreshOutcome =
  | { readonly as: 'refreshed'; readonly grant: VersionedGrant }
  | { readonly as: 'postponed'; readonly code: string; readonly reason: string; readonly retryAt: number }
  | { readonly as: 'refused'; readonly code: string; readonly reason: string }

export interface Refresher {
  /** Sees to another grant than version `seenVersion`: by asking for one, or by waiting for who asks. */
  refresh(connection: Connection, seenVersion: string): Promise<RefreshOutcome>
  /** Reads an answer that was kept by a node which died before it could, whatever the connection's state is. */
  recover(connection: Connection): Promise<void>
  /** Resolves when every answer that this process got is committed. */
  kept(): Promise<void>
}

/**
 * One refresh of a grant: take the turn (committed) → ask, with nothing locked → keep the sealed answer (committed) →
 * read it → put the new grant in place of the one that was asked with (compare-and-set, committed) → use it. Whatever
 * dies between two of these, the next node goes on from what is committed. Only an answer that was never received or
 * never kept is lost, and then the provider's next word decides.
 */
export function createRefresher(options: RefresherOptions): Refresher {
  const { storage, grants, refreshes, clock, random, timing = TIMING } = options
  const leaseMs = timing.askWithinMs + timing.answerWithinMs
  /** Answers whose commit failed, by connection: they are kept here until it does not. */
  const unkept = new Map<string, () => Promise<void>>()
  const keeping = new Set<Promise<void>>()

  async function refresh(connection: Connection, seenVersion: string): Promise<RefreshOutcome> {
    await commitUnkept(keyOf(connection))
    const until = options.pollClock.monotonic() + WAIT_LIMIT_MS
    for (;;) {
      const takenAt = momentOf(clock)
      const id = newId('rfr')
      const take = (): Promise<Turn> =>
        storage.transaction((client) => takeTurn(client, connection, seenVersion, id))
      // Where the answer to COMMIT was lost, the same id tells whether the turn is ours.
      const turn = await take().catch((error: unknown) => {
        if (error instanceof RetryableError) return take()
        throw error
      })
      switch (turn.as) {
        case 'changed':
          return { as: 'refreshed', grant: turn.grant }
        case 'ours':
          crashPoint('refresh.taken', connection.id)
          return ask(connection, turn, takenAt)
        case 'answered':
          return read(connection, turn.refresh, turn.grant)
        case 'paused':
          return { ...turn, as: 'postponed' }
        default:
          if (options.pollClock.monotonic() >= until) return busy(connection)
          await untilTheirsIsOver(connection, seenVersion, until)
      }
    }
  }

  async function takeTurn(
    client: Queryable,
    connection: Connection,
    seenVersion: string,
    id: string,
  ): Promise<Turn> {
    const grant = grantOf(connection, await grants.lock(client, connection))
    if (grant.version !== seenVersion) return { as: 'changed', grant }
    const rows = await refreshes.list(client, connection)
    const own = rows.find((row) => row.id === id)
    if (own) return { as: 'ours', refresh: own, grant }
    const turn = turnOf(rows, grant, clock.now())
    if (turn.as !== 'free') return turn
    const begun = await refreshes.begin(client, connection, grant, {
      id,
      after: turn.after,
      leaseMs,
    })
    return { as: 'ours', refresh: begun, grant }
  }

  /** Looks, without a lock, until there is something to do. */
  async function untilTheirsIsOver(
    connection: Connection,
    seenVersion: string,
    until: number,
  ): Promise<void> {
    do {
      await pause(options.pollClock, POLL_MS, { keepAlive: true })
      const grant = grantOf(connection, await grants.read(storage.reader, connection))
      if (grant.version !== seenVersion) return
      const rows = await refreshes.list(storage.reader, connection)
      if (turnOf(rows, grant, clock.now()).as !== 'theirs') return
    } while (options.pollClock.monotonic() < until)
  }

  async function ask(
    connection: Connection,
    { refresh: own, grant }: { readonly refresh: Refresh; readonly grant: VersionedGrant },
    takenAt: Moment,
  ): Promise<RefreshOutcome> {
    const claim = claimOf(connection, grant)
    if (claim === undefined) return cannotAsk(connection, own)
    let question: TokenQuestion
    try {
      question = questionOf(connection, await clientOf(connection, options.readSecrets), claim)
    } catch (error) {
      await storage.transaction((client) => refreshes.finish(client, connection, own))
      throw error
    }
    let sent = false
    const result = await askForTokens(options.send, question, {
      timeoutMs: timing.answerWithinMs,
      // A node that stood still since it took its turn may not be the only one any more.
      mayLeave: () => isWithin(timing.askWithinMs, takenAt, clock),
      onSent: () => {
        sent = true
      },
    })
    crashPoint('refresh.answered', connection.id)
    const answer = keptAnswerOf(result, clock.now())
    if (answer === undefined) {
      const reason =
        result.as === 'answered'
          ? `The token endpoint's answer has ${result.body.length} bytes, which no token has.`
          : `The token endpoint: ${result.reason}`
      const code = result.as === 'answered' ? 'token_answer_invalid' : result.code
      return failed(connection, own, { code, reason, doubtful: sent || result.as === 'unknown' })
    }
    await keep(connection, own, answer)
    crashPoint('refresh.kept', connection.id)
    return settle(connection, own, grant, answer)
  }

  /** A refused token without a refresh token to it: the grant is over, unless another stands there by now. */
  async function cannotAsk(connection: Connection, own: Refresh): Promise<RefreshOutcome> {
    const refusal = {
      code: 'token_refused',
      reason: 'The provider refuses the access token, and it gives no refresh tokens.',
    }
    const outcome = await storage.transaction(async (client) => {
      const { state, grant } = (await grants.lock(client, connection)) ?? {}
      return state === undefined || grant === undefined
        ? removed(client, connection, own)
        : believeDead(client, connection, own, { state, grant }, refusal)
    })
    options.onStateChanged(connection)
    return outcome
  }

  async function removed(client: Queryable, connection: Connection, own: Refresh): Promise<RefreshOutcome> {
    await refreshes.finish(client, connection, own)
    const reason = `Connection "${connection.name}" was removed while its grant was being refreshed.`
    return { as: 'refused', code: 'connection_revoked', reason }
  }

  /** Commits the sealed answer before anybody looks into it. Where the database is away, it goes on trying. */
  async function keep(connection: Connection, own: Refresh, answer: KeptAnswer): Promise<void> {
    const key = keyOf(connection)
    unkept.set(key, () =>
      storage.transaction((client) => refreshes.keepAnswer(client, connection, own, answer)),
    )
    try {
      await commitUnkept(key).catch(() => commitUnkept(key))
    } catch (error) {
      const trying = goOnKeeping(key).finally(() => keeping.delete(trying))
      keeping.add(trying)
      throw error
    }
  }

  async function commitUnkept(key: string): Promise<void> {
    const commit = unkept.get(key)
    await commit?.()
    if (unkept.get(key) === commit) unkept.delete(key)
  }

  async function goOnKeeping(key: string): Promise<void> {
    while (unkept.has(key)) {
      await pause(options.pollClock, KEEP_AGAIN_MS)
      await commitUnkept(key).catch(() => undefined)
    }
  }

  /** Reads an answer that another process kept. */
  async function read(
    connection: Connection,
    found: Refresh,
    grant: VersionedGrant,
  ): Promise<RefreshOutcome> {
    const answer = await refreshes.readAnswer(storage.reader, connection, found)
    if (answer !== undefined) return settle(connection, found, grant, answer)
    const now = await grants.read(storage.reader, connection)
    const current = grantOf(connection, now)
    return current.version === grant.version ? busy(connection) : { as: 'refreshed', grant: current }
  }

  async function settle(
    connection: Connection,
    own: Refresh,
    asked: Grant,
    kept: KeptAnswer,
  ): Promise<RefreshOutcome> {
    const client = await clientOf(connection, options.readSecrets)
    const question = questionOf(connection, client, claimOf(connection, asked))
    const answer = await judgeTokenAnswer(kept, question)
    const outcome = await storage.transaction((client) => apply(client, connection, own, asked, kept, answer))
    if (outcome.as === 'refreshed') crashPoint('refresh.saved', connection.id)
    options.onStateChanged(connection)
    return outcome
  }

  /** Under the lock of the connection's row, and in one transaction with the ledger. */
  async function apply(
    client: Queryable,
    connection: Connection,
    own: Refresh,
    asked: Grant,
    kept: KeptAnswer,
    answer: TokenAnswer,
  ): Promise<RefreshOutcome> {
    const held = await grants.lock(client, connection)
    if (held?.state === 'revoked' || held?.grant === undefined) return removed(client, connection, own)
    switch (answer.as) {
      case 'granted':
        return put(client, connection, own, grantFrom(answer, kept.at, asked.refreshToken), asked, held.grant)
      case 'unavailable': {
        const retryAt = retryAtOf(own, answer.retryAt)
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
    asked: Grant,
    held: VersionedGrant,
  ): Promise<RefreshOutcome> {
    const saved = await grants.replace(client, connection, own.replaces, granted)
    // Somebody else was faster although it was our turn: theirs stands, ours stays sealed and is not used.
    if (saved === undefined) {
      await refreshes.supersede(client, connection, own)
      return { as: 'refreshed', grant: held }
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
        rotated: granted.refreshToken !== asked.refreshToken,
        ...timeIn('expiresAt', granted.expiresAt),
        ...timeIn('refreshTokenExpiresAt', granted.refreshExpiresAt),
      },
    })
    if (rows.length > 0)
      await options.record(client, {
        ...entry,
        action: 'connection.reauthorized',
        detail: { name: connection.name, by: 'an answer of the token endpoint that was found again' },
      })
    return { as: 'refreshed', grant: saved }
  }

  /**
   * `invalid_grant` is believed only if the grant is still the one that was asked with, and no other answer for it is
   * there to be read. Nothing of the grant is deleted.
   */
  async function believeDead(
    client: Queryable,
    connection: Connection,
    own: Refresh,
    { state, grant: held }: { readonly state: ConnectionState; readonly grant: VersionedGrant },
    refusal: { readonly code: string; readonly reason: string },
  ): Promise<RefreshOutcome> {
    await refreshes.finish(client, connection, own)
    if (state === 'needs_reauthorization') return { as: 'refused', ...refusal }
    if (held.version !== own.replaces) return { as: 'refreshed', grant: held }
    const others = await refreshes.list(client, connection)
    if (others.some((row) => row.state === 'answered' && row.replaces === own.replaces))
      return busy(connection)
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

  async function failed(
    connection: Connection,
    own: Refresh,
    failure: { readonly code: string; readonly reason: string; readonly doubtful: boolean },
  ): Promise<RefreshOutcome> {
    const retryAt = retryAtOf(own, undefined)
    await storage.transaction((client) => refreshes.fail(client, connection, own, { ...failure, retryAt }))
    return { as: 'postponed', code: failure.code, reason: failure.reason, retryAt }
  }

  /** Each pause is twice the last, a little scattered; a time that the endpoint named counts, within reason. */
  function retryAtOf({ failures }: Refresh, named: number | undefined): number {
    const now = clock.now()
    const own = Math.min(FIRST_PAUSE_MS * 2 ** Math.min(failures, 10), LONGEST_OWN_PAUSE_MS)
    const scattered = failures === 0 ? own : own * (0.8 + 0.4 * random.next())
    return Math.min(Math.max(named ?? 0, now + Math.round(scattered)), now + LONGEST_PAUSE_MS)
  }

  function busy(connection: Connection): RefreshOutcome {
    return {
      as: 'postponed',
      code: 'credential_busy',
      reason: `Another node is refreshing the grant of connection "${connection.name}", and its token endpoint is slow.`,
      retryAt: clock.now() + BUSY_PAUSE_MS,
    }
  }

  return {
    refresh,
    async recover(connection) {
      const rows = await refreshes.list(storage.reader, connection)
      const { grant } = (await grants.read(storage.reader, connection)) ?? {}
      for (const row of rows)
        if (row.state === 'answered' && grant !== undefined) await read(connection, row, grant)
    },
    async kept() {
      await Promise.all(keeping)
    },
  }
}

/**
 * Whether tokens may have been granted behind an answer that has none: a gateway gives up on a server that goes on
 * (RFC 9110, 15.6.3 and 15.6.5), and a 200 that cannot be read is somebody's word that it was done.
 */
function mayHideTokens({ status }: KeptAnswer): boolean {
  return status === 200 || status === 502 || status === 504
}

function timeIn(name: string, at: number | undefined): Record<string, string> {
  return at === undefined ? {} : { [name]: new Date(at).toISOString() }
}

interface Moment {
  readonly monotonic: number
  readonly wall: number
}

function momentOf(clock: Clock): Moment {
  return { monotonic: clock.monotonic(), wall: clock.now() }
}

/** By both clocks: a machine that slept may have stopped the monotonic one. */
function isWithin(ms: number, from: Moment, clock: Clock): boolean {
  return clock.monotonic() - from.monotonic < ms && clock.now() - from.wall < ms
}
