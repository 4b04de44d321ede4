import { writeSync } from 'node:fs'
import { reasonOf, systemClock, systemRandom } from '../../src/base/index.ts'
import { defineConfig, defineFlow, env, type AlertsDefinition } from '../../src/define/index.ts'
import { createPlatform, openInstallation } from '../../src/runtime/index.ts'
import { onAskedToStop, readChildOptions, tellParent } from '../crash/child.ts'
import { acme } from '../crash/connector.ts'

/** A node of the platform in a process of its own, which tells of incidents. */
export interface NodeOptions {
  readonly databaseUrl: string
  readonly folder: string
  readonly providerUrl: string
  readonly webhookSecret: string
  readonly alerts: AlertsDefinition
  readonly environment: Readonly<Record<string, string>>
}

export interface NodeReady {
  readonly url: string
  readonly pid: number
}

const charged = defineFlow({
  name: 'charged',
  on: acme.on('one'),
  run: ({ event, use }) => use(acme).charges.create({ ref: event.data.ref }),
})

const options = readChildOptions() as NodeOptions
const onFault = (what: string, error: unknown): void =>
  void writeSync(2, `${new Date(systemClock.now()).toISOString()} ${what}: ${reasonOf(error)}\n`)
const installation = await openInstallation({
  config: defineConfig({
    connections: {
      acme: acme.connect({
        baseUrl: options.providerUrl,
        secrets: { token: env('ACME_TOKEN') },
        webhookSecrets: [options.webhookSecret],
        allowPrivateNetwork: true,
      }),
    },
    flows: [charged],
    alerts: options.alerts,
  }),
  folder: options.folder,
  databaseUrl: options.databaseUrl,
  environment: options.environment,
  clock: systemClock,
  random: systemRandom,
  development: true,
  onFault,
})
const platform = await createPlatform(installation, {
  roles: ['intake', 'worker', 'api'],
  port: 0,
  version: 'incidents-test',
  onFault,
})
onAskedToStop(async () => {
  await platform.stop()
  await installation.close()
})
tellParent({ url: platform.url ?? '', pid: process.pid } satisfies NodeReady)
