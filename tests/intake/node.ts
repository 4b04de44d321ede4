/** A whole node on a database of its own, and raw sockets to it: a test decides about every byte that is sent. */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stripe } from 'trestle/connectors/stripe'
import { defineConfig, defineFlow, env } from '../../src/index.ts'
import { systemClock, systemRandom, turn } from '../../src/base/index.ts'
import { signatureSchemes, type SignatureScheme } from '../../src/define/index.ts'
import { createPlatform, openInstallation } from '../../src/runtime/index.ts'
import { signPayload } from '../../src/webhooks/index.ts'
import { createTestDatabase, PATIENT_ACK_MS } from '../support/database.ts'

export const SECRET = 'whsec_of_the_intake_test'
export const PATH = '/webhooks/shop'

export interface Node {
  readonly port: number
  /** Rows of a query. */
  query(sql: string): Promise<readonly Record<string, unknown>[]>
  stop(): Promise<void>
}

export async function startNode(): Promise<Node> {
  const database = await createTestDatabase()
  const folder = await mkdtemp(join(tmpdir(), 'trestle-intake-'))
  const seen = defineFlow({
    name: 'seen',
    on: stripe.on('payment_intent.succeeded'),
    run: ({ event }) => Promise.resolve(event.data.id),
  })
  const installation = await openInstallation({
    config: defineConfig({
      connections: {
        shop: stripe.connect({ secrets: { token: 'sk_test_x' }, webhookSecrets: [env('WEBHOOK_SECRET')] }),
        other: stripe.connect({ secrets: { token: 'sk_test_y' }, webhookSecrets: ['whsec_of_another'] }),
      },
      flows: [seen],
    }),
    folder,
    databaseUrl: database.url,
    environment: {
      WEBHOOK_SECRET: SECRET,
      TRESTLE_MASTER_KEY: systemRandom.bytes(32).toString('base64'),
    },
    clock: systemClock,
    random: systemRandom,
    development: false,
    onFault: () => undefined,
  })
  const platform = await createPlatform(installation, {
    roles: ['intake', 'api'],
    port: 0,
    ackTimeoutMs: PATIENT_ACK_MS,
    version: 'test',
    watchdog: false,
    onFault: () => undefined,
  })
  return {
    port: Number(new URL(platform.url!).port),
    query: async (sql) => (await installation.database.pool.query<Record<string, unknown>>(sql)).rows,
    async stop() {
      await platform.stop()
      await installation.close()
      await database.drop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

let made = 0
export function bodyOf(id = `evt_${++made}`): string {
  const data = { object: { id: `pi_${id}`, object: 'payment_intent', amount: 1999, currency: 'usd' } }
  const type = 'payment_intent.succeeded'
  return JSON.stringify({ id, object: 'event', type, created: 1_700_000_000, livemode: false, data })
}

export interface Signing {
  readonly secret?: string
  readonly at?: number
}

/** The value of the `Stripe-Signature` header. */
export function signatureOf(body: string, { secret = SECRET, at = systemClock.now() }: Signing = {}): string {
  const scheme: SignatureScheme = signatureSchemes.stripe
  return signPayload(scheme, { url: `http://x${PATH}`, body, at }, [secret]).headers['stripe-signature']!
}

export interface Written {
  readonly method?: string
  readonly target?: string
  readonly version?: string
  readonly body?: string
  readonly signature?: string | null
  /** Lines as they are, each without its end. */
  readonly more?: readonly string[]
  readonly length?: string | null
  readonly host?: string | null
}

/** A request as text, signed unless it says otherwise. */
export function requestOf(written: Written = {}): string {
  const { method = 'POST', target = PATH, version = '1.1', body = bodyOf(), more = [] } = written
  const { host = 'x', length = String(Buffer.byteLength(body)), signature = signatureOf(body) } = written
  return [
    `${method} ${target} HTTP/${version}`,
    ...(host === null ? [] : [`Host: ${host}`]),
    'Content-Type: application/json',
    ...(signature === null ? [] : [`Stripe-Signature: ${signature}`]),
    ...(length === null ? [] : [`Content-Length: ${length}`]),
    ...more,
    '',
    body,
  ].join('\r\n')
}

export interface Wire {
  readonly socket: Socket
  text(): string
  /** Status codes of the answers so far. */
  statuses(): number[]
  readonly isClosed: () => boolean
}

export async function openWire(port: number): Promise<Wire> {
  const socket = connect({ port, host: '127.0.0.1' })
  let text = ''
  let closed = false
  socket
    .on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
    .on('error', () => undefined)
    .on('close', () => (closed = true))
  await once(socket, 'connect')
  return {
    socket,
    text: () => text,
    statuses: () => [...text.matchAll(/^HTTP\/1\.[01] (\d+)/gm)].map((match) => Number(match[1])),
    isClosed: () => closed,
  }
}

export async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await turn()
}

/** Writes bytes, waits for one answer or the end of the connection, and gives the statuses. */
export async function tell(port: number, bytes: string | Buffer, answers = 1): Promise<number[]> {
  const wire = await openWire(port)
  wire.socket.write(bytes)
  await until(() => wire.isClosed() || wire.statuses().filter((status) => status >= 200).length >= answers)
  wire.socket.destroy()
  return wire.statuses()
}
