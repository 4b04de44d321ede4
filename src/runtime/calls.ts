import { NotFoundError, UsageError } from '../base/index.ts'
import {
  createCalls,
  type Budgets,
  type CallConnection,
  type CallOutcome,
  type Calls,
  type OutageBoard,
} from '../calls/index.ts'
import type { AnyConnector } from '../define/index.ts'
import { refuseInHold } from './hold.ts'
import type { Installation } from './installation.ts'

/** Calls of this process over the installation's connections. */
export function callsOf(
  { clock, egress, vault }: Installation,
  board?: OutageBoard,
  budgets?: Budgets,
): Calls {
  const calls = createCalls({
    clock,
    ...(board && { board }),
    ...(budgets && { budgets }),
    send: (request) => egress.send(request),
    mail: (request) => egress.mail(request),
    authorize: async (connection, request, context) =>
      vault.authorize(await vault.loadConnectionById(connection.tenant, connection.id), request, context),
    refreshAfterUnauthorized: async (connection, version) =>
      vault.refreshAfterUnauthorized(
        await vault.loadConnectionById(connection.tenant, connection.id),
        version,
      ),
    secretValuesOf: (connection) => vault.secretValuesOf(connection),
  })
  // Whoever answers need not be asked whether it is there.
  const noted = (connection: CallConnection, outcome: CallOutcome): CallOutcome => {
    if ('exchange' in outcome && outcome.exchange?.status !== undefined)
      vault.noteUse(connection, outcome.exchange.request.url)
    return outcome
  }
  return {
    ...calls,
    call: async (request) => noted(request.connection, await calls.call(request)),
    testConnection: async (connection) => noted(connection, await calls.testConnection(connection)),
  }
}

/**
 * Calls that try a credential: the present one alone, or `candidate` in its place, whatever was rotated out and whatever
 * state the connection is in. Nothing is noted of a refusal.
 */
export function callsTrying(
  { clock, egress, vault }: Installation,
  candidate?: Readonly<Record<string, string>>,
  shared: { readonly board?: OutageBoard; readonly budgets?: Budgets } = {},
): Calls {
  const trying = candidate === undefined ? {} : { candidate }
  return createCalls({
    clock,
    ...shared,
    mail: (request) => egress.mail(request),
    send: (request) => egress.send(request),
    authorize: async (connection, request, context) =>
      vault.authorize(await vault.loadConnectionById(connection.tenant, connection.id), request, {
        ...context,
        trying,
      }),
    refreshAfterUnauthorized: async (connection, version) =>
      vault.refreshAfterUnauthorized(
        await vault.loadConnectionById(connection.tenant, connection.id),
        version,
      ),
    secretValuesOf: async (connection) => [
      ...(await vault.secretValuesOf(connection)),
      ...Object.values(candidate ?? {}),
    ],
  })
}

/** Makes the connector's check, a cheap read, over a connection. Throws `not_found`. */
export async function testConnection(
  installation: Installation,
  tenant: string,
  name: string,
): Promise<CallOutcome> {
  await refuseInHold(installation.database.pool)
  const found = await installation.vault.loadConnection(tenant, name)
  const connector = installation.connectorNamed(found.connector)
  if (!connector)
    throw new UsageError(
      'connector_missing',
      `The connector "${found.connector}" is not in the configuration. Add a connection of it to trestle.config.ts.`,
    )
  return callsOf(installation).testConnection({
    ...found,
    connector,
    allowPrivate: found.allowPrivateNetwork,
  })
}

/** The tenant's connection of a connector: the one named, else the only one there is. */
export async function connectionFor(
  installation: Installation,
  tenant: string,
  connector: AnyConnector,
  name: string | undefined,
): Promise<CallConnection> {
  const {
    id,
    name: found,
    baseUrl,
    settings,
    allowPrivateNetwork,
  } = await installation.vault.loadConnection(
    tenant,
    name ?? (await onlyConnection(installation, tenant, connector)),
  )
  return { id, name: found, tenant, connector, baseUrl, settings, allowPrivate: allowPrivateNetwork }
}

/** Declared ones come first: they are known without asking the database, on the path of every call. */
async function onlyConnection(
  { config, vault }: Installation,
  tenant: string,
  connector: AnyConnector,
): Promise<string> {
  const declared = Object.entries(config.connections)
    .filter(([, connection]) => connection.connector.name === connector.name)
    .map(([name]) => name)
  const names =
    declared.length > 0
      ? declared
      : (await vault.listConnections(tenant))
          .filter((connection) => connection.connector === connector.name && connection.state !== 'revoked')
          .map((connection) => connection.name)
  if (names.length === 1) return names[0]!
  throw new UsageError(
    'connection_ambiguous',
    names.length === 0
      ? `There is no connection of ${connector.title}. Add one to trestle.config.ts, or with: trestle connections add ${connector.name} --connector ${connector.name}`
      : `There are ${names.length} connections of ${connector.title}: ${names.join(', ')}. Say which: use(${connector.name}, '${names[0]}').`,
  )
}

/** The connection with this id; `undefined` where it, or its connector, is gone. */
export async function connectionById(
  { vault, connectorNamed }: Installation,
  tenant: string,
  id: string,
): Promise<CallConnection | undefined> {
  const found = await vault.loadConnectionById(tenant, id).catch((error: unknown) => {
    if (error instanceof NotFoundError) return undefined
    throw error
  })
  const connector = found && connectorNamed(found.connector)
  return connector && { ...found, connector, allowPrivate: found.allowPrivateNetwork }
}
