import {
  codeOf,
  crashPoint,
  newId,
  pause,
  reasonOf,
  RetryableError,
  SECOND,
  type Clock,
  type Random,
} from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import type { Egress } from '../egress/index.ts'
import { createAnswerKeeper } from './answerKeeper.ts'
import { createAnswerApplier } from './applyAnswer.ts'
import type { Connection } from './connections.ts'
import { grantOf, type Grant, type GrantStore, type VersionedGrant } from './grants.ts'
import type { LateTokens } from './lateTokens.ts'
import {
  keptAnswerOf,
  turnOf,
  type KeptAnswer,
  type Refresh,
  type RefreshStore,
  type Turn,
} from './refreshes.ts'
import { busy, retryAtOf, type RefreshOutcome } from './refreshOutcome.ts'
import type { SecretStore } from './secrets.ts'
import type { ConnectionRef, RecordEntry, VaultStorage } from './storage.ts'
import {
  askForTokens,
  claimOf,
  clientOf,
  judgeTokenAnswer,
  questionOf,
  TOKEN_TIMEOUT_MS,
  type ClientSecrets,
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
const POLL_MS = 250

export interface RefresherOptions {
  readonly storage: VaultStorage
  readonly grants: GrantStore
  readonly refreshes: RefreshStore
  readonly late: LateTokens
  readonly readSecrets: SecretStore['read']
  readonly send: Egress['send']
  readonly clock: Clock
  readonly random: Random
  /** By which another node's turn is waited for. */
  readonly pollClock: Clock
  /** For simulations. Default: 10 s and 20 s. */
  readonly timing?: RefreshTiming | undefined
  readonly record: RecordEntry
  /** Told where the client's secret that was rotated out was taken, and the new one was not. Never rejects. */
  readonly onFormerClient?: (connection: Connection) => Promise<void>
  /** Told when a connection's state changed. */
  readonly onStateChanged: (connection: ConnectionRef) => void
}

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
  const keeper = createAnswerKeeper({ storage, refreshes, pollClock: options.pollClock })
  const applier = createAnswerApplier({
    grants,
    refreshes,
    late: options.late,
    clock,
    random,
    record: options.record,
  })

  async function refresh(connection: Connection, seenVersion: string): Promise<RefreshOutcome> {
    await keeper.commitUnkept(connection)
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
          if (options.pollClock.monotonic() >= until) return busy(connection, clock)
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
      question = questionOf(connection, await clientOf(connection, options.readSecrets, clock.now()), claim)
    } catch (error) {
      await storage.transaction((client) => notAsked(client, connection, own, error))
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
      onFormerTaken: () => void options.onFormerClient?.(connection),
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
    const { clientId, clientSecret, formerSecrets = [] } = question
    const client = { clientId, clientSecret, formerSecrets }
    await keeper.keep(connection, own, { ...answer, client })
    crashPoint('refresh.kept', connection.id)
    return settle(connection, own, grant, answer, question)
  }

  /** What an earlier turn left in doubt stays so. */
  function notAsked(client: Queryable, connection: Connection, own: Refresh, error: unknown): Promise<void> {
    if (!own.doubtful) return refreshes.finish(client, connection, own)
    const failure = { code: codeOf(error, 'secret_missing'), reason: reasonOf(error) }
    return refreshes.fail(client, connection, own, { ...failure, retryAt: clock.now(), doubtful: true })
  }

  async function cannotAsk(connection: Connection, own: Refresh): Promise<RefreshOutcome> {
    const outcome = await storage.transaction((client) => applier.cannotAsk(client, connection, own))
    options.onStateChanged(connection)
    return outcome
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
    return current.version === grant.version ? busy(connection, clock) : { as: 'refreshed', grant: current }
  }

  async function settle(
    connection: Connection,
    own: Refresh,
    asked: Grant | undefined,
    kept: KeptAnswer,
    askedBy?: ClientSecrets,
  ): Promise<RefreshOutcome> {
    const client = askedBy ?? kept.client ?? (await clientOf(connection, options.readSecrets, clock.now()))
    const question = questionOf(connection, client, asked && claimOf(connection, asked))
    const answer = await judgeTokenAnswer(kept, question)
    const answered = { asked, kept, answer, client }
    const outcome = await storage.transaction((client) => applier.apply(client, connection, own, answered))
    if (outcome.as === 'refreshed') crashPoint('refresh.saved', connection.id)
    options.onStateChanged(connection)
    return outcome
  }
  async function failed(
    connection: Connection,
    own: Refresh,
    failure: { readonly code: string; readonly reason: string; readonly doubtful: boolean },
  ): Promise<RefreshOutcome> {
    const retryAt = retryAtOf(own, undefined, { clock, random })
    await storage.transaction((client) => refreshes.fail(client, connection, own, { ...failure, retryAt }))
    return { as: 'postponed', code: failure.code, reason: failure.reason, retryAt }
  }
  return {
    refresh,
    async recover(connection) {
      const rows = await refreshes.list(storage.reader, connection)
      const { grant } = (await grants.read(storage.reader, connection)) ?? {}
      for (const row of rows) {
        if (row.state !== 'answered') continue
        const answer = await refreshes.readAnswer(storage.reader, connection, row)
        if (answer !== undefined) await settle(connection, row, grant, answer)
      }
    },
    kept: () => keeper.kept(),
  }
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
