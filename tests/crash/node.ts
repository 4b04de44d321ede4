import { writeSync } from 'node:fs'
import { subscribe } from 'node:diagnostics_channel'
import {
  CRASH_CHANNEL,
  reasonOf,
  systemClock,
  systemRandom,
  type CrashPoint,
  type ReachedPoint,
} from '../../src/base/index.ts'
import { defineConfig, type AlertsDefinition } from '../../src/define/index.ts'
import { createPlatform, openInstallation, type Role } from '../../src/runtime/index.ts'
import { onAskedToStop, readChildOptions, tellParent } from './child.ts'
import { acme } from './connector.ts'
import { FLOWS } from './flows.ts'
import { sabotage, type Sabotage } from './sabotage.ts'

/** A node of the platform under test, in a process of its own, built as `trestle serve` builds it. */
export interface NodeOptions {
  readonly databaseUrl: string
  readonly folder: string
  readonly providerUrl: string
  readonly webhookSecret: string
  readonly roles: readonly Role[]
  /** How long it takes webhooks after it was asked to stop. Default 0. */
  readonly lingerMs?: number
  /** Ends or stops itself when it reaches this point for the `count`-th time. */
  readonly crashAt?: { readonly point: CrashPoint; readonly count: number; readonly how: 'kill' | 'stop' }
  /** A protection to take away, so that a test can show that its loss is noticed. */
  readonly sabotage?: Sabotage
  /** Who is told of incidents. Default: nobody. */
  readonly alerts?: AlertsDefinition
}

export interface NodeReady {
  readonly as: 'ready'
  readonly url: string
  readonly node: string
  readonly pid: number
}

const options = readChildOptions() as NodeOptions
if (options.crashAt) arm(options.crashAt)

const installation = await openInstallation({
  config: defineConfig({
    connections: {
      acme: acme.connect({
        baseUrl: options.providerUrl,
        secrets: { token: 'crash-test-token' },
        webhookSecrets: [options.webhookSecret],
        allowPrivateNetwork: true,
      }),
    },
    flows: FLOWS,
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
  { roles: options.roles, port: 0, version: 'crash-test', lingerMs: options.lingerMs ?? 0, onFault },
)
onAskedToStop(async () => {
  await platform.stop()
  await installation.close()
})
tellParent({
  as: 'ready',
  url: platform.url ?? '',
  node: platform.node ?? '',
  pid: process.pid,
} satisfies NodeReady)

function arm({ point, count, how }: NonNullable<NodeOptions['crashAt']>): void {
  let reached = 0
  subscribe(CRASH_CHANNEL, (said) => {
    if ((said as ReachedPoint).name !== point || ++reached !== count) return
    process.kill(process.pid, how === 'kill' ? 'SIGKILL' : 'SIGSTOP')
  })
}

function onFault(what: string, error: unknown): void {
  writeSync(2, `${what}: ${reasonOf(error)}\n`)
}
