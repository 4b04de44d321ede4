/** A node of the platform under load: everything on, a real PostgreSQL with fsync. */
import { systemClock, systemRandom } from '../../src/base/index.ts'
import { createPlatform, openInstallation, type Role } from '../../src/runtime/index.ts'
import { benchConfig } from './acme.ts'
import { argument, serveParent } from './child.ts'

const { databaseUrl, providerUrl, folder, roles, masterKey } = argument<{
  databaseUrl: string
  providerUrl: string
  folder: string
  roles: Role[]
  masterKey: string
}>()
const onFault = (what: string, error: unknown): void => {
  process.stderr.write(`${what}: ${error instanceof Error ? error.message : String(error)}\n`)
}
const installation = await openInstallation({
  config: benchConfig(providerUrl),
  folder,
  databaseUrl,
  environment: { TRESTLE_MASTER_KEY: masterKey },
  clock: systemClock,
  random: systemRandom,
  development: false,
  connections: 8,
  onFault,
})
const platform = await createPlatform(installation, {
  roles,
  port: 0,
  version: 'bench',
  watchdog: false,
  onFault,
})
serveParent(
  { url: platform.url, node: platform.node },
  () => Promise.resolve({ rss: process.memoryUsage().rss, cpu: process.cpuUsage() }),
  async () => {
    await platform.stop()
    await installation.close()
  },
)
