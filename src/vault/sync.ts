import { newId, UsageError, type Clock } from '../base/index.ts'
import type { ConnectionDefinition, ConnectionState } from '../define/index.ts'
import type { Queryable } from '../db/index.ts'
import type { Actor, LedgerAction, LedgerEntry } from '../ledger/index.ts'
import type { GrantStore } from './grants.ts'
import {
  canVerify,
  isWebhookSecretField,
  planConnection,
  problemsWithExisting,
  problemsWithPaths,
  webhookSecretField,
  type ConnectionPlan,
  type Environment,
  type ExistingConnection,
} from './plan.ts'
import type { SecretStore } from './secrets.ts'
import type { ConnectionRef, RecordEntry, VaultStorage } from './storage.ts'

export interface ConnectionSyncOptions {
  readonly storage: VaultStorage
  readonly secrets: Pick<SecretStore, 'put' | 'remove'>
  readonly grants: Pick<GrantStore, 'plant'>
  readonly clock: Clock
  readonly record: RecordEntry
  /** Where declared secrets are read from: `process.env`. */
  readonly environment: Environment
  /** Throws, before anything is written, if what is sealed already cannot be opened. */
  readonly checkMasterKey: () => Promise<void>
  /** Told after the commit. */
  readonly onChanged: (connection: ConnectionRef) => void
}

export interface SyncResult {
  readonly connections: readonly SyncedConnection[]
  /** Connections that were declared before and are not now. They stay until they are removed. */
  readonly undeclared: readonly string[]
}

export interface SyncedConnection {
  readonly id: string
  readonly name: string
  readonly change: 'added' | 'changed' | 'unchanged'
}

export interface NewConnection {
  readonly tenant: string
  readonly name: string
  readonly definition: ConnectionDefinition
  /** The operator who adds it. */
  readonly actor: Actor
}

export interface ConnectionSync {
  /**
   * Brings the database to what the configuration declares. Throws a {@link UsageError} `connections_invalid` that
   * lists every mistake, before any of the connections is written.
   */
  syncDeclared(
    tenant: string,
    connections: Readonly<Record<string, ConnectionDefinition>>,
  ): Promise<SyncResult>
  /** Adds a connection, or gives one other secrets. Of a declared connection only the secrets are taken. */
  addConnection(connection: NewConnection): Promise<SyncedConnection>
}

interface Application {
  readonly tenant: string
  readonly plan: ConnectionPlan
  readonly by: 'configuration' | 'operator'
  readonly actor: Actor
}

interface WrittenConnection {
  readonly id: string
  readonly added: boolean
  readonly changed: boolean
  /** The configuration has it and an operator asked: only secrets may change. */
  readonly fixed: boolean
}

/** Writes connections: those that the configuration declares, and those that an operator adds. */
export function createConnectionSync(options: ConnectionSyncOptions): ConnectionSync {
  const { storage, secrets, record } = options

  async function syncDeclared(
    tenant: string,
    connections: Readonly<Record<string, ConnectionDefinition>>,
  ): Promise<SyncResult> {
    await options.checkMasterKey()
    const names = Object.keys(connections).sort()
    const undeclared = await undeclareOthers(tenant, names)
    const planned = names.map((name) => planConnection(name, connections[name]!, options.environment))
    const plans = planned.map((one) => one.plan)
    const existing = await readExisting(storage.reader, tenant)
    refuse([
      ...planned.flatMap((one) => one.problems),
      ...plans.flatMap((plan) =>
        problemsWithExisting(
          plan,
          existing.find((one) => one.name === plan.name),
        ),
      ),
      ...problemsWithPaths(plans, existing),
    ])
    const synced: SyncedConnection[] = []
    for (const plan of plans)
      synced.push(await applyPlan({ tenant, plan, by: 'configuration', actor: 'system' }))
    return { connections: synced, undeclared }
  }

  async function addConnection(added: NewConnection): Promise<SyncedConnection> {
    await options.checkMasterKey()
    const { tenant, name, definition, actor } = added
    if (!/^[a-z][a-z0-9-]*$/.test(name))
      refuse([
        `Connection "${name}": names are lower-case letters, digits and hyphens, beginning with a letter.`,
      ])
    const { plan, problems } = planConnection(name, definition, options.environment)
    const existing = await readExisting(storage.reader, tenant)
    refuse([
      ...problems,
      ...problemsWithExisting(
        plan,
        existing.find((one) => one.name === name),
      ),
      ...problemsWithPaths([plan], existing),
    ])
    return applyPlan({ tenant, plan, by: 'operator', actor })
  }

  async function applyPlan(application: Application): Promise<SyncedConnection> {
    const { tenant, plan } = application
    const applied = await storage.transaction(async (client) => {
      const { id, added, changed, fixed } = await writeConnection(client, application)
      const connection = { tenant, id }
      const sealed = await writeSecrets(client, connection, application)
      const state = await writeState(client, connection, plan, sealed)
      const moved = await writeEndpoint(client, connection, plan, !fixed)
      if (added || changed || moved)
        await record(client, entryOf(application, id, added ? 'connection.added' : 'connection.changed'))
      if (state === 'active' && !added)
        await record(client, entryOf(application, id, 'connection.reauthorized'))
      return { id, added, changed: changed || moved || state !== undefined || sealed.length > 0 }
    })
    options.onChanged({ tenant, id: applied.id })
    const change = applied.added ? 'added' : applied.changed ? 'changed' : 'unchanged'
    return { id: applied.id, name: plan.name, change }
  }

  function entryOf({ tenant, plan, actor }: Application, id: string, action: LedgerAction): LedgerEntry {
    const { name, connector, baseUrl, settings } = plan
    return {
      tenant,
      at: options.clock.now(),
      actor,
      action,
      target: id,
      outcome: 'succeeded',
      connectionId: id,
      detail: { name, connector, baseUrl, settings },
    }
  }

  /** Locks the connection's row, made where it was not there, and brings it to the plan. */
  async function writeConnection(
    client: Queryable,
    { tenant, plan, by }: Application,
  ): Promise<WrittenConnection> {
    const planned = [plan.baseUrl, settingsText(plan), plan.allowPrivateNetwork, by === 'configuration']
    const inserted = await client.query<{ id: string }>(
      `insert into connections (tenant, id, name, connector, base_url, settings, allow_private, declared)
       values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (tenant, name) do nothing returning id`,
      [tenant, newId('con'), plan.name, plan.connector, ...planned],
    )
    if (inserted.rows[0]) return { id: inserted.rows[0].id, added: true, changed: true, fixed: false }
    const { rows } = await client.query<{
      id: string
      state: string
      base_url: string
      settings: string
      allow_private: boolean
      declared: boolean
    }>(
      `select id, state, base_url, settings, allow_private, declared from connections
       where tenant = $1 and name = $2 for update`,
      [tenant, plan.name],
    )
    const now = rows[0]!
    const revoked = now.state === 'revoked'
    // What the configuration declares is not overruled from the command line.
    if (by === 'operator' && now.declared && !revoked)
      return { id: now.id, added: false, changed: false, fixed: true }
    const same =
      !revoked &&
      [now.base_url, now.settings, now.allow_private, now.declared].every((value, i) => value === planned[i])
    if (!same)
      await client.query(
        `update connections set base_url = $3, settings = $4, allow_private = $5, declared = $6, updated_at = now(),
           state = case when state = 'revoked' then 'active' else state end
         where tenant = $1 and id = $2`,
        [tenant, now.id, ...planned],
      )
    return { id: now.id, added: revoked, changed: !same, fixed: false }
  }

  /** Seals what differs, drops webhook secrets that are rotated out; gives the fields that were written. */
  async function writeSecrets(
    client: Queryable,
    connection: ConnectionRef,
    { plan, actor }: Application,
  ): Promise<readonly string[]> {
    const written: string[] = []
    const put = async (field: string, value: string): Promise<void> => {
      if (await secrets.put(client, { connection, field, value, actor })) written.push(field)
    }
    for (const [field, value] of plan.secrets) await put(field, value)
    if (plan.webhookSecrets !== undefined) {
      for (const [index, value] of plan.webhookSecrets.entries()) await put(webhookSecretField(index), value)
      const kept = new Set(plan.webhookSecrets.map((_, index) => webhookSecretField(index)))
      const surplus = (await fieldsOf(client, connection)).filter(
        (field) => isWebhookSecretField(field) && !kept.has(field),
      )
      if (surplus.length > 0) await secrets.remove(client, connection, surplus, actor)
    }
    if (plan.auth.kind === 'oauth2' && written.includes('refreshToken'))
      await plantGrant(client, connection, plan)
    return written
  }

  /** A refresh token that was not seen before is a new authorization: the grant begins again with it. */
  async function plantGrant(
    client: Queryable,
    connection: ConnectionRef,
    plan: ConnectionPlan,
  ): Promise<void> {
    const accessToken = plan.secrets.get('accessToken')
    const expiresAt = plan.secrets.get('expiresAt')
    await options.grants.plant(client, connection, {
      refreshToken: plan.secrets.get('refreshToken')!,
      obtainedAt: options.clock.now(),
      ...(accessToken === undefined ? {} : { accessToken }),
      ...(expiresAt === undefined ? {} : { expiresAt: Date.parse(expiresAt) }),
    })
  }

  /**
   * New secrets may mend what was refused; an OAuth connection without a grant waits for its authorization. Gives
   * the state where it changed.
   */
  async function writeState(
    client: Queryable,
    connection: ConnectionRef,
    plan: ConnectionPlan,
    sealed: readonly string[],
  ): Promise<ConnectionState | undefined> {
    const authorized =
      plan.auth.kind !== 'oauth2' || (await fieldsOf(client, connection)).includes('refreshToken')
    const credentials = sealed.filter((field) => !isWebhookSecretField(field))
    if (authorized && credentials.length === 0) return undefined
    const state: ConnectionState = authorized ? 'active' : 'needs_reauthorization'
    const { rows } = await client.query(
      `update connections set state = $3, updated_at = now()
       where tenant = $1 and id = $2 and state <> $3 returning id`,
      [connection.tenant, connection.id, state],
    )
    return rows.length > 0 ? state : undefined
  }

  /** Gives the connection its endpoint, moves it, or leaves all as it is; tells whether something changed. */
  async function writeEndpoint(
    client: Queryable,
    connection: ConnectionRef,
    plan: ConnectionPlan,
    mayMove: boolean,
  ): Promise<boolean> {
    const { tenant, id } = connection
    const found = await client.query<{ id: string; path: string }>(
      'select id, path from endpoints where tenant = $1 and connection_id = $2',
      [tenant, id],
    )
    const current = found.rows[0]
    if (!canVerify(plan, await fieldsOf(client, connection))) {
      if (current)
        await client.query('delete from endpoints where tenant = $1 and id = $2', [tenant, current.id])
      return current !== undefined
    }
    if (current !== undefined && (current.path === plan.endpointPath || !mayMove)) return false
    if (current)
      await client.query('update endpoints set path = $3 where tenant = $1 and id = $2', [
        tenant,
        current.id,
        plan.endpointPath,
      ])
    else
      await client.query('insert into endpoints (tenant, id, path, connection_id) values ($1, $2, $3, $4)', [
        tenant,
        newId('ep'),
        plan.endpointPath,
        id,
      ])
    return true
  }

  /** What the configuration does not speak of any more can be removed from then on. */
  async function undeclareOthers(tenant: string, names: readonly string[]): Promise<readonly string[]> {
    const undeclared = await storage.transaction(async (client) => {
      const { rows } = await client.query<{ id: string; name: string }>(
        `update connections set declared = false, updated_at = now()
         where tenant = $1 and declared and name <> all($2) returning id, name`,
        [tenant, names],
      )
      for (const { id, name } of rows)
        await record(client, {
          tenant,
          at: options.clock.now(),
          actor: 'system',
          action: 'connection.changed',
          target: id,
          outcome: 'succeeded',
          connectionId: id,
          detail: { name, declared: false },
        })
      return rows
    })
    for (const { id } of undeclared) options.onChanged({ tenant, id })
    return undeclared.map((one) => one.name).sort()
  }

  return { syncDeclared, addConnection }
}

/** Settings as they are stored: in the order of their names, so that equal ones are equal text. */
function settingsText(plan: ConnectionPlan): string {
  return JSON.stringify(
    Object.fromEntries(Object.entries(plan.settings).sort(([a], [b]) => (a < b ? -1 : 1))),
  )
}

async function fieldsOf(client: Queryable, connection: ConnectionRef): Promise<readonly string[]> {
  const { rows } = await client.query<{ field: string }>(
    'select field from secrets where tenant = $1 and connection_id = $2',
    [connection.tenant, connection.id],
  )
  return rows.map((row) => row.field)
}

async function readExisting(client: Queryable, tenant: string): Promise<readonly ExistingConnection[]> {
  const { rows } = await client.query<{
    name: string
    connector: string
    path: string | null
    fields: string[]
  }>(
    `select c.name, c.connector, e.path,
       array(select s.field from secrets s where s.tenant = c.tenant and s.connection_id = c.id) as fields
     from connections c left join endpoints e on e.tenant = c.tenant and e.connection_id = c.id
     where c.tenant = $1`,
    [tenant],
  )
  return rows.map((row) => ({ ...row, path: row.path ?? undefined }))
}

function refuse(problems: readonly string[]): void {
  if (problems.length > 0) throw new UsageError('connections_invalid', problems.join('\n'))
}
