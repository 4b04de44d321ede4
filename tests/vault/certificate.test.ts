/** A server in a private network whose certificate ends in 5 days: forecast by the command line, told by an incident. */
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { DAY, systemClock, systemRandom } from '../../src/base/index.ts'
import { compilePackage, createCli, type Cli } from '../cli/support.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { selfSigned } from '../support/certificate.ts'

const now = Math.floor(systemClock.now() / 1000) * 1000
const endsAt = new Date(now + 5 * DAY)
const certificate = selfSigned({ name: 'erp.internal', from: new Date(now - 85 * DAY), endsAt })

let database: TestDatabase
let server: Server
let cli: Cli
let folder: string
beforeAll(async () => {
  database = await createTestDatabase()
  server = createServer(certificate, (_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  cli = createCli(await compilePackage('certificate'), {
    DATABASE_URL: database.url,
    TRESTLE_MASTER_KEY: systemRandom.bytes(32).toString('base64'),
  })
  folder = await cli.createProject()
  const config = join(folder, 'trestle.config.ts')
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
  writeFileSync(config, readFileSync(config, 'utf8').replace('http://127.0.0.1:4000', url))
  writeFileSync(join(folder, 'ca.pem'), certificate.cert)
})
afterAll(async () => {
  await cli.end()
  server.closeAllConnections()
  await new Promise((closed) => server.close(closed))
  await database.drop()
})

interface Listed {
  readonly items: readonly { readonly endings: readonly Record<string, unknown>[] }[]
}
interface Incidents {
  readonly items: readonly { readonly kind: string; readonly title: string }[]
}

it('is seen with a call, forecast, and told', async () => {
  const trusting = { env: { NODE_EXTRA_CA_CERTS: join(folder, 'ca.pem') } }
  const node = cli.start(folder, ['serve', '--port', '0', '--json'], trusting)
  await node.says(/"as":"ready"/)
  await cli.run(folder, ['connections', 'test', 'app'], trusting)
  const { items } = await cli.json<Listed>(folder, ['connections', 'check'])
  expect(items[0]!.endings).toContainEqual({
    what: 'certificate',
    field: null,
    endsAt: endsAt.toISOString(),
    by: 'person',
    todo: 'Renew it on that server before.',
  })
  const { stdout } = await cli.run(folder, ['connections', 'check'])
  expect(stdout).toMatch(/app +certificate +.* you +Renew it on that server before\./)
  for (;;) {
    const open = await cli.json<Incidents>(folder, ['incidents'])
    if (open.items.some(({ kind }) => kind === 'certificate_expiry')) break
  }
  node.signal('SIGTERM')
  expect(await node.ended).toBe(0)
})
