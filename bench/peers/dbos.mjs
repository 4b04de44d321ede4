/**
 * The flow of the benchmarks on DBOS Transact: webhook → signature → durable workflow of two calls, each a step.
 * Answers once the workflow is durable, as the platform does. Started by bench/peers.ts.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:http'
import { DBOS } from '@dbos-inc/dbos-sdk'
import { Pool } from 'undici'

const { databaseUrl, providerUrl, secret } = JSON.parse(process.argv[2])
const provider = new Pool(providerUrl, { connections: 64, pipelining: 1 })
let open = 0

async function call(path, key, body) {
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
  return answer.body.json()
}

const paid = DBOS.registerWorkflow(
  async (id, data) => {
    const contact = await DBOS.runStep(() => call('/v1/contacts', `${id}:1`, { email: data.customer }), {
      name: 'contact',
    })
    await DBOS.runStep(
      () =>
        call('/v1/invoices', `${id}:2`, { contact: contact.id, amount: data.amount, sentAt: data.sentAt }),
      { name: 'invoice' },
    )
  },
  { name: 'paid' },
)

DBOS.setConfig({
  name: 'bench',
  systemDatabaseUrl: databaseUrl,
  systemDatabasePoolSize: 20,
  logLevel: 'error',
})
await DBOS.launch()

const server = createServer((request, response) => {
  const chunks = []
  request.on('data', (chunk) => chunks.push(chunk))
  request.on('end', async () => {
    const body = Buffer.concat(chunks)
    const expected = createHmac('sha256', secret).update(body).digest()
    if (!timingSafeEqual(expected, Buffer.from(request.headers['x-acme-signature'], 'hex')))
      return response.writeHead(401).end()
    const { id, data } = JSON.parse(body)
    try {
      open++
      const handle = await DBOS.startWorkflow(paid, { workflowID: id })(id, data)
      handle.getResult().finally(() => open--)
      response.writeHead(200, { 'content-length': 0 }).end()
    } catch {
      open--
      response.writeHead(503, { 'content-length': 0 }).end()
    }
  })
})
server.listen(0, '127.0.0.1', () => process.send({ url: `http://127.0.0.1:${server.address().port}` }))
process.on('message', () => process.send({ open }))
process.on('disconnect', () => process.exit(0))
process.on('SIGTERM', () => process.exit(0))
