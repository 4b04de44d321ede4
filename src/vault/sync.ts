import { UsageError, type Clock } from '../base/index.ts'
import type { ConnectionDefinition } from '../define/index.ts'
import type { Queryable } from '../db/index.ts'
import type { Actor } from '../ledger/index.ts'
import { accountOf } from './account.ts'
import {
  planConnection,
  problemsWithExisting,
  problemsWithPaths,
  type Environment,
  type ExistingConnection,
} from './plan.ts'
import type { ConnectionRef, RecordEntry, VaultStorage } from './storage.ts'
import type { Application, AppliedPlan, PlanWriter } from './writePlan.ts'

export interface ConnectionSyncOptions {
  readonly storage: VaultStorage
  readonly writer: Pick<PlanWriter, 'applyPlan'>
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

export interface SyncedConnection extends AppliedPlan {
  readonly name: string
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

/** Writes connections: those that the configuration declares, and those that an operator adds. */
export function createConnectionSync(options: ConnectionSyncOptions): ConnectionSync {
  const { storage, record } = options
  const { applyPlan } = options.writer

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
    for (const plan of plans) synced.push(await apply({ tenant, plan, by: 'configuration', actor: 'system' }))
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
    return apply({ tenant, plan, by: 'operator', actor })
  }

  async function apply(application: Application): Promise<SyncedConnection> {
    const { tenant, plan } = application
    const { id, change } = await storage.transaction((client) => applyPlan(client, application))
    options.onChanged({ tenant, id })
    return { id, name: plan.name, change }
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

async function readExisting(client: Queryable, tenant: string): Promise<readonly ExistingConnection[]> {
  const { rows } = await client.query<{
    name: string
    connector: string
    path: string | null
    fields: string[]
    account: string | null
  }>(
    `select c.name, c.connector, c.account, e.path,
       array(select s.field from secrets s where s.tenant = c.tenant and s.connection_id = c.id) as fields
     from connections c left join endpoints e on e.tenant = c.tenant and e.connection_id = c.id
     where c.tenant = $1`,
    [tenant],
  )
  return rows.map(({ account, ...row }) => ({
    ...row,
    path: row.path ?? undefined,
    learned: accountOf(account).settings,
  }))
}

function refuse(problems: readonly string[]): void {
  if (problems.length > 0) throw new UsageError('connections_invalid', problems.join('\n'))
}
