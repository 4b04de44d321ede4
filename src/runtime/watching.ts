import { keepConservation } from '../conservation/index.ts'
import { createChannels, roomOnDisk, Watch } from '../incidents/index.ts'
import { TENANT, type Installation } from './installation.ts'

/** Keeps watch on every node, in turns: counts that must balance, incidents, and the telling of them. */
export async function startWatching(
  installation: Installation,
  inHold: () => boolean,
  looksAtDisk: boolean,
  onFault: (what: string, error: unknown) => void,
): Promise<{ stop(): Promise<void> }> {
  const { config, database, clock, random, connectorNamed, egress, vault } = installation
  const channels = await createChannels(config.alerts, {
    clock,
    tenant: TENANT,
    egress,
    standing: (name) => vault.standing(TENANT, name),
  })
  const watch = new Watch({
    database,
    clock,
    random,
    tenant: TENANT,
    channels,
    limitsOf: (name) => connectorNamed(name)?.limits ?? [],
    roomOf: looksAtDisk ? roomOnDisk : undefined,
    inHold,
    onFault,
  })
  await watch.start()
  const counting = await keepConservation({ database, clock, tenant: TENANT, onFault })
  return {
    async stop() {
      await Promise.all([watch.stop(), counting.stop()])
    },
  }
}
