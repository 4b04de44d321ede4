import { createHmac } from 'node:crypto'
import { PermanentError, type Clock } from '../base/index.ts'
import { secretFieldsOf, type AuthScheme } from '../define/index.ts'
import type { Connection } from './connections.ts'
import { createSharedRead } from './expiringCache.ts'
import {
  createPreference,
  formerOf,
  formersOf,
  formersOfLast,
  WEBHOOK_SECRET_KIND,
  type Which,
} from './formers.ts'
import type { AfterUnauthorized, GrantKeeper } from './oauth.ts'
import { isWebhookSecretField, signingKeyOf } from './plan.ts'
import type { ConnectionSecrets, SecretStore } from './secrets.ts'
import { keyOf, type ConnectionRef } from './storage.ts'

/** A request as it goes to the provider, but for its authorization. */
export interface UnauthorizedRequest {
  readonly method: string
  /** Absolute. */
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** The exact bytes that will be sent. */
  readonly body: Buffer | undefined
}

export interface AuthorizationContext {
  /** The same in every attempt of one effect. */
  readonly idempotencyKey: string
  /** Milliseconds since 1970. */
  readonly now: number
  /**
   * To try a credential: the present one alone, or `candidate` in its place, whatever was rotated out and whatever state
   * the connection is in. Nothing is noted of a refusal.
   */
  readonly trying?: { readonly candidate?: Readonly<Record<string, string>> }
}

export interface AuthorizedRequest extends UnauthorizedRequest {
  /** Lower-case names of the headers that carry a secret, or what proves one. They are never recorded. */
  readonly secretHeaders: readonly string[]
  /** Of SMTP, where the credential is a part of the dialogue: for egress alone. */
  readonly login?: { readonly username: string; readonly password: string } | undefined
  /** Which credential was used; for `refreshAfterUnauthorized`. Tells nothing about it. */
  readonly credentialVersion: string
}

export interface Authorizer {
  /**
   * Adds what the connection's auth scheme asks for. Method, URL and body stay as they are. Throws a
   * `PermanentError` (`needs_reauthorization`, `connection_revoked`, `secret_missing`, `secret_unreadable`), or a
   * `RetryableError` where the token endpoint or the database cannot be reached now.
   */
  authorize(
    connection: Connection,
    request: UnauthorizedRequest,
    context: AuthorizationContext,
  ): Promise<AuthorizedRequest>
  /**
   * After a 401 to a request that carried `credentialVersion`: sees to another credential, by refreshing a grant or
   * reading changed secrets. `refreshed` means that the request may be authorized and sent again, once.
   */
  refreshAfterUnauthorized(connection: Connection, credentialVersion: string): Promise<AfterUnauthorized>
  /**
   * What verifies the connection's webhooks, in order; those that were rotated out, as long as they count, come last.
   * `fresh`: read anew, since another node may have written one a moment ago.
   */
  webhookSecrets(
    connection: ConnectionRef,
    options?: { readonly fresh?: boolean },
  ): Promise<readonly string[]>
  /**
   * Every value that must not be seen anywhere, with the encoded forms in which requests carry them. Some may be
   * short: it is for the redactor to leave out what would blot out ordinary text.
   */
  secretValuesOf(connection: ConnectionRef): Promise<readonly string[]>
}

export interface AuthorizerOptions {
  readonly secrets: Pick<SecretStore, 'read' | 'forget'>
  readonly grants: GrantKeeper
  readonly clock: Clock
  /** Told of each refusal of a credential that is in use. Never rejects. */
  readonly onRefused: (refusal: Refusal) => Promise<void>
  /** Tokens of an OAuth connection, as they are now. */
  readonly tokensOf: (connection: ConnectionRef) => Promise<readonly string[]>
}

/** A provider did not accept a credential. */
export interface Refusal {
  readonly connection: ConnectionRef
  /** Of the present secrets; a grant's own for OAuth. */
  readonly version: string
  readonly reason: string
  /** The one that was rotated out is used instead. */
  readonly formerUsed: boolean
}

/** Names, not secrets: they stand in URLs and logs of the providers, and tell records apart. */
const NOT_SECRET = new Set(['clientId', 'expiresAt'])
const SIGNING_SECRET = 'signingSecret'
/** Behind the version of a credential: which one of them it was. */
const FORMER = ':former'
const TRYING = ':trying'
/** Refusals of a token after which its connection is as it was: its check finds out what they mean. */
const CREDENTIAL_STANDS = new Set(['new_token_refused', 'credential_refused'])

/** Puts credentials on requests: the only place where a sealed secret is opened for use. */
export function createAuthorizer(options: AuthorizerOptions): Authorizer {
  const { secrets, grants, clock } = options
  const preference = createPreference(clock)
  const freshly = createSharedRead<ConnectionSecrets | undefined>()

  async function readSecrets(connection: ConnectionRef): Promise<ConnectionSecrets | undefined> {
    return secrets.read({ tenant: connection.tenant, id: connection.id })
  }

  /** What is in memory may be older than a new authorization: who would be told to wait for one has it read again. */
  async function usableSecrets(connection: ConnectionRef): Promise<ConnectionSecrets | undefined> {
    const own = await readSecrets(connection)
    if (own?.state === 'active') return own
    secrets.forget(connection)
    return readSecrets(connection)
  }

  async function authorize(
    connection: Connection,
    request: UnauthorizedRequest,
    context: AuthorizationContext,
  ): Promise<AuthorizedRequest> {
    const scheme = schemeOf(connection)
    const { trying } = context
    if (scheme.kind === 'oauth2') {
      const { token, version } = await grants.accessToken(connection, { trying: trying !== undefined })
      const used = `${version}${trying ? TRYING : ''}`
      return withHeaders(request, { authorization: `Bearer ${token}` }, ['authorization'], used)
    }
    const read = await usableSecrets(connection)
    const own = trying && read?.state !== 'revoked' && read ? read : activeSecrets(connection, read)
    if (scheme.kind === 'standard_webhooks') return signed(connection, request, own, context)
    const which = trying ? 'current' : preference.which(keyOf(connection), own.version)
    const values: Record<string, string> = {}
    let carries: Which = 'current'
    const fields = secretFieldsOf(scheme)
    const formers = which === 'former' ? formersOfLast(own, fields, clock.now()) : undefined
    for (const field of fields) {
      const former = formers?.get(field)
      if (former !== undefined) carries = 'former'
      values[field] = trying?.candidate?.[field] ?? (await neededValue(connection, own, former ?? field))
    }
    const version = `${own.version}${trying ? TRYING : carries === 'former' ? FORMER : ''}`
    if (scheme.kind === 'smtp_login') return withLogin(request, values, version)
    const headers = headersFor(scheme, values)
    return withHeaders(request, headers.all, headers.secret, version)
  }

  /** Signed with what was rotated out, too, as long as it counts: whoever verifies may have either. */
  async function signed(
    connection: Connection,
    request: UnauthorizedRequest,
    own: ConnectionSecrets,
    context: AuthorizationContext,
  ): Promise<AuthorizedRequest> {
    const { trying } = context
    const formers = trying ? [] : formersOf(own, SIGNING_SECRET, clock.now())
    const secrets = await Promise.all([
      trying?.candidate?.[SIGNING_SECRET] ?? neededValue(connection, own, SIGNING_SECRET),
      ...formers.map((field) => neededValue(connection, own, field)),
    ])
    const headers = signedHeaders(secrets, request.body ?? Buffer.alloc(0), context)
    return withHeaders(request, headers, ['webhook-signature'], `${own.version}${trying ? TRYING : ''}`)
  }

  async function refreshAfterUnauthorized(
    connection: Connection,
    credentialVersion: string,
  ): Promise<AfterUnauthorized> {
    const scheme = schemeOf(connection)
    if (scheme.kind === 'oauth2') {
      const isTried = credentialVersion.endsWith(TRYING)
      const version = isTried ? credentialVersion.slice(0, -TRYING.length) : credentialVersion
      const after = await grants.refreshAfterUnauthorized(connection, version)
      if (after.as === 'refused' && !isTried && CREDENTIAL_STANDS.has(after.code))
        await noteRefusal(connection, version, after.reason, false)
      return after
    }
    const refusal = {
      as: 'refused',
      code: 'credential_refused',
      reason: `The provider refuses the credential of connection "${connection.name}". Give a valid one with: trestle connections add ${connection.name}`,
    } as const
    if (credentialVersion.endsWith(TRYING)) return refusal
    secrets.forget(connection)
    const own = await readSecrets(connection)
    const former = credentialVersion.endsWith(FORMER)
    const version = former ? credentialVersion.slice(0, -FORMER.length) : credentialVersion
    if (own !== undefined && own.version !== version) return { as: 'refreshed' }
    preference.refused(keyOf(connection), version, former ? 'former' : 'current')
    const another =
      former ||
      (own !== undefined &&
        scheme.kind !== 'standard_webhooks' &&
        secretFieldsOf(scheme).some((field) => formersOf(own, field, clock.now()).length > 0))
    if (!former) await noteRefusal(connection, version, refusal.reason, another)
    return another ? { as: 'refreshed' } : refusal
  }

  async function noteRefusal(
    { tenant, id }: ConnectionRef,
    version: string,
    reason: string,
    formerUsed: boolean,
  ): Promise<void> {
    await options.onRefused({ connection: { tenant, id }, version, reason, formerUsed })
  }

  async function webhookSecrets(
    connection: ConnectionRef,
    { fresh = false }: { readonly fresh?: boolean } = {},
  ): Promise<readonly string[]> {
    const own = fresh ? await readAnew(connection) : await readSecrets(connection)
    if (own === undefined) return []
    const fields = [
      ...own.fields.filter(isWebhookSecretField).sort(byIndex),
      ...formersOf(own, WEBHOOK_SECRET_KIND, clock.now()),
    ]
    return Promise.all(fields.map(async (field) => (await own.value(field))!))
  }

  /** Whoever asks at the same time shares one read: a flood of forgeries is no flood of questions. */
  function readAnew(connection: ConnectionRef): Promise<ConnectionSecrets | undefined> {
    return freshly(keyOf(connection), () => {
      secrets.forget({ tenant: connection.tenant, id: connection.id })
      return readSecrets(connection)
    })
  }

  async function secretValuesOf(connection: ConnectionRef): Promise<readonly string[]> {
    const own = await readSecrets(connection)
    if (own === undefined) return []
    const values = new Map<string, string>()
    for (const field of own.fields) if (!NOT_SECRET.has(field)) values.set(field, (await own.value(field))!)
    for (const [field, value] of values)
      if (field === 'apiKey' || formerOf(field)?.kind === 'apiKey')
        values.set(`basic.${field}`, basicCredential(value, '')) // As `keyAs: 'username'` sends it.
    const ofKind = (kind: string): [string, string][] =>
      [...values].filter(([field]) => (formerOf(field)?.kind ?? field) === kind)
    const passwords = ofKind('password')
    if (passwords.length > 0)
      for (const [name, username] of ofKind('username')) {
        values.delete(name) // The password is the secret; the name is an account id, such as Twilio's.
        for (const [field, password] of passwords)
          values.set(`basic.${name}.${field}`, basicCredential(username, password))
      }
    return [...new Set([...values.values(), ...(await options.tokensOf(connection))])]
  }

  return { authorize, refreshAfterUnauthorized, webhookSecrets, secretValuesOf }
}

interface SchemeHeaders {
  readonly all: Readonly<Record<string, string>>
  readonly secret: readonly string[]
}

function headersFor(scheme: AuthScheme, values: Readonly<Record<string, string>>): SchemeHeaders {
  switch (scheme.kind) {
    case 'bearer':
      return { all: { authorization: `Bearer ${values['token']!}` }, secret: ['authorization'] }
    case 'api_key': {
      const name = scheme.header.toLowerCase()
      return { all: { [name]: `${scheme.prefix ?? ''}${values['apiKey']!}` }, secret: [name] }
    }
    case 'basic': {
      const credential =
        scheme.keyAs === 'username'
          ? basicCredential(values['apiKey']!, '')
          : basicCredential(values['username']!, values['password']!)
      return { all: { authorization: `Basic ${credential}` }, secret: ['authorization'] }
    }
    default:
      return { all: {}, secret: [] }
  }
}

/** RFC 7617, in UTF-8. */
function basicCredential(username: string, password: string): string {
  return Buffer.from(`${username}:${password}`).toString('base64')
}

/**
 * Standard Webhooks 1.0.0 (https://github.com/standard-webhooks/standard-webhooks, read 2026-11-22): HMAC-SHA-256
 * over `id.timestamp.body`, one signature for each secret, divided by spaces. They differ between attempts, as the time
 * does; id and body do not.
 */
function signedHeaders(
  secrets: readonly string[],
  body: Buffer,
  { idempotencyKey, now }: AuthorizationContext,
): Record<string, string> {
  const timestamp = String(Math.floor(now / 1000))
  const signatures = secrets.map((secret) => {
    const key = signingKeyOf(secret)
    if (key === undefined)
      throw new PermanentError(
        'secret_unreadable',
        'The signing secret is no Standard Webhooks secret. Give another with: trestle connections add',
      )
    return `v1,${createHmac('sha256', key).update(`${idempotencyKey}.${timestamp}.`).update(body).digest('base64')}`
  })
  return {
    'webhook-id': idempotencyKey,
    'webhook-timestamp': timestamp,
    'webhook-signature': signatures.join(' '),
  }
}

/** The request with what a mail server is told. */
function withLogin(
  request: UnauthorizedRequest,
  values: Readonly<Record<string, string>>,
  credentialVersion: string,
): AuthorizedRequest {
  const login = { username: values['username']!, password: values['password']! }
  return { ...request, secretHeaders: [], login, credentialVersion }
}

/** The request with these headers in place of any of the same name. */
function withHeaders(
  request: UnauthorizedRequest,
  added: Readonly<Record<string, string>>,
  secretHeaders: readonly string[],
  credentialVersion: string,
): AuthorizedRequest {
  const kept = Object.entries(request.headers).filter(([name]) => !Object.hasOwn(added, name.toLowerCase()))
  return {
    ...request,
    headers: { ...Object.fromEntries(kept), ...added },
    secretHeaders,
    credentialVersion,
  }
}

function schemeOf(connection: Connection): AuthScheme {
  if (connection.auth !== undefined) return connection.auth
  throw new PermanentError(
    'connector_unknown',
    `Connection "${connection.name}" is to ${connection.connector}, but trestle.config.ts has no connector of that name. Declare the connection there.`,
  )
}

function activeSecrets(connection: Connection, own: ConnectionSecrets | undefined): ConnectionSecrets {
  if (own !== undefined && own.state === 'active') return own
  const again = `Give new secrets with: trestle connections add ${connection.name}`
  throw own?.state === 'needs_reauthorization'
    ? new PermanentError(
        'needs_reauthorization',
        `Connection "${connection.name}" must be authorized again. ${again}`,
      )
    : new PermanentError('connection_revoked', `Connection "${connection.name}" was removed. ${again}`)
}

async function neededValue(connection: Connection, own: ConnectionSecrets, field: string): Promise<string> {
  const value = await own.value(field)
  if (value !== undefined) return value
  throw new PermanentError(
    'secret_missing',
    `Connection "${connection.name}" has no secret "${field}". Give it with: trestle connections add ${connection.name}`,
  )
}

/** `webhookSecret.2` before `webhookSecret.10`. */
function byIndex(a: string, b: string): number {
  return Number(a.split('.')[1]) - Number(b.split('.')[1])
}
