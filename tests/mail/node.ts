import { writeSync } from 'node:fs'
import { smtp } from '../../connectors/smtp/index.ts'
import { reasonOf, systemClock, systemRandom } from '../../src/base/index.ts'
import { defineConfig, defineFlow } from '../../src/define/index.ts'
import { createPlatform, openInstallation } from '../../src/runtime/index.ts'
import { onAskedToStop, readChildOptions, tellParent } from '../crash/child.ts'
import { acme } from '../crash/connector.ts'

/** A node whose flow sends a mail, in a process of its own. */
export interface NodeOptions {
  readonly databaseUrl: string
  readonly folder: string
  readonly mailUrl: string
  readonly webhookSecret: string
  /** Which of the connector's two ways to send it takes. */
  readonly operation: 'send' | 'sendAtLeastOnce'
}

export interface NodeReady {
  readonly url: string
  readonly pid: number
}

const options = readChildOptions() as NodeOptions
const { operation } = options
const thanks = { from: 'shop@example.com', to: ['ada@example.com'], subject: 'Thanks', text: 'Thank you.' }

const installation = await openInstallation({
  config: defineConfig({
    connections: {
      acme: acme.connect({ secrets: { token: 'token' }, webhookSecrets: [options.webhookSecret] }),
      mail: smtp.connect({
        baseUrl: options.mailUrl,
        secrets: { username: 'trestle', password: 'smtp-password' },
        allowPrivateNetwork: true,
      }),
    },
    flows: [
      defineFlow({
        name: 'thank',
        on: acme.on('one'),
        retry: { first: 1 },
        run: async ({ use }) => (await use(smtp)[operation](thanks)).messageId,
      }),
    ],
  }),
  folder: options.folder,
  databaseUrl: options.databaseUrl,
  environment: {},
  clock: systemClock,
  random: systemRandom,
  development: true,
  onFault,
})
const platform = await createPlatform(installation, {
  roles: ['intake', 'worker'],
  port: 0,
  version: 'mail-test',
  watchdog: false,
  looksAtDisk: false,
  onFault,
})
onAskedToStop(async () => {
  await platform.stop()
  await installation.close()
})
tellParent({ url: platform.url!, pid: process.pid } satisfies NodeReady)

function onFault(what: string, error: unknown): void {
  writeSync(2, `${what}: ${reasonOf(error)}\n`)
}
