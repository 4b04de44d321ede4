import { writeSync } from 'node:fs'
import { reasonOf, systemClock, systemRandom, type RunId } from '../../src/base/index.ts'
import { defineConfig } from '../../src/define/index.ts'
import { createPlatform, openInstallation } from '../../src/runtime/index.ts'
import { onAskedToStop, readChildOptions, tellParent } from '../crash/child.ts'
import { FLOWS } from '../crash/flows.ts'
import type { NodeOptions, NodeReady } from '../crash/node.ts'
import { sabotage } from '../crash/sabotage.ts'
import { CONNECTORS, DRILL_FLOWS } from './connectors.ts'
import { HOSTILE_FLOWS, rogue, ROGUE_TOKEN } from './hostile/connectors.ts'

/** A node as that of the crash tests, with connections whose providers behave otherwise. */
const options = readChildOptions() as NodeOptions & { readonly rogueUrl?: string }
const installation = await openInstallation({
  config: defineConfig({
    connections: {
      acme: CONNECTORS.acme.connect(reached()),
      shop: CONNECTORS.shop.connect(reached()),
      wall: CONNECTORS.wall.connect(reached()),
      rogue: rogue.connect({ ...reached(options.rogueUrl), secrets: { token: ROGUE_TOKEN } }),
    },
    flows: [...FLOWS, ...DRILL_FLOWS, ...HOSTILE_FLOWS],
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
// A person who has talked to the provider lets go what is left to people.
process.on('SIGUSR2', () => void letGo().catch((error: unknown) => onFault('retry', error)))
tellParent({
  as: 'ready',
  url: platform.url ?? '',
  node: platform.node ?? '',
  pid: process.pid,
} satisfies NodeReady)

const PERSON = { actor: 'operator:drill' } as const

async function letGo(): Promise<void> {
  const { pool } = installation.database
  const { rows: stopped } = await pool.query<{ tenant: string; id: RunId }>(
    `select tenant, id from runs where (state = 'dead_lettered' and flow = 'rogue') or (state = 'parked' and due_at > now() + interval '1 day')`,
  )
  for (const { tenant, id } of stopped) await installation.operator.retry(id, { ...PERSON, tenant })
  const { rows: keptBack } = await pool.query<{ tenant: string; id: string }>(
    `select tenant, id from quarantine where kind = 'answer' and state = 'quarantined'`,
  )
  for (const { tenant, id } of keptBack) await installation.operator.release(id, { ...PERSON, tenant })
}

function reached(baseUrl = options.providerUrl) {
  return {
    baseUrl,
    secrets: { token: 'drill-token' },
    webhookSecrets: [options.webhookSecret],
    allowPrivateNetwork: true,
  }
}

function onFault(what: string, error: unknown): void {
  writeSync(2, `${what}: ${reasonOf(error)}\n`)
}
