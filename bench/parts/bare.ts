/**
 * What the platform is compared with, on the same machine in the same run, both keeping nothing:
 * `/webhooks/acme` is the platform's own intake whose accept does nothing; `/bare` checks the signature, makes the
 * two calls by undici, and answers.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Pool } from 'undici'
import { newId, systemClock } from '../../src/base/index.ts'
import { createWebhookIntake } from '../../src/webhooks/index.ts'
import { acme, ENDPOINT, SECRET } from './acme.ts'
import { argument, serveParent } from './child.ts'

const { providerUrl } = argument<{ providerUrl: string }>()
const provider = new Pool(providerUrl, { connections: 64, pipelining: 1 })

const intake = createWebhookIntake({
  clock: systemClock,
  endpoints: (path) =>
    path === ENDPOINT
      ? {
          tenant: 'default',
          id: 'ep_bench',
          path,
          publicUrl: path,
          connectionId: 'con_bench',
          connectionName: 'acme',
          connector: acme,
          settings: {},
          secrets: () => Promise.resolve([SECRET]),
        }
      : undefined,
  accept: () => Promise.resolve({ state: 'accepted', deliveryId: newId('dlv') }),
  reject: () => {},
})

function handle(request: IncomingMessage, response: ServerResponse): void {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => void act(Buffer.concat(chunks), request, response))
}

async function act(body: Buffer, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const expected = createHmac('sha256', SECRET).update(body).digest()
  if (!timingSafeEqual(expected, Buffer.from(String(request.headers['x-acme-signature']), 'hex'))) {
    response.writeHead(401).end()
    return
  }
  const { id, data } = JSON.parse(body.toString()) as {
    id: string
    data: { customer: string; amount: number; sentAt: number }
  }
  const contact = await call('/v1/contacts', `${id}:1`, { email: data.customer })
  await call('/v1/invoices', `${id}:2`, { contact: contact.id, amount: data.amount, sentAt: data.sentAt })
  response.writeHead(200, { 'content-length': 0 }).end()
}

async function call(path: string, key: string, body: unknown): Promise<{ id: string }> {
  const answer = await provider.request({
    path,
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: 'Bearer bench-token',
      'idempotency-key': key,
    },
    body: JSON.stringify(body),
  })
  return (await answer.body.json()) as { id: string }
}

const server = createServer((request, response) => {
  if (request.url === '/bare') handle(request, response)
  else void intake(request, response)
})
server.keepAliveTimeout = 60_000
server.listen(0, '127.0.0.1', () =>
  serveParent(
    { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` },
    () => Promise.resolve({}),
    () => Promise.resolve(),
  ),
)
