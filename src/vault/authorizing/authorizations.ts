import * as oauth from 'oauth4webapi'
import {
  codeOf,
  DAY,
  HOUR,
  MINUTE,
  newId,
  NotFoundError,
  reasonOf,
  RetryableError,
  SECOND,
  UsageError,
  type Clock,
  type Random,
} from '../../base/index.ts'
import type { AuthScheme } from '../../define/index.ts'
import type { Actor, LedgerAction } from '../../ledger/index.ts'
import type { Queryable } from '../../db/index.ts'
import type { Connection } from '../connections.ts'
import type { SecretStore } from '../secrets.ts'
import type { RecordEntry, VaultStorage } from '../storage.ts'
import { clientOf } from '../tokenEndpoint.ts'
import { cookieNameOf, oauthAddress, ourAddresses } from './addresses.ts'
import type { Exchanger } from './exchange.ts'
import { refusal } from './refusals.ts'
import { checkCallback, hasOpened } from './callback.ts'
import { AUTHORIZE_WITHIN_MS, schemeOf, type BrowserScheme } from './scheme.ts'
import {
  hashOf,
  type AccountChoice,
  type AuthorizationRow,
  type AuthorizationState,
  type AuthorizationStore,
} from './store.ts'

/** Authorizations that are over are shown this long. */
const SHOWN_FOR_MS = 7 * DAY
/** An answer that lies unread for so long has lost its node; a question, after the longest exchange. */
const UNREAD_FOR_MS = 5 * SECOND
const UNANSWERED_FOR_MS = MINUTE

/** An authorization as it stands. Nothing in it is secret. */
export interface Authorization {
  readonly id: string
  readonly connection: string
  readonly state: AuthorizationState | 'expired'
  /** Why it failed, or what it waits for. */
  readonly code: string | undefined
  readonly reason: string | undefined
  /** Accounts to choose from, while it is `choosing`. */
  readonly choices: readonly AccountChoice[]
  readonly endsAt: Date
}

export interface NewAuthorization {
  readonly tenant: string
  /** The connection's name. */
  readonly name: string
  /** Where browsers reach this installation; see `publicUrl` of the configuration. */
  readonly publicUrl: string
  /** The account to take where the authorization opens several. */
  readonly account?: string | undefined
  readonly actor: Actor
}

export interface BegunAuthorization extends Authorization {
  /** Where the person who authorizes begins. Good once, in the browser that opens it first. */
  readonly address: string
}

/** What a browser is told that opened a start address. */
export interface Opened {
  /** The provider's page. */
  readonly location: string
  readonly cookie: {
    readonly name: string
    readonly value: string
    readonly path: string
    readonly secure: boolean
    readonly maxAgeSeconds: number
  }
}

/** The cookies of a request. */
export type Cookies = (name: string) => string | undefined

/**
 * A person authorizes a connection at the provider (RFC 6749, 4.1; PKCE by S256, RFC 7636). Refused browsers are told
 * by a {@link UsageError}, and nothing was changed then.
 */
export interface Authorizations {
  /** Throws `authorization_unsupported`, `secret_missing`, `public_url_invalid`, `not_found`. */
  begin(wish: NewAuthorization): Promise<BegunAuthorization>
  /** A browser opens the start address: it is bound to the authorization, and goes on to the provider. */
  open(ticket: string, cookies: Cookies): Promise<Opened>
  /** The provider sends the browser back to the redirect URI of this connector. */
  callback(connector: string, query: URLSearchParams, cookies: Cookies): Promise<Authorization>
  read(tenant: string, id: string): Promise<Authorization>
  /** Chooses one of the accounts that it offers. Throws `state_conflict`, `choice_invalid`. */
  choose(tenant: string, id: string, account: string, actor: Actor): Promise<Authorization>
  /** The same, by the browser that began. */
  chooseInBrowser(id: string, account: string, cookies: Cookies): Promise<Authorization>
  /** Its addresses are good for nothing from then on. What is over stays as it is. */
  cancel(tenant: string, id: string, actor: Actor): Promise<Authorization>
  /** Goes on with those that lost their node; gives how many there were. */
  takeUp(): Promise<number>
  /** Resolves when every exchange that was begun here is over. */
  drain(): Promise<void>
}

export interface AuthorizationsOptions {
  readonly storage: VaultStorage
  readonly store: AuthorizationStore
  readonly exchanger: Exchanger
  readonly readSecrets: SecretStore['read']
  readonly loadConnection: (tenant: string, name: string) => Promise<Connection>
  readonly loadConnectionById: (tenant: string, id: string) => Promise<Connection>
  readonly authOf: (connector: string) => AuthScheme | undefined
  readonly clock: Clock
  readonly random: Random
  readonly record: RecordEntry
}

export function createAuthorizations(options: AuthorizationsOptions): Authorizations {
  const { storage, store, exchanger, clock, random } = options
  const underWay = new Set<Promise<void>>()
  /** What this process asks for, or could not commit yet. */
  const asking = new Set<string>()

  async function begin(wish: NewAuthorization): Promise<BegunAuthorization> {
    const { tenant, actor, account } = wish
    const connection = await options.loadConnection(tenant, wish.name)
    if (connection.state === 'revoked')
      throw new NotFoundError(
        'connection',
        wish.name,
        'It was removed. Add it again: trestle connections add',
      )
    schemeOf(connection, options.authOf)
    await ownClient(connection)
    const ours = ourAddresses(wish.publicUrl, connection.connector)
    const ticket = secretText(random)
    const id = newId('aut')
    const endsAt = clock.now() + AUTHORIZE_WITHIN_MS
    await storage.transaction(async (client) => {
      await store.sweep(client, tenant, clock.now() - SHOWN_FOR_MS)
      await store.insert(client, {
        tenant,
        id,
        connectionId: connection.id,
        connector: connection.connector,
        ticket: hashOf(ticket),
        secret: {
          state: secretText(random),
          codeVerifier: secretText(random),
          redirectUri: ours.redirectUri,
          secure: ours.secure,
          cookiePath: ours.cookiePath,
        },
        wanted: account,
        actor,
        endsAt,
      })
      await note(client, { connection, actor, action: 'authorization.begun', id })
    })
    return { ...(await read(tenant, id)), address: ours.start(ticket) }
  }

  async function ownClient(connection: Connection): ReturnType<typeof clientOf> {
    const secrets = await options.readSecrets(connection)
    if (['clientId', 'clientSecret'].every((field) => secrets?.fields.includes(field)))
      return clientOf(connection, options.readSecrets, clock.now())
    throw new UsageError(
      'secret_missing',
      `Connection "${connection.name}" has no clientId or clientSecret yet, which the provider gives for the app. Give them with: trestle connections add ${connection.name}`,
    )
  }

  async function open(ticket: string, cookies: Cookies): Promise<Opened> {
    const row = await store.findByTicket(storage.reader, hashOf(ticket))
    if (row === undefined || row.state === 'cancelled') throw refusal('authorization_unknown')
    const secret = await store.secretOf(storage.reader, row)
    const name = cookieNameOf(row.id, secret.secure)
    if (row.state !== 'begun' && !hasOpened(row, cookies(name))) throw refusal('authorization_other_browser')
    if (row.state !== 'begun' && row.state !== 'opened') throw refusal('authorization_used')
    if (row.endsAt.getTime() <= clock.now()) throw refusal('authorization_expired')
    const connection = await options.loadConnectionById(row.tenant, row.connectionId)
    const scheme = schemeOf(connection, options.authOf)
    const { clientId } = await ownClient(connection)
    // The same browser may come again, as when a person goes back.
    const browser = row.state === 'opened' ? cookies(name)! : secretText(random)
    if (row.state === 'begun' && !(await store.bind(storage.reader, row, hashOf(browser))))
      throw refusal('authorization_other_browser')
    return {
      location: await consentAddress(connection, scheme, clientId, secret),
      cookie: {
        name,
        value: browser,
        path: secret.cookiePath,
        secure: secret.secure,
        // Longer than the way to the provider, for the choice of an account after it.
        maxAgeSeconds: HOUR / SECOND,
      },
    }
  }

  async function callback(
    connector: string,
    query: URLSearchParams,
    cookies: Cookies,
  ): Promise<Authorization> {
    const states = query.getAll('state')
    const row = states.length === 1 ? await store.findByState(storage.reader, hashOf(states[0]!)) : undefined
    // An answer to another provider's question comes to another redirect URI (RFC 9700, 4.4.2).
    if (row === undefined || row.connector !== connector || row.state === 'cancelled')
      throw refusal('authorization_unknown')
    const secret = await store.secretOf(storage.reader, row)
    if (!hasOpened(row, cookies(cookieNameOf(row.id, secret.secure))))
      throw refusal('authorization_other_browser')
    if (row.state !== 'opened') throw refusal('authorization_used')
    if (row.endsAt.getTime() <= clock.now()) throw refusal('authorization_expired')
    const connection = await options.loadConnectionById(row.tenant, row.connectionId)
    const scheme = schemeOf(connection, options.authOf)
    const said = checkCallback(query, scheme, connection)
    if (said.as === 'refused') await exchanger.fail(row, connection, ['opened'], said)
    else {
      // From here on the state and the code are used, whatever comes of them.
      const taken = await store.move(storage.reader, row, ['opened'], { state: 'asking' })
      if (!taken) throw refusal('authorization_used')
      asking.add(row.id)
      const exchange = exchanger.exchange(row, { connection, scheme, secret, said })
      await carried(exchange.finally(() => asking.delete(row.id)))
    }
    return read(row.tenant, row.id)
  }

  /** Goes on although the browser may go away, and is waited for where this node stops. */
  async function carried(work: Promise<void>): Promise<void> {
    underWay.add(work)
    await work.finally(() => underWay.delete(work))
  }

  async function read(tenant: string, id: string): Promise<Authorization> {
    const row = await store.read(storage.reader, tenant, id)
    if (row === undefined) throw authorizationMissing(id)
    const connection = await options.loadConnectionById(tenant, row.connectionId)
    const { state, code, reason, choices, endsAt } = row
    const open = state === 'begun' || state === 'opened' || state === 'choosing'
    return {
      id,
      connection: connection.name,
      state: open && endsAt.getTime() <= clock.now() ? 'expired' : state,
      code,
      reason,
      choices,
      endsAt,
    }
  }

  async function choose(tenant: string, id: string, account: string, actor: Actor): Promise<Authorization> {
    const row = await store.read(storage.reader, tenant, id)
    if (row === undefined) throw authorizationMissing(id)
    return chooseFor(row, account, actor)
  }

  async function chooseFor(row: AuthorizationRow, account: string, actor: Actor): Promise<Authorization> {
    if (row.state !== 'choosing')
      throw new UsageError('state_conflict', 'This authorization has no account to choose, or no longer.')
    if (row.endsAt.getTime() <= clock.now()) throw refusal('authorization_expired')
    if (!row.choices.some((choice) => choice.id === account))
      throw new UsageError(
        'choice_invalid',
        `Choose one of: ${row.choices.map((choice) => `${choice.id} (${choice.name})`).join(', ')}.`,
      )
    const connection = await options.loadConnectionById(row.tenant, row.connectionId)
    const isChosen = await storage.transaction(async (client) => {
      if (!(await store.move(client, row, ['choosing'], { state: 'answered', wanted: account }))) return false
      await note(client, {
        connection,
        actor,
        action: 'authorization.chosen',
        id: row.id,
        detail: { account },
      })
      return true
    })
    if (isChosen) await exchanger.settle({ ...row, state: 'answered', wanted: account })
    return read(row.tenant, row.id)
  }

  async function chooseInBrowser(id: string, account: string, cookies: Cookies): Promise<Authorization> {
    for (const secure of [true, false]) {
      const secret = cookies(cookieNameOf(id, secure))
      const row = secret === undefined ? undefined : await store.findById(storage.reader, id)
      // A browser has no name: it acts for whoever began.
      if (row !== undefined && hasOpened(row, secret)) return chooseFor(row, account, row.actor)
    }
    throw refusal('authorization_other_browser')
  }

  async function cancel(tenant: string, id: string, actor: Actor): Promise<Authorization> {
    const row = await store.read(storage.reader, tenant, id)
    if (row === undefined) throw authorizationMissing(id)
    const connection = await options.loadConnectionById(tenant, row.connectionId)
    await storage.transaction(async (client) => {
      if (await store.move(client, row, ['begun', 'opened', 'choosing'], { state: 'cancelled' }))
        await note(client, { connection, actor, action: 'authorization.cancelled', id })
    })
    return read(tenant, id)
  }

  async function takeUp(): Promise<number> {
    const now = clock.now()
    const left = await store.listLeft(storage.reader, {
      answered: now - UNREAD_FOR_MS,
      asking: now - UNANSWERED_FOR_MS,
    })
    for (const row of left) if (!asking.has(row.id)) await takeUpOne(row).catch(() => undefined)
    return left.length
  }

  /** What stands in its way is waited for until its time is over: those that wait must not keep others from their turn. */
  async function takeUpOne(row: AuthorizationRow): Promise<void> {
    try {
      await (row.state === 'answered' ? exchanger.settle(row) : exchanger.giveUp(row))
    } catch (error) {
      if (error instanceof RetryableError || row.endsAt.getTime() > clock.now()) throw error
      const connection = await options.loadConnectionById(row.tenant, row.connectionId)
      const reason = `${reasonOf(error)} Nothing of the connection was changed. Begin again.`
      await exchanger.fail(row, connection, ['answered'], {
        code: codeOf(error, 'authorization_failed'),
        reason,
      })
    }
  }

  function note(
    client: Queryable,
    entry: {
      connection: Connection
      actor: Actor
      action: LedgerAction
      id: string
      detail?: Readonly<Record<string, string>>
    },
  ): Promise<void> {
    const { connection, actor, action, id, detail } = entry
    return options.record(client, {
      tenant: connection.tenant,
      at: clock.now(),
      actor,
      action,
      target: connection.id,
      outcome: 'succeeded',
      connectionId: connection.id,
      detail: { name: connection.name, authorization: id, ...detail },
    })
  }

  return {
    begin,
    open,
    callback,
    read,
    choose,
    chooseInBrowser,
    cancel,
    takeUp,
    async drain() {
      await Promise.allSettled(underWay)
    },
  }
}

/** The address of the provider's page where the person agrees. */
async function consentAddress(
  connection: Connection,
  scheme: BrowserScheme,
  clientId: string,
  secret: { readonly state: string; readonly codeVerifier: string; readonly redirectUri: string },
): Promise<string> {
  const url = new URL(oauthAddress(scheme.authorizeUrl, scheme, connection))
  const parameters = {
    ...scheme.authorizeParameters,
    response_type: 'code',
    client_id: clientId,
    redirect_uri: secret.redirectUri,
    ...(scheme.scopes.length === 0 ? {} : { scope: scheme.scopes.join(' ') }),
    state: secret.state,
    code_challenge: await oauth.calculatePKCECodeChallenge(secret.codeVerifier),
    code_challenge_method: 'S256',
  }
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
  return url.href
}

/** 256 random bits, as the code verifier must be written (RFC 7636, 4.1). */
function secretText(random: Random): string {
  return random.bytes(32).toString('base64url')
}

function authorizationMissing(id: string): NotFoundError {
  return new NotFoundError('authorization', id, 'See the connections with: trestle connections list')
}
