import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { changes, quickbooks } from '../../connectors/quickbooks/index.ts'
import { createQuickbooksTwin, type QuickbooksTwin } from '../../connectors/quickbooks/twin.ts'
import { pause, systemClock, systemRandom } from '../../src/base/index.ts'
import { cron, defineConfig, defineFlow, env, poll } from '../../src/define/index.ts'
import {
  createPlatform,
  openInstallation,
  type Installation,
  type Platform,
} from '../../src/runtime/index.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { isDelay } from '../support/delays.ts'

/** Invoices of QuickBooks without any webhook: polled over real HTTP, by whole platforms, on one database. */

const flow = defineFlow({
  name: 'invoice-changed',
  on: poll(quickbooks, changes.invoices, { every: '10 s', from: 'beginning' }),
  key: (event) => event.data.Id,
  run: ({ event }) => `${event.data.Id}.${event.data.SyncToken}`,
})
const everyMinute = defineFlow({
  name: 'every-minute',
  on: cron('* * * * *'),
  run: ({ event }) => event.data.scheduledFor,
})

interface Node {
  readonly installation: Installation
  readonly platform: Platform
  stop(): Promise<void>
}

let database: TestDatabase
let twin: QuickbooksTwin
let folder: string
const nodes: Node[] = []
const faults: string[] = []

beforeEach(async () => {
  database = await createTestDatabase()
  twin = createQuickbooksTwin()
  await twin.start()
  folder = await mkdtemp(join(tmpdir(), 'trestle-poll-'))
})
afterEach(async () => {
  for (const node of nodes.splice(0)) await node.stop()
  await twin.stop()
  await database.drop()
  await rm(folder, { recursive: true })
})

async function startNode(): Promise<Node> {
  const onFault = (what: string, error: unknown): void => {
    if (!isDelay(error)) faults.push(`${what}: ${String(error)}`)
  }
  const installation = await openInstallation({
    config: defineConfig({
      connections: {
        books: quickbooks.connect({
          baseUrl: twin.url,
          tokenUrl: twin.tokenUrl(),
          allowPrivateNetwork: true,
          settings: { realmId: twin.realmId },
          secrets: {
            clientId: env('ID'),
            clientSecret: env('SECRET'),
            refreshToken: env('REFRESH'),
          },
        }),
      },
      flows: [flow, everyMinute],
    }),
    folder,
    databaseUrl: database.url,
    environment: {
      TRESTLE_MASTER_KEY: Buffer.alloc(32, 'the key of this test').toString('base64'),
      ID: 'quickbooks-client',
      SECRET: 'quickbooks-client-secret',
      REFRESH: refreshToken,
    },
    clock: systemClock,
    random: systemRandom,
    development: false,
    onFault,
  })
  const platform = await createPlatform(installation, {
    roles: ['worker'],
    version: 'test',
    watchdog: false,
    onFault,
  })
  const node: Node = {
    installation,
    platform,
    async stop() {
      await platform.stop()
      await installation.close()
    },
  }
  nodes.push(node)
  return node
}

let refreshToken = ''

async function results(of: Node, name: string): Promise<string[]> {
  const { rows } = await of.installation.database.pool.query<{ result: Buffer }>(
    `select result from runs where flow = $1 and state = 'succeeded' order by id`,
    [name],
  )
  return rows.map(({ result }) => JSON.parse(result.toString()) as string)
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await pause(systemClock, 50, { keepAlive: true })
}

/** Their next look finds it due: nobody waits for ten seconds. */
const due = (node: Node): Promise<unknown> =>
  node.installation.database.pool.query(`update schedules set due_at = now() where name = 'invoice-changed'`)

it('each invoice and each change starts one run, over two nodes and a provider that is away', async () => {
  refreshToken = twin.connectApp().refreshToken
  const { Id: customer } = await twin.customerCreated({ DisplayName: 'Ada' })
  const invoice = (n: number) =>
    twin.invoiceCreated({
      CustomerRef: { value: customer },
      Line: [{ Amount: n, DetailType: 'SalesItemLineDetail', SalesItemLineDetail: {} }],
    })
  // More than a page of 100, all within a second or two: pages of one instant too.
  const made = []
  for (let n = 1; n <= 230; n++) made.push(await invoice(n))

  const [one, two] = [await startNode(), await startNode()]
  await until(async () => (await results(one, 'invoice-changed')).length >= 230)
  expect((await results(one, 'invoice-changed')).toSorted()).toEqual(
    made.map(({ Id }) => `${Id}.0`).toSorted(),
  )

  // Somebody edits one, voids one, and adds one, while the provider refuses two requests.
  twin.faults.failNext(2, 503)
  await twin.invoiceChanged({ id: made[7]!.Id, fields: { DueDate: '2026-12-24' } })
  await twin.invoiceVoided({ id: made[8]!.Id })
  const { Id: added } = await invoice(500)
  await due(two)
  await until(async () => (await results(two, 'invoice-changed')).length >= 233)
  const all = await results(two, 'invoice-changed')
  expect(all.slice(230).toSorted()).toEqual([`${made[7]!.Id}.1`, `${made[8]!.Id}.1`, `${added}.0`].toSorted())
  expect(new Set(all).size).toBe(233)

  // A schedule on the same platform, its time put back by a minute: it fires once, and executes.
  await one.installation.database.pool.query(
    `update schedules set due_at = date_trunc('minute', now()) where name = 'every-minute'`,
  )
  await until(async () => (await results(one, 'every-minute')).length > 0)
  const { rows } = await one.installation.database.pool.query<{ count: string }>(
    `select count(*) from schedules where error_code is not null`,
  )
  expect(rows[0]!.count).toBe('0')
  expect(faults).toEqual([])
})
