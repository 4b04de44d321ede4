import type { Endpoint } from '../webhooks/index.ts'
import type { Installation } from './installation.ts'

/** Finds the endpoint behind `/webhooks/<path>`. The vault keeps connections in memory for some seconds. */
export function createEndpointTable(
  { vault, connectorNamed }: Installation,
  tenant: string,
  publicUrl: () => string,
): (path: string) => Promise<Endpoint | undefined> {
  return async (path) => {
    const name = path.slice('/webhooks/'.length)
    const connection =
      name === '' || name.includes('/') ? undefined : await vault.loadConnectionByPath(tenant, name)
    const connector = connection && connectorNamed(connection.connector)
    if (!connection?.endpoint || !connector?.webhooks || connection.state === 'revoked') return undefined
    return {
      tenant,
      id: connection.endpoint.id,
      path,
      publicUrl: publicUrl() + path,
      connectionId: connection.id,
      connectionName: connection.name,
      connector,
      settings: connection.settings,
      secrets: () => vault.webhookSecrets(connection),
      freshSecrets: () => vault.webhookSecrets(connection, { fresh: true }),
    }
  }
}
