import { createHmac } from 'node:crypto'
import { createServer } from 'node:http'
import { mkdtemp, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { z } from 'zod'
import { newId, systemClock, systemRandom } from '../../src/base/index.ts'
import {
  defineConfig,
  defineConnector,
  defineEvent,
  defineFlow,
  defineOperation,
  env,
  hmac,
} from '../../src/define/index.ts'
import { createPlatform, openInstallation, rotateCredential } from '../../src/runtime/index.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

/**
 * Keys and webhook secrets are rotated while four nodes are under load. The provider takes the new key at its own time,
 * and ends the former one while calls are under way; the sender takes the new secret at its own time. Nothing is lost.
 */

const NODES = 4
const ENVIRONMENT = { SHOP_KEY: 'key-1', SHOP_HOOK: 'hook-secret-1' }

let test: TestDatabase
let folder: string
let provider: Provider
let nodes: Node[] = []

beforeAll(async () => {
  test = await createTestDatabase()
  folder = await mkdtemp(join(tmpdir(), 'trestle-rotation-'))
  provider = await openProvider()
})
afterAll(async () => {
  await Promise.all(nodes.map((node) => node.stop()))
  await provider.close()
  await rm(folder, { recursive: true })
  await test.drop()
})

interface Provider {
  readonly url: string
  /** Keys that it takes. */
  accepts: readonly string[]
  /** Orders that were noted, by their number; how often. */
  readonly noted: Map<number, number>
  refused: number
  close(): Promise<void>
}

async function openProvider(): Promise<Provider> {
  const noted = new Map<number, number>()
  // It closes no connection that it thinks idle: after a standstill of the machine a request may be on its way there.
  const server = createServer({ keepAliveTimeout: 0 }, (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const answer = (status: number, body: object): void => {
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
      }
      if (!opened.accepts.includes(String(request.headers['x-api-key']))) {
        opened.refused++
        return answer(401, { error: 'unknown key' })
      }
      if (request.method === 'GET') return answer(200, { id: 'me' })
      const { number } = JSON.parse(Buffer.concat(chunks).toString()) as { number: number }
      noted.set(number, (noted.get(number) ?? 0) + 1)
      answer(200, { id: String(number) })
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const opened: Provider = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    accepts: [ENVIRONMENT.SHOP_KEY],
    noted,
    refused: 0,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return opened
}

const order = z.looseObject({ number: z.number() })

const shop = defineConnector({
  name: 'shop',
  title: 'Shop',
  baseUrl: 'https://shop.example',
  auth: { kind: 'api_key', header: 'X-Api-Key' },
  operations: {
    me: defineOperation({
      summary: 'read the account',
      effect: 'read',
      input: z.object({}),
      output: z.looseObject({ id: z.string() }),
      idempotency: { kind: 'natural' },
      request: () => ({ method: 'GET', path: '/me' }),
    }),
    orders: {
      // Of those that may not be sent twice: a fallback that did so would be seen.
      note: defineOperation({
        summary: 'note an order',
        input: order,
        output: z.looseObject({ id: z.string() }),
        idempotency: { kind: 'none' },
        request: (input) => ({ method: 'POST', path: '/orders', body: { json: input } }),
      }),
    },
  },
  events: { ordered: defineEvent({ schema: order, summary: 'somebody ordered' }) },
  webhooks: {
    signature: hmac({ name: 'shop', header: 'x-shop-signature', source: 'none: a test' }),
    idIsSigned: true,
    events({ body }) {
      const { id } = body as { id: string }
      return [{ id, type: 'ordered', at: '/data' }]
    },
  },
  limits: [],
  check: { operation: 'me', input: {} },
})

const note = defineFlow({
  name: 'note',
  on: shop.on('ordered'),
  run: async ({ event, use }) => void (await use(shop).orders.note(event.data)),
})

interface Node {
  readonly url: string
  readonly installation: Awaited<ReturnType<typeof openInstallation>>
  stop(): Promise<void>
}

async function startNode(): Promise<Node> {
  const installation = await openInstallation({
    config: defineConfig({
      connections: {
        shop: shop.connect({
          baseUrl: provider.url,
          allowPrivateNetwork: true,
          secrets: { apiKey: env('SHOP_KEY') },
          webhookSecrets: [env('SHOP_HOOK')],
        }),
      },
      flows: [note],
    }),
    folder,
    databaseUrl: test.url,
    environment: ENVIRONMENT,
    clock: systemClock,
    random: systemRandom,
    development: true,
    connections: 5,
  })
  const platform = await createPlatform(installation, {
    roles: ['intake', 'worker', 'api'],
    port: 0,
    version: 'test',
    watchdog: false,
    looksAtDisk: false,
  })
  return {
    url: platform.url!,
    installation,
    async stop() {
      await platform.stop()
      await installation.close()
    },
  }
}

/** Sends a signed webhook to one of the nodes, again while it says that it cannot now; gives the answer's status. */
async function deliver(number: number, secret: string): Promise<number> {
  const body = JSON.stringify({ id: newId('evt'), data: { number } })
  let status = 503
  while (status === 503) status = await post(number, secret, body)
  return status
}

async function post(number: number, secret: string, body: string): Promise<number> {
  const answer = await fetch(`${nodes[number % NODES]!.url}/webhooks/shop`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'x-shop-signature': createHmac('sha256', secret).update(body).digest('hex'),
    },
    body,
  }).catch(() => undefined) // Without an answer it is sent again, as senders do.
  await answer?.arrayBuffer()
  return answer?.status ?? 503
}

async function until(isSo: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 20))
}

it('loses no call and no webhook while keys and secrets are rotated under load', async () => {
  nodes.push(await startNode())
  nodes.push(...(await Promise.all(Array.from({ length: NODES - 1 }, startNode))))
  const { installation } = nodes[0]!
  let sender = ENVIRONMENT.SHOP_HOOK
  let sent = 0
  let stop = false
  const isOver = (): boolean => stop
  const statuses: number[] = []
  const lane = async (): Promise<void> => {
    while (!isOver()) statuses.push(await deliver(sent++, sender))
  }
  const lanes = Array.from({ length: 6 }, lane)
  const more = (count: number): Promise<void> => {
    const from = sent
    return until(() => sent >= from + count)
  }
  const rotate = (secrets: Record<string, string>, untested = false) =>
    rotateCredential(installation, 'default', 'shop', { secrets, untested }, 'operator:test')

  await more(60)
  // A key that the provider refuses changes nothing.
  await expect(rotate({ apiKey: 'mistyped' })).rejects.toMatchObject({ code: 'credential_refused' })
  // The new one takes over before the provider knows it; the provider takes it in the middle, and ends the former one.
  const refusedSoFar = provider.refused
  await rotate({ apiKey: 'key-2' }, true)
  await more(60)
  // It is refused while it is in use, so that there is something that this test can fail by.
  await until(() => provider.refused > refusedSoFar)
  provider.accepts = ['key-1', 'key-2']
  await more(60)
  provider.accepts = ['key-2']
  await more(60)
  // The sender takes the new secret the moment that it is there, and not a moment later.
  await rotate({ webhookSecret: 'hook-secret-2' })
  await more(60)
  sender = 'hook-secret-2'
  await more(60)
  // Both are tried the usual way, too.
  provider.accepts = ['key-2', 'key-3']
  expect(await rotate({ apiKey: 'key-3', webhookSecret: 'hook-secret-3' })).toMatchObject({ tested: true })
  sender = 'hook-secret-3'
  await more(60)
  provider.accepts = ['key-3']
  await more(60)
  stop = true
  await Promise.all(lanes)

  expect(statuses.filter((status) => status !== 200)).toEqual([])
  await until(() => provider.noted.size === sent)
  expect([...provider.noted.values()].filter((times) => times !== 1)).toEqual([])
  await until(async () => {
    const left = await installation.database.pool.query(`select 1 from runs where state <> 'succeeded'`)
    return left.rowCount === 0
  })
  expect(await deliver(0, 'hook-secret-0')).toBe(401)

  // A configuration that has the former ones still brings none of them back.
  await nodes.pop()!.stop()
  nodes.push(await startNode())
  const secrets = await nodes
    .at(-1)!
    .installation.vault.webhookSecrets(
      await nodes.at(-1)!.installation.vault.loadConnection('default', 'shop'),
    )
  expect(secrets[0]).toBe('hook-secret-3')
  const refusedBefore = provider.refused
  expect(await deliver(sent, 'hook-secret-3')).toBe(200)
  await until(() => provider.noted.size === sent + 1)
  expect(provider.refused).toBe(refusedBefore)
})
