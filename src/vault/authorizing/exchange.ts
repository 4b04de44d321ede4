import { codeOf, pause, reasonOf, RetryableError, SECOND, type Clock } from '../../base/index.ts'
import type { AuthScheme, OAuth2Scheme } from '../../define/index.ts'
import type { Queryable } from '../../db/index.ts'
import type { Egress } from '../../egress/index.ts'
import type { LedgerAction } from '../../ledger/index.ts'
import { accountText, type Account } from '../account.ts'
import type { Connection } from '../connections.ts'
import { grantFrom, lasting, type Grant, type GrantStore } from '../grants.ts'
import { keptAnswerOf } from '../refreshes.ts'
import type { SecretStore } from '../secrets.ts'
import type { ConnectionRef, RecordEntry, VaultStorage } from '../storage.ts'
import {
  askForTokens,
  clientOf,
  judgeTokenAnswer,
  questionOf,
  TOKEN_TIMEOUT_MS,
  type ClientSecrets,
  type TokenAnswer,
  type TokenClaim,
} from '../tokenEndpoint.ts'
import type { PlanWriter } from '../writePlan.ts'
import { findAccount } from './account.ts'
import type { Said } from './callback.ts'
import { OVERTAKEN } from './overtake.ts'
import { AUTHORIZE_WITHIN_MS, schemeOf } from './scheme.ts'
import {
  GIVEN_UP,
  type AuthorizationAnswer,
  type AuthorizationRow,
  type AuthorizationSecret,
  type AuthorizationState,
  type AuthorizationStore,
} from './store.ts'

/** An answer whose commit failed is tried again at this interval, as long as the process lives. */
const KEEP_AGAIN_MS = SECOND

export interface ExchangerOptions {
  readonly storage: VaultStorage
  readonly store: AuthorizationStore
  readonly grants: Pick<GrantStore, 'lock'>
  readonly writer: Pick<PlanWriter, 'applySecrets'>
  readonly readSecrets: SecretStore['read']
  readonly loadConnectionById: (tenant: string, id: string) => Promise<Connection>
  readonly authOf: (connector: string) => AuthScheme | undefined
  readonly baseUrlOf: (connector: string) => string | undefined
  readonly send: Egress['send']
  readonly clock: Clock
  /** By which a commit is tried again. */
  readonly pollClock: Clock
  readonly record: RecordEntry
  /** Told when a connection was changed. */
  readonly onChanged: (connection: ConnectionRef) => void
}

interface Agreed {
  readonly connection: Connection
  readonly scheme: OAuth2Scheme
  readonly secret: AuthorizationSecret
  readonly said: Extract<Said, { as: 'agreed' }>
}

interface Fault {
  readonly code: string
  readonly reason: string
}

/** From the code to the grant. */
export interface Exchanger {
  /** Asks the token endpoint once, keeps what it answers sealed and committed, and goes on with it. */
  exchange(row: AuthorizationRow, agreed: Agreed): Promise<void>
  /** Goes on from the kept answer: which account it is, and then the grant. */
  settle(row: AuthorizationRow): Promise<void>
  /** Ends one whose node seems to have died while it asked: the code is used, and what came of it is not known. */
  giveUp(row: AuthorizationRow): Promise<void>
  fail(
    row: AuthorizationRow,
    connection: Connection,
    from: readonly AuthorizationState[],
    fault: Fault,
  ): Promise<void>
}

/**
 * The exchange of a code for a grant: asked once (committed before), the answer sealed and committed before it is read,
 * the grant in place in one transaction with the ledger. Whatever dies between two of these, the next look goes on.
 */
export function createExchanger(options: ExchangerOptions): Exchanger {
  const { storage, store, clock } = options

  async function exchange(
    row: AuthorizationRow,
    { connection, scheme, secret, said }: Agreed,
  ): Promise<void> {
    const { code, parameters } = said
    const claim = claimOf(secret, code)
    let client: ClientSecrets
    try {
      client = await clientOf(connection, options.readSecrets, clock.now())
    } catch (error) {
      const reason = `${reasonOf(error)} The token endpoint was not asked.`
      return fail(row, connection, ['asking'], { code: codeOf(error, 'secret_missing'), reason })
    }
    const result = await askForTokens(options.send, questionOf(connection, client, claim, scheme), {
      timeoutMs: TOKEN_TIMEOUT_MS,
    })
    const kept = keptAnswerOf(result, clock.now())
    if (kept === undefined) {
      const said = result.as === 'answered' ? 'its answer is too long' : result.reason
      return fail(row, connection, ['asking'], {
        code: result.as === 'answered' ? 'token_answer_invalid' : result.code,
        reason: `The token endpoint: ${said}. Begin again.`,
      })
    }
    return settle(await keep(row, { kept, code, parameters }))
  }

  /**
   * Commits the sealed answer before anybody looks into it: the code cannot be used again. While the database is away it
   * is tried again as long as the process lives. Another node may have given it up meanwhile: it is taken up again. From
   * then on there is as much time to find out the account as if the database had never been away.
   */
  async function keep(row: AuthorizationRow, answer: AuthorizationAnswer): Promise<AuthorizationRow> {
    for (;;)
      try {
        const endsAt = clock.now() + AUTHORIZE_WITHIN_MS
        await storage.transaction(async (client) => {
          const sealed = await store.sealAnswer(client, row, answer)
          await store.move(client, row, ['asking', 'failed'], {
            state: 'answered',
            answer: sealed,
            answeredAt: answer.kept.at,
            endsAt,
          })
        })
        return { ...row, state: 'answered', endsAt: new Date(endsAt) }
      } catch (error) {
        if (!(error instanceof RetryableError)) throw error
        await pause(options.pollClock, KEEP_AGAIN_MS, { keepAlive: true })
      }
  }

  async function settle(row: AuthorizationRow): Promise<void> {
    const connection = await options.loadConnectionById(row.tenant, row.connectionId)
    const answered = await store.answerOf(storage.reader, row)
    if (answered === undefined) return
    const { kept, code, parameters } = answered
    const scheme = schemeOf(connection, options.authOf)
    const client = await clientOf(connection, options.readSecrets, clock.now())
    const claim = code === undefined ? undefined : claimOf(await store.secretOf(storage.reader, row), code)
    const answer = await judgeTokenAnswer(kept, questionOf(connection, client, claim, scheme))
    if (answer.as !== 'granted')
      return fail(row, connection, ['answered'], {
        code: answer.code,
        reason: `${answer.reason} Nothing of the connection was changed. Begin again.`,
      })
    const fault = whyItDoesNotLast(answer, scheme)
    if (fault) return fail(row, connection, ['answered'], fault)
    const found = await findAccount(
      {
        connection,
        scheme,
        parameters,
        raw: answer.raw,
        accessToken: answer.accessToken,
        wanted: row.wanted,
        ownBaseUrl: options.baseUrlOf(connection.connector),
      },
      options.send,
    )
    switch (found.as) {
      case 'found':
        return grant(row, connection, lasting(grantFrom(answer, kept.at, undefined)), found.account)
      case 'choose':
        await store.move(storage.reader, row, ['answered'], {
          state: 'choosing',
          choices: found.choices,
          endsAt: clock.now() + AUTHORIZE_WITHIN_MS,
        })
        return
      case 'unknown': {
        const { code, reason } = found
        if (row.endsAt.getTime() <= clock.now()) return fail(row, connection, ['answered'], found)
        await store.move(storage.reader, row, ['answered'], { state: 'answered', code, reason })
        return
      }
      default:
        return fail(row, connection, ['answered'], found)
    }
  }

  /** Puts the grant in place, as `connections add` does, with what it says of the account. */
  async function grant(
    row: AuthorizationRow,
    connection: Connection,
    granted: Grant,
    account: Account,
  ): Promise<void> {
    const auth = options.authOf(connection.connector)!
    const secrets = new Map(Object.entries(tokensOf(granted)))
    await storage.transaction(async (client) => {
      const held = await options.grants.lock(client, connection)
      // Its tokens are the older ones, which the provider may have ended with the newer consent.
      if (await store.isOvertaken(client, row)) return overtaken(client, row, connection)
      const isOurs = await store.move(client, row, ['answered'], { state: 'granted' })
      if (!isOurs || held === undefined || held.state === 'revoked') return
      const { state } = await options.writer.applySecrets(client, {
        connection,
        by: 'operator',
        actor: row.actor,
        auth,
        secrets,
        webhookSecrets: undefined,
        grant: granted,
      })
      await client.query('update connections set account = $3 where tenant = $1 and id = $2', [
        connection.tenant,
        connection.id,
        accountText(account),
      ])
      await note(client, row, connection, 'authorization.granted', 'succeeded', { ...account.settings })
      if (state === 'active') await note(client, row, connection, 'connection.reauthorized', 'succeeded', {})
    })
    options.onChanged(connection)
  }

  async function overtaken(client: Queryable, row: AuthorizationRow, connection: Connection): Promise<void> {
    const code = OVERTAKEN
    const reason =
      'Another authorization of this connection was given later and is in place. This one was not used.'
    if (await store.move(client, row, ['answered'], { state: 'failed', code, reason }))
      await note(client, row, connection, 'authorization.failed', code, { reason })
  }

  async function fail(
    row: AuthorizationRow,
    connection: Connection,
    from: readonly AuthorizationState[],
    { code, reason }: Fault,
  ): Promise<void> {
    await storage.transaction(async (client) => {
      if (await store.move(client, row, from, { state: 'failed', code, reason }))
        await note(client, row, connection, 'authorization.failed', code, { reason })
    })
  }

  async function giveUp(row: AuthorizationRow): Promise<void> {
    await fail(row, await options.loadConnectionById(row.tenant, row.connectionId), ['asking'], {
      code: GIVEN_UP,
      reason:
        'The node that asked the token endpoint ended, or has lost the database, before the answer was kept. Nothing of the connection was changed. Where that node still works, the answer is put in place as soon as it can be written: look at the connection in a minute (trestle connections list), and begin again where nothing came of it.',
    })
  }

  function note(
    client: Queryable,
    row: AuthorizationRow,
    connection: Connection,
    action: LedgerAction,
    outcome: string,
    detail: Readonly<Record<string, string>>,
  ): Promise<void> {
    return options.record(client, {
      tenant: row.tenant,
      at: clock.now(),
      actor: row.actor,
      action,
      target: connection.id,
      outcome,
      connectionId: connection.id,
      detail: { name: connection.name, authorization: row.id, ...detail },
    })
  }

  return { exchange, settle, giveUp, fail }
}

function claimOf({ codeVerifier, redirectUri }: AuthorizationSecret, code: string): TokenClaim {
  return { kind: 'authorization_code', code, codeVerifier, redirectUri }
}

/** The tokens as secret fields: the fact that they are there says that somebody authorized. */
function tokensOf({ refreshToken, accessToken }: Grant): Record<string, string> {
  if (refreshToken !== undefined) return { refreshToken }
  return accessToken === undefined ? {} : { accessToken }
}

/** Why these tokens are no grant that lasts; `undefined` where they are. */
function whyItDoesNotLast(
  answer: Extract<TokenAnswer, { as: 'granted' }>,
  { quirks }: OAuth2Scheme,
): Fault | undefined {
  const lasting = quirks?.noRefreshToken === true ? answer.accessToken : answer.refreshToken
  if (lasting !== undefined) return undefined
  return answer.complaint === undefined
    ? {
        code: 'refresh_token_missing',
        reason:
          'The provider gave an access token and no refresh token, so the connection would end with it. Check the scopes, and at the provider whether the app may work while nobody is there.',
      }
    : { code: 'token_answer_invalid', reason: answer.complaint }
}
