/** A node of the platform whose provider's limits are short. */
import { systemClock, systemRandom } from '../../src/base/index.ts'
import { createPlatform, openInstallation } from '../../src/runtime/index.ts'
import { budgetConfig, LIMITS } from './budgetConfig.ts'
import { argument, serveParent } from './child.ts'

const { databaseUrl, providerUrl, folder, masterKey, limits } = argument<{
  databaseUrl: string
  providerUrl: string
  folder: string
  masterKey: string
  limits: keyof typeof LIMITS
}>()
const onFault = (what: string, error: unknown): void => {
  process.stderr.write(`${what}: ${error instanceof Error ? error.message : String(error)}\n`)
}
const installation = await openInstallation({
  config: budgetConfig(providerUrl, LIMITS[limits]),
  folder,
  databaseUrl,
  environment: { TRESTLE_MASTER_KEY: masterKey },
  clock: systemClock,
  random: systemRandom,
  development: false,
  connections: 6,
  onFault,
})
const platform = await createPlatform(installation, {
  roles: ['intake', 'worker'],
  port: 0,
  version: 'bench',
  watchdog: false,
  onFault,
})
serveParent(
  { url: platform.url, node: platform.node },
  () => Promise.resolve({}),
  async () => {
    await platform.stop()
    await installation.close()
  },
)
