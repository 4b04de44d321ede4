/**
 * Incidents told by real nodes, in processes of their own, to a real mail server and a real receiver of webhooks.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Webhook } from 'standardwebhooks'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { newId, pause, systemClock, systemRandom } from '../../src/base/index.ts'
import { openDatabase, type Database } from '../../src/db/index.ts'
import { signatureSchemes } from '../../src/define/index.ts'
import { openMailServer, type MailServer } from '../../src/incidents/incidents.fixture.ts'
import { signPayload } from '../../src/testing/index.ts'
import { compileEntries } from '../crash/build.ts'
import { startChild, type Child } from '../crash/processes.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import type { NodeOptions, NodeReady } from './node.ts'

const WEBHOOK_SECRET = `whsec_${systemRandom.bytes(32).toString('base64')}`
const ALERTS_SECRET = `whsec_${systemRandom.bytes(32).toString('base64')}`

interface Told {
  readonly id: string
  readonly type: string
  readonly data: { readonly incident: string; readonly kind: string; readonly what: string }
}

let database: TestDatabase
let db: Database
let folder: string
let entry: string
let mail: MailServer
let provider: Server
let receiver: Server
/** What the provider answers, and when it last failed a call. */
let status = 503
const failedAt: number[] = []
/** What came by webhook, each verified by the official package. */
const told: Told[] = []
/** HTTP status that the receiver answers with. */
let receives = 204
const nodes: Child<NodeReady>[] = []

beforeAll(async () => {
  ;[database, folder, entry, mail] = await Promise.all([
    createTestDatabase(),
    mkdtemp(join(tmpdir(), 'trestle-incidents-')),
    compileEntries().then((entries) => join(entries, '..', 'incidents', 'node.js')),
    openMailServer(),
  ])
  db = openDatabase({ url: database.url, max: 2 })
  provider = await serve((_body, _headers, answer) => {
    if (status !== 200) failedAt.push(systemClock.now())
    answer(status, status === 200 ? { id: 'ch_1' } : { error: 'down' })
  })
  receiver = await serve((body, headers, answer) => {
    const { type, data } = new Webhook(ALERTS_SECRET).verify(body, headers) as Told
    told.push({ id: headers['webhook-id']!, type, data })
    answer(receives, {})
  })
})
afterAll(async () => {
  await Promise.all(nodes.map((node) => node.stop()))
  await mail.close()
  for (const server of [provider, receiver]) {
    server.closeAllConnections()
    server.close()
  }
  await db.close()
  await database.drop()
  await rm(folder, { recursive: true })
})

type Answer = (status: number, json: unknown) => void
async function serve(
  handle: (body: string, headers: Record<string, string>, answer: Answer) => void,
): Promise<Server> {
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () =>
      handle(Buffer.concat(parts).toString(), request.headers as Record<string, string>, (code, json) => {
        response.writeHead(code, { 'content-type': 'application/json' })
        response.end(code === 204 ? undefined : JSON.stringify(json))
      }),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return server
}
const urlOf = (server: Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`

async function startNode(): Promise<{ readonly child: Child<NodeReady>; readonly url: string }> {
  const options: NodeOptions = {
    databaseUrl: database.url,
    folder,
    providerUrl: urlOf(provider),
    webhookSecret: WEBHOOK_SECRET,
    alerts: {
      email: {
        to: 'ops@example.com',
        from: 'Trestle <trestle@example.com>',
        smtp: { host: '127.0.0.1', port: mail.port, tls: 'none', allowPrivateNetwork: true },
      },
      webhook: {
        url: `${urlOf(receiver)}/alerts`,
        secret: { env: 'ALERTS_SECRET' },
        allowPrivateNetwork: true,
      },
    },
    environment: { ACME_TOKEN: 'token', ALERTS_SECRET },
  }
  const child = startChild<NodeReady>({ entry, options, logFile: join(folder, `node-${nodes.length}.log`) })
  nodes.push(child)
  const ready = await child.ready
  if (!ready) throw new Error(`The node did not start: ${child.said()}`)
  return { child, url: ready.url }
}

async function deliver(url: string): Promise<void> {
  const id = newId('evt')
  const body = JSON.stringify({ id, type: 'one', data: { ref: id, customer: 'ada' } })
  const target = `${url}/webhooks/acme`
  const { headers } = signPayload(
    signatureSchemes.standardWebhooks,
    { url: target, body, at: systemClock.now(), id },
    [WEBHOOK_SECRET],
  )
  // A node that did not know in time whether it has it says 503: it is sent again, as a provider would.
  const response = await until(async () => {
    const answer = await fetch(target, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body,
    })
    return answer.status !== 503 && answer
  })
  expect(response.status).toBe(200)
}

async function until<Found>(
  look: () => Promise<Found | undefined | false> | Found | undefined | false,
): Promise<Found> {
  for (;;) {
    const found = await look()
    if (found) return found
    await pause(systemClock, 50, { keepAlive: true })
  }
}
const mailAbout = (words: string, again = false) =>
  until(() => mail.mails.find((one) => one.subject === `${again ? 'Re: ' : ''}[Trestle] ${words}`))

it('the third failing call in a row is told by mail and by webhook, once, however many nodes look', async ({
  annotate,
}) => {
  const [first] = await Promise.all([startNode(), startNode()])
  await deliver(first.url)
  const found = await mailAbout('Calls to acme.charges.create fail')
  const tookMs = systemClock.now() - failedAt[2]!
  await annotate(`from the third failing call to the mail: ${tookMs} ms`)
  expect(found.text).toMatch(/^Calls to acme\.charges\.create have failed \d+ times in a row since/)
  expect(found.text).toMatch(/Holds up: 1 run of charged waits for it; they try again by themselves\./)
  expect(found.html).toContain('<td')
  const alert = await until(() => told.find((one) => one.data.kind === 'failing_calls'))
  expect(alert.type).toBe('incident.opened')
  expect(found.headers.get('x-trestle-incident')).toBe(alert.data.incident)

  // One more look of each node at least, and more failing calls: nobody is told again.
  const seen = failedAt.length
  await until(() => failedAt.length > seen)
  await looked(4)
  expect(mail.mails.filter((one) => one.subject?.includes('acme.charges'))).toHaveLength(1)
  expect(told.filter((one) => one.data.kind === 'failing_calls')).toHaveLength(1)
  status = 200
})

it('a node that was killed is told of by another, although the mail server is down and the receiver refuses; and again when over', async () => {
  const { port } = mail
  await mail.close()
  receives = 500
  nodes[0]!.kill()
  const refused = await until(() => told.find((one) => one.data.kind === 'node_gone'))
  const { incident } = refused.data
  await until(async () => (await waiting(incident)).length === 2)
  // Nobody who knew of it is left.
  await nodes[1]!.stop()
  receives = 204
  mail = await reopened(port)
  await startNode()
  const mailed = (subject: RegExp) =>
    until(() =>
      mail.mails.find(
        (one) => one.headers.get('x-trestle-incident') === incident && subject.test(one.subject ?? ''),
      ),
    )
  const opening = await mailed(/^\[Trestle\] A node on .* is gone$/)
  const end = await mailed(/^Re: \[Trestle\] A node on .* is gone$/)
  expect(end.inReplyTo).toBe(opening.messageId)
  const toldOf = (type: string) =>
    told.filter((one) => one.data.incident === incident && one.type === type).map((one) => one.id)
  await until(() => toldOf('incident.resolved').length > 0)
  expect(toldOf('incident.opened')).toContain(refused.id)
  expect(new Set(toldOf('incident.opened')).size).toBe(1)
  await until(async () => (await waiting(incident)).length === 0)
})

/** Resolves when nodes have looked so many times more. */
async function looked(times: number): Promise<void> {
  let last = ''
  for (let seen = 0; seen <= times;) {
    const { rows } = await db.pool.query<{ at: string }>(
      `select turn_at::text as at from ledger_readers where name = 'incidents'`,
    )
    if (rows[0]!.at !== last) seen++
    last = rows[0]!.at
    await pause(systemClock, 20, { keepAlive: true })
  }
}

/** A mail server at the same port again; another process may have it for a while. */
async function reopened(port: number): Promise<MailServer> {
  return until(() =>
    openMailServer({ port }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE') throw error
      return undefined
    }),
  )
}

/** Alerts of an incident that were tried and are tried again. */
async function waiting(incident: string): Promise<readonly { readonly channel: string }[]> {
  const { rows } = await db.pool.query<{ channel: string }>(
    `select channel from alerts where incident_id = $1 and state = 'waiting' and last_error is not null`,
    [incident],
  )
  return rows
}
