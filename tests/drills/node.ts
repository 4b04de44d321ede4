import { writeSync } from 'node:fs'
import { reasonOf, systemClock, systemRandom, type RunId } from '../../src/base/index.ts'
import { defineConfig } from '../../src/define/index.ts'
import { createPlatform, openInstallation } from '../../src/runtime/index.ts'
import { onAskedToStop, readChildOptions, tellParent } from '../crash/child.ts'
import { FLOWS } from '../crash/flows.ts'
import type { NodeOptions, NodeReady } from '../crash/node.ts'
import { sabotage } from '../crash/sabotage.ts'
import { CONNECTORS, DRILL_FLOWS } from './connectors.ts'

/** A node as that of the crash tests, with connections whose providers behave otherwise. */
const options = readChildOptions() as NodeOptions
const installation = await openInstallation({
  config: defineConfig({
    connections: {
      acme: CONNECTORS.acme.connect(reached()),
      shop: CONNECTORS.shop.connect(reached()),
      wall: CONNECTORS.wall.connect(reached()),
    },
    flows: [...FLOWS, ...DRILL_FLOWS],
    ...(options.alerts && { alerts: options.alerts }),
  }),
  folder: options.folder,
  databaseUrl: options.databaseUrl,
  environment: {},
  clock: systemClock,
  random: systemRandom,
  development: true,
  onFault,
})
const platform = await createPlatform(
  options.sabotage ? sabotage(installation, options.sabotage) : installation,
  { roles: options.roles, port: 0, version: 'drill', lingerMs: 0, onFault },
)
onAskedToStop(async () => {
  await platform.stop()
  await installation.close()
})
// A person who has talked to the provider lets go what is parked for years.
process.on('SIGUSR2', () => void retryParked().catch((error: unknown) => onFault('retry', error)))
tellParent({
  as: 'ready',
  url: platform.url ?? '',
  node: platform.node ?? '',
  pid: process.pid,
} satisfies NodeReady)

async function retryParked(): Promise<void> {
  const { rows } = await installation.database.pool.query<{ tenant: string; id: RunId }>(
    `select tenant, id from runs where state = 'parked' and due_at > now() + interval '1 day'`,
  )
  for (const { tenant, id } of rows)
    await installation.operator.retry(id, { tenant, actor: 'operator:drill' })
}

function reached() {
  return {
    baseUrl: options.providerUrl,
    secrets: { token: 'drill-token' },
    webhookSecrets: [options.webhookSecret],
    allowPrivateNetwork: true,
  }
}

function onFault(what: string, error: unknown): void {
  writeSync(2, `${what}: ${reasonOf(error)}\n`)
}
