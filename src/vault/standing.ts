import { RetryableError, SECOND, settledWithin } from '../base/index.ts'
import { createAuthorizer, type Authorizer, type AuthorizerOptions } from './authorize.ts'
import type { Connection } from './connections.ts'
import type { ConnectionSecrets, SecretStore } from './secrets.ts'
import { keyOf, type ConnectionRef } from './storage.ts'

/** Puts the credential of one connection on requests, also while the database is away. */
export interface StandingAuthorizer {
  /** Which connection it is. */
  readonly id: string
  authorize(
    request: Parameters<Authorizer['authorize']>[1],
    context: Parameters<Authorizer['authorize']>[2],
  ): ReturnType<Authorizer['authorize']>
  /** After a refusal of what carried `credentialVersion`. `true`: there is another credential to try, once. */
  refused(credentialVersion: string): Promise<boolean>
}

/** Makes {@link StandingAuthorizer}s. Each opens its connection's secrets once, and throws what stands in the way. */
export function createStanding(
  options: AuthorizerOptions,
): (connection: Connection) => Promise<StandingAuthorizer> {
  const authorizer = createAuthorizer({ ...options, secrets: createStandingSecrets(options) })
  return async (connection) => {
    const standing: StandingAuthorizer = {
      id: connection.id,
      authorize: (request, context) => authorizer.authorize(connection, request, context),
      refused: async (version) =>
        (await authorizer.refreshAfterUnauthorized(connection, version)).as === 'refreshed',
    }
    const nothing = { method: 'POST', url: connection.baseUrl, headers: {}, body: undefined }
    await standing.authorize(nothing, { idempotencyKey: 'start', now: options.clock.now() })
    return standing
  }
}

/** How long the database is asked before what was read last is good enough. */
const ASKED_FOR_MS = 2 * SECOND

/**
 * Secrets of connections that must work while much else does not: what tells people that the database is away cannot
 * ask it. Where the database does not answer, they are opened from what was read last, which is kept sealed; and whether
 * a connection waits for another credential is not asked, since to try costs nothing.
 */
function createStandingSecrets({
  secrets,
  clock,
}: Pick<AuthorizerOptions, 'secrets' | 'clock'>): Pick<SecretStore, 'read' | 'forget'> {
  const last = new Map<string, ConnectionSecrets>()

  async function read(connection: ConnectionRef): Promise<ConnectionSecrets | undefined> {
    const key = keyOf(connection)
    const asked = await ask(connection)
    if (asked.as === 'read') {
      if (asked.own) last.set(key, asked.own.closed())
      else last.delete(key)
    }
    const own = asked.as === 'read' ? asked.own : last.get(key)?.closed()
    if (own === undefined && asked.as === 'failed') throw asked.error
    return own?.state === 'needs_reauthorization' ? { ...own, state: 'active' } : own
  }

  async function ask(connection: ConnectionRef): Promise<Asked> {
    let asked: Asked = {
      as: 'failed',
      error: new RetryableError('database_unavailable', 'The database did not answer in time.'),
    }
    const reading = secrets.read(connection).then(
      (own) => {
        asked = { as: 'read', own }
      },
      (error: unknown) => {
        asked = { as: 'failed', error }
      },
    )
    await settledWithin(clock, ASKED_FOR_MS, reading)
    return asked
  }

  return { read, forget: (connection) => secrets.forget(connection) }
}

type Asked =
  | { readonly as: 'read'; readonly own: ConnectionSecrets | undefined }
  | { readonly as: 'failed'; readonly error: unknown }
