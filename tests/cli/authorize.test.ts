/** `trestle connections add` with a person who agrees in a browser: the command, a server, and a real provider. */
import { symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Browser, locationOf } from '../oauth/browser.ts'
import { CLIENT, openConsentServer, type ConsentServer } from '../oauth/consent.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { compilePackage, createCli, type Cli } from './support.ts'

const CONFIG = `import { defineConfig, defineConnector, defineOperation, env } from 'trestle'
import { z } from 'zod'

const portal = defineConnector({
  name: 'portal',
  title: 'The Portal',
  baseUrl: 'https://portal.example',
  auth: {
    kind: 'oauth2',
    tokenUrl: '/token',
    authorizeUrl: '/auth',
    revocationUrl: '/token/revocation',
    authorizeParameters: { prompt: 'consent' },
    scopes: ['openid', 'offline_access'],
    clientAuth: 'basic',
  },
  operations: {
    me: defineOperation({
      summary: 'read the account',
      input: z.object({}),
      output: z.looseObject({ who: z.string() }),
      idempotency: { kind: 'natural' },
      request: () => ({ method: 'GET', path: '/api/me' }),
    }),
  },
  events: {},
  limits: [],
  check: { operation: 'me', input: {} },
})

export default defineConfig({
  publicUrl: process.env.PUBLIC_URL,
  connections: {
    portal: portal.connect({
      baseUrl: process.env.PROVIDER_URL,
      allowPrivateNetwork: true,
      secrets: { clientId: env('PORTAL_ID'), clientSecret: env('PORTAL_SECRET') },
    }),
  },
  flows: [],
})
`

let database: TestDatabase
let provider: ConsentServer
let cli: Cli
let folder: string
let env: Record<string, string>

beforeAll(async () => {
  provider = await openConsentServer()
  provider.api.set('/api/me', { who: 'ada' })
  database = await createTestDatabase()
  cli = createCli(await compilePackage('authorize'), {
    DATABASE_URL: database.url,
    TRESTLE_MASTER_KEY: Buffer.alloc(32, 'a key of the tests').toString('base64'),
    PROVIDER_URL: provider.url,
    PORTAL_ID: CLIENT.id,
    PORTAL_SECRET: CLIENT.secret,
  })
  folder = await cli.createProject()
  writeFileSync(join(folder, 'trestle.config.ts'), CONFIG)
  symlinkSync(
    fileURLToPath(new URL('../../node_modules/zod', import.meta.url)),
    join(folder, 'node_modules', 'zod'),
  )
  const server = cli.start(folder, ['serve', '--port', '0', '--json'])
  const ready = JSON.parse(await server.says(/^\{.*"as":"ready".*\}$/m)) as { url: string }
  env = { PUBLIC_URL: ready.url }
  provider.serve([`${ready.url}/oauth/callback/portal`])
})

afterAll(async () => {
  await cli.end()
  await provider.close()
  await database.drop()
})

it('prints where to agree, waits until somebody has, and the connection works; then takes it back', async () => {
  const adding = cli.start(folder, ['connections', 'add', 'portal', '--no-browser'], { env })
  const address = await adding.says(/http:\S+\/oauth\/start\/\S+/)
  const browser = new Browser()
  const back = await provider.agree(browser, locationOf(await browser.go(address))!)
  expect((await browser.go(back)).text).toContain('is authorized')
  expect([await adding.ended, adding.said]).toEqual([
    0,
    expect.stringContaining('The connection "portal" to The Portal is authorized.'),
  ])
  const tested = await cli.run(folder, ['connections', 'test', 'portal'], { env })
  expect([tested.code, tested.stdout]).toEqual([0, expect.stringContaining('works')])

  const revoked = await cli.run(folder, ['connections', 'revoke', 'portal'], { env })
  expect([revoked.code, revoked.stdout]).toEqual([0, 'Its grant was taken back at the provider.\n'])
  const again = await cli.run(folder, ['connections', 'test', 'portal'], { env })
  expect(again.stdout).toContain('must be authorized again')
})

it('ends at Ctrl-C, and its address is good for nothing then', async () => {
  const adding = cli.start(folder, ['connections', 'add', 'portal', '--no-browser'], { env })
  const address = await adding.says(/http:\S+\/oauth\/start\/\S+/)
  adding.signal('SIGINT')
  expect(await adding.ended).toBe(130)
  expect(await new Browser().go(address)).toMatchObject({ status: 404 })
})

it('says at once that nothing answers where the provider would send the browser', async () => {
  const { code, stderr } = await cli.run(folder, ['connections', 'add', 'portal', '--no-browser'], {
    env: { PUBLIC_URL: 'http://127.0.0.1:9' },
  })
  expect([code, stderr]).toEqual([
    expect.any(Number),
    expect.stringContaining('set publicUrl in trestle.config.ts'),
  ])
  expect(code).not.toBe(0)
})

it('seals the secrets alone where it is told to', async () => {
  const { code, stdout } = await cli.run(folder, ['connections', 'add', 'portal', '--no-authorize'], { env })
  expect([code, stdout]).toEqual([0, expect.stringContaining('is as it was')])
})
