/** A node of the platform under load: everything on, a real PostgreSQL with fsync. */
import { systemClock, systemRandom } from '../../src/base/index.ts'
import { createPlatform, openInstallation, type Role } from '../../src/runtime/index.ts'
import { benchConfig } from './acme.ts'
import { argument, serveParent } from './child.ts'
import { timeStatements } from './statements.ts'

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
const claims = timeStatements(installation.database.pool, 'claim_runs')
const platform = await createPlatform(installation, {
  roles,
  port: 0,
  version: 'bench',
  watchdog: false,
  onFault,
})
serveParent(
  { url: platform.url, node: platform.node },
  () => Promise.resolve({ rss: process.memoryUsage().rss, cpu: process.cpuUsage(), claims: claims.taken() }),
  async () => {
    await platform.stop()
    await installation.close()
  },
)
