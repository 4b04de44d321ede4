import { appendFileSync } from 'node:fs'
import { reasonOf, systemClock, systemRandom, type Clock } from '../../src/base/index.ts'
import { createPlatform, findDatabase, openInstallation } from '../../src/runtime/index.ts'
import config from '../../examples/business-day/trestle.config.ts'

/** The salon's platform as one process with its embedded PostgreSQL, so that it can be killed; its clock can be put forward. */
export interface NodeOptions {
  readonly folder: string
  readonly port: number
  /** How far its clock is ahead. */
  readonly aheadMs: number
  readonly faults: string
}

export interface NodeReady {
  readonly url: string
  readonly postgres: number
  readonly notices: readonly string[]
}

// Nothing of a test outlives it, whatever ended it.
process.on('disconnect', () => process.exit(3))
const options = JSON.parse(process.argv[2]!) as NodeOptions
let aheadMs = options.aheadMs
const clock: Clock = { ...systemClock, now: () => systemClock.now() + aheadMs }
const onFault = (what: string, error: unknown): void =>
  appendFileSync(options.faults, `${what}: ${reasonOf(error)}\n`)

const notices: string[] = []
const found = await findDatabase(options.folder, {})
const installation = await openInstallation({
  config,
  folder: options.folder,
  databaseUrl: found.url,
  environment: process.env,
  clock,
  random: systemRandom,
  development: false,
  connections: 20,
  onFault,
})
const platform = await createPlatform(installation, {
  roles: ['intake', 'worker', 'api'],
  port: options.port,
  version: 'drill',
  onFault,
  onNotice: (line) => notices.push(line),
})
process.on('message', (said: { readonly later?: number } | 'stop') => {
  if (said === 'stop')
    void platform
      .stop()
      .then(() => installation.close())
      .then(() => found.release())
      .finally(() => process.exit(0))
  else aheadMs = said.later ?? aheadMs
})
process.send!({ url: platform.url!, postgres: found.embedded!.pid, notices } satisfies NodeReady)
