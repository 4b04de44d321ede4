import { NotFoundError, parseJson, SECOND, UsageError, type Clock } from '../base/index.ts'
import {
  authFor,
  baseUrlFor,
  SCHEDULE_SOURCE,
  type AuthScheme,
  type ConnectionState,
  type Settings,
} from '../define/index.ts'
import type { Queryable } from '../db/index.ts'
import type { Actor } from '../ledger/index.ts'
import { accountOf } from './account.ts'
import { createExpiringCache } from './expiringCache.ts'
import { endingsOf, type Ending } from './forecast.ts'
import { GRANT_FIELD, type SecretStore } from './secrets.ts'
import type { ConnectionRef, RecordEntry, VaultStorage } from './storage.ts'

/** A connection as calls and webhooks use it. Nothing in it is secret. */
export interface Connection extends ConnectionRef {
  readonly name: string
  /** Name of the connector. */
  readonly connector: string
  /**
   * The scheme in use: of the connector's own and its alternatives, the one whose secrets the connection has.
   * `undefined` where the configuration has no connector of that name any more.
   */
  readonly auth: AuthScheme | undefined
  readonly state: ConnectionState
  /** Without a trailing slash. */
  readonly baseUrl: string
  /** Where an OAuth connection asks for tokens instead of the connector's token URL. */
  readonly tokenUrl: string | undefined
  readonly settings: Settings
  readonly allowPrivateNetwork: boolean
  /** Whether trestle.config.ts has it; the others were added by `trestle connections add`. */
  readonly declared: boolean
  /** Where its webhooks come in; `path` is what stands behind `/webhooks/`. */
  readonly endpoint: { readonly id: string; readonly path: string } | undefined
  readonly createdAt: Date
}

/** What `trestle connections list` shows: which secrets there are, never their values. */
export interface ListedConnection extends Connection {
  readonly secrets: readonly { readonly field: string; readonly version: string; readonly updatedAt: Date }[]
  /** When the access token expires, for an OAuth connection whose provider says so. */
  readonly tokenExpiresAt: Date | undefined
  /** What of its credentials is known to end, the next first. */
  readonly endings: readonly Ending[]
  /** What its check came to last; `undefined` where it was not checked yet. */
  readonly check: LastCheck | undefined
}

export interface LastCheck {
  readonly checkedAt: Date | undefined
  /** As of a call, such as `succeeded`; `not_made` with the code `no_check`: its connector has no cheap read. */
  readonly outcome: string | undefined
  readonly code: string | undefined
  readonly reason: string | undefined
  /** When a call over it was last answered, to the minute. */
  readonly usedAt: Date | undefined
  /** When the certificate ends that its server showed last. */
  readonly certificateEndsAt: Date | undefined
  readonly dueAt: Date
}

export interface ConnectionStore {
  /** By name. Throws `not_found`, with the names that there are. */
  loadConnection(tenant: string, name: string): Promise<Connection>
  /** By id, as events and runs hold it; revoked ones too. */
  loadConnectionById(tenant: string, id: string): Promise<Connection>
  /** The connection behind an endpoint's path; `undefined` if there is none. */
  loadConnectionByPath(tenant: string, path: string): Promise<Connection | undefined>
  listConnections(tenant: string): Promise<readonly ListedConnection[]>
  /**
   * Deletes its secrets and its endpoint, and keeps the connection as `revoked` for what refers to it. Throws
   * `connection_declared` if the configuration has it.
   */
  removeConnection(tenant: string, name: string, actor: Actor): Promise<void>
  /** Throws where {@link removeConnection} would. */
  refuseDeclared(tenant: string, name: string): Promise<void>
  /** Drops what is kept of it in memory, after its row was changed. */
  forget(connection: ConnectionRef): void
}

export interface ConnectionStoreOptions {
  readonly storage: VaultStorage
  readonly secrets: Pick<SecretStore, 'forget'>
  /** The auth scheme of a connector, by the connector's name. */
  readonly authOf: (connector: string) => AuthScheme | undefined
  readonly clock: Clock
  readonly record: RecordEntry
}

/** A tenant's connections are kept in memory this long; a change by another process is seen at the latest then. */
const LOADED_FOR_MS = 5 * SECOND
/** Tenants whose connections are in memory at once. Each may have some 10,000: they are read together. */
const MOST_TENANTS = 100

interface ConnectionRow {
  readonly tenant: string
  readonly id: string
  readonly name: string
  readonly connector: string
  readonly state: ConnectionState
  readonly base_url: string
  readonly token_url: string | null
  readonly settings: string
  readonly account: string | null
  readonly allow_private: boolean
  readonly declared: boolean
  readonly created_at: Date
  readonly endpoint_id: string | null
  readonly path: string | null
  /** Names of its sealed fields. */
  readonly fields: readonly string[]
}

interface LoadedConnections {
  readonly byName: ReadonlyMap<string, Connection>
  readonly byId: ReadonlyMap<string, Connection>
  readonly byPath: ReadonlyMap<string, Connection>
}

/** Reads connections, and removes them. Writing them is in sync.ts. */
export function createConnectionStore(options: ConnectionStoreOptions): ConnectionStore {
  const { storage, secrets, clock } = options
  const kept = createExpiringCache<LoadedConnections>({ clock, keepMs: LOADED_FOR_MS, most: MOST_TENANTS })

  async function readAll(tenant: string): Promise<readonly Connection[]> {
    const { rows } = await storage.reader.query<ConnectionRow>(
      `select c.tenant, c.id, c.name, c.connector, c.state, c.base_url, c.token_url, c.settings, c.account, c.allow_private,
         c.declared, c.created_at, e.id as endpoint_id, e.path,
         array(select s.field from secrets s where s.tenant = c.tenant and s.connection_id = c.id) as fields
       from connections c left join endpoints e on e.tenant = c.tenant and e.connection_id = c.id
       where c.tenant = $1 order by c.name`,
      [tenant],
    )
    return rows.map((row) => connectionOf(row, options.authOf(row.connector)))
  }

  const loaded = (tenant: string): Promise<LoadedConnections> =>
    kept.get(tenant, async () => {
      const all = await readAll(tenant)
      return {
        byName: new Map(all.map((one) => [one.name, one])),
        byId: new Map(all.map((one) => [one.id, one])),
        byPath: new Map(all.flatMap((one) => (one.endpoint ? [[one.endpoint.path, one] as const] : []))),
      }
    })

  function forget(connection: ConnectionRef): void {
    kept.forget(connection.tenant)
    secrets.forget(connection)
  }

  async function loadConnection(tenant: string, name: string): Promise<Connection> {
    const { byName } = await loaded(tenant)
    const connection = byName.get(name)
    if (connection) return connection
    const names = [...byName.keys()].join(', ')
    throw new NotFoundError(
      'connection',
      name,
      names === ''
        ? 'There is none yet; make one with: trestle connections add NAME'
        : `Use one of: ${names}.`,
    )
  }

  async function listConnections(tenant: string): Promise<readonly ListedConnection[]> {
    // The platform's own source is nobody's link to a provider.
    const connections = (await readAll(tenant)).filter(({ connector }) => connector !== SCHEDULE_SOURCE)
    const { rows } = await storage.reader.query<{
      connection_id: string
      field: string
      version: string
      updated_at: Date
      expires_at: Date | null
      ends_at: Date | null
    }>(
      `select connection_id, field, version::text, updated_at, expires_at, ends_at from secrets
       where tenant = $1 order by connection_id, field`,
      [tenant],
    )
    const checks = await readChecks(storage.reader, tenant)
    return connections.map((connection) => {
      const own = rows.filter((row) => row.connection_id === connection.id)
      const times = own.map((row) => ({
        field: row.field,
        expiresAt: row.expires_at ?? undefined,
        endsAt: row.ends_at ?? undefined,
        updatedAt: row.updated_at,
      }))
      const check = checks.get(connection.id)
      return {
        ...connection,
        secrets: own.map((row) => ({ field: row.field, version: row.version, updatedAt: row.updated_at })),
        tokenExpiresAt: own.find((row) => row.field === GRANT_FIELD)?.expires_at ?? undefined,
        // What was rotated out and does not count any more is no news.
        endings: endingsOf(connection, times, check?.certificateEndsAt).filter(
          ({ what, endsAt }) => what !== 'former secret' || endsAt.getTime() > clock.now(),
        ),
        check,
      }
    })
  }

  async function removable(
    client: Queryable,
    tenant: string,
    name: string,
    lock: '' | 'for update',
  ): Promise<{ readonly id: string }> {
    const { rows } = await client.query<{ id: string; state: ConnectionState; declared: boolean }>(
      `select id, state, declared from connections where tenant = $1 and name = $2 ${lock}`,
      [tenant, name],
    )
    const found = rows[0]
    if (found === undefined || found.state === 'revoked')
      throw new NotFoundError('connection', name, 'See them with: trestle connections list')
    if (found.declared)
      throw new UsageError(
        'connection_declared',
        `The connection "${name}" is declared in trestle.config.ts. Take it out there, start Trestle once, and remove it then.`,
      )
    return found
  }

  async function removeConnection(tenant: string, name: string, actor: Actor): Promise<void> {
    const removed = await storage.transaction(async (client) => {
      const found = await removable(client, tenant, name, 'for update')
      const own = [tenant, found.id]
      await client.query('delete from secrets where tenant = $1 and connection_id = $2', own)
      // Tokens that are to be taken back at the provider stay until they are, and answers until they are read for those.
      await client.query(
        `delete from grant_refreshes where tenant = $1 and connection_id = $2 and state not in ('revoking', 'answered')`,
        own,
      )
      await client.query('delete from connection_checks where tenant = $1 and connection_id = $2', own)
      await client.query('delete from endpoints where tenant = $1 and connection_id = $2', own)
      await client.query('delete from authorizations where tenant = $1 and connection_id = $2', own)
      await client.query(
        `update connections set state = 'revoked', account = null, updated_at = now() where tenant = $1 and id = $2`,
        own,
      )
      await options.record(client, {
        tenant,
        at: clock.now(),
        actor,
        action: 'connection.removed',
        target: found.id,
        outcome: 'succeeded',
        connectionId: found.id,
        detail: { name },
      })
      return { tenant, id: found.id }
    })
    forget(removed)
  }

  return {
    loadConnection,
    async loadConnectionById(tenant, id) {
      const connection = (await loaded(tenant)).byId.get(id)
      if (connection === undefined) throw new NotFoundError('connection', id)
      return connection
    },
    async loadConnectionByPath(tenant, path) {
      return (await loaded(tenant)).byPath.get(path)
    },
    listConnections,
    removeConnection,
    async refuseDeclared(tenant, name) {
      await removable(storage.reader, tenant, name, '')
    },
    forget,
  }
}

async function readChecks(client: Queryable, tenant: string): Promise<ReadonlyMap<string, LastCheck>> {
  const { rows } = await client.query<{
    connection_id: string
    checked_at: Date | null
    outcome: string | null
    code: string | null
    reason: string | null
    used_at: Date | null
    certificate_ends_at: Date | null
    due_at: Date
  }>(
    `select connection_id, checked_at, outcome, code, reason, used_at, certificate_ends_at, due_at
     from connection_checks where tenant = $1`,
    [tenant],
  )
  return new Map(
    rows.map((row) => [
      row.connection_id,
      {
        checkedAt: row.checked_at ?? undefined,
        outcome: row.outcome ?? undefined,
        code: row.code ?? undefined,
        reason: row.reason ?? undefined,
        usedAt: row.used_at ?? undefined,
        certificateEndsAt: row.certificate_ends_at ?? undefined,
        dueAt: row.due_at,
      },
    ]),
  )
}

function connectionOf(row: ConnectionRow, auth: AuthScheme | undefined): Connection {
  const account = accountOf(row.account)
  const settings = { ...account.settings, ...(parseJson(row.settings) as Settings) }
  const baseUrl = account.baseUrl?.insteadOf === row.base_url ? account.baseUrl.url : row.base_url
  return {
    tenant: row.tenant,
    id: row.id,
    name: row.name,
    connector: row.connector,
    auth: auth && authFor(auth, row.fields),
    state: row.state,
    baseUrl: baseUrlFor({ baseUrl }, settings),
    tokenUrl: row.token_url ?? undefined,
    settings,
    allowPrivateNetwork: row.allow_private,
    declared: row.declared,
    endpoint:
      row.endpoint_id === null || row.path === null ? undefined : { id: row.endpoint_id, path: row.path },
    createdAt: row.created_at,
  }
}
