import type { Session } from './session.ts'

/**
 * Brings connections to what trestle.config.ts declares, as a start does, so that a command can be used before the
 * first one. What is there already is left as it is.
 */
export async function applyConfiguration({ installation, tenant }: Session): Promise<void> {
  const { vault, config } = installation
  const known = new Set(
    (await vault.listConnections(tenant)).filter((one) => one.state !== 'revoked').map((one) => one.name),
  )
  if (Object.keys(config.connections).every((name) => known.has(name))) return
  await vault.syncDeclared(tenant, config.connections)
}
