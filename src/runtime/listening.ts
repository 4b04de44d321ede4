import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { RetryableError, SECOND, settledWithin } from '../base/index.ts'
import { openDatabase } from '../db/index.ts'
import type { Inbox } from '../inbox/index.ts'
import { boundConnections, CONNECTION_LIMITS, createApi, createProbes } from '../server/index.ts'
import { createRejectionCounter, createWebhookIntake, type RejectionCounter } from '../webhooks/index.ts'
import { testConnection } from './calls.ts'
import { createEndpointTable } from './endpoints.ts'
import type { HoldWatch } from './hold.ts'
import { TENANT, type Installation } from './installation.ts'
import type { PlatformOptions } from './platform.ts'
import { rotateCredential } from './rotation.ts'

const CLOSE_LIMIT_MS = 5 * SECOND
/** What people list must not take the connections that deliveries and runs need. Opened when first used. */
const API_CONNECTIONS = 5
/** As long as the API waits for an answer itself. */
const API_STATEMENT_LIMIT_MS = 10 * SECOND

/** The port of this node: webhooks, the API and the live page, probes. */
export interface Listening {
  readonly url: string
  readonly liveLink: (() => string) | undefined
  close(): Promise<void>
}

/** Listens for what the roles take. */
export async function startServer(
  installation: Installation,
  inbox: Inbox,
  options: PlatformOptions,
  stopping: () => boolean,
  hold: HoldWatch,
): Promise<Listening> {
  const { database, clock, config } = installation
  const onFault = options.onFault ?? (() => {})
  const rejections = createRejectionCounter({
    clock,
    query: (statement, values) => database.pool.query(statement, values),
    onFault: (error) => onFault('count rejections', error),
  })
  let url = ''
  const endpoints = createEndpointTable(installation, TENANT, () => config.publicUrl ?? url)
  const intake = createWebhookIntake({
    clock,
    ...(options.ackTimeoutMs === undefined ? {} : { ackTimeoutMs: options.ackTimeoutMs }),
    endpoints,
    accept: (delivery) => inbox.accept(delivery),
    reject: (rejection) => {
      rejections.count(rejection)
      if (rejection.cause !== undefined) onFault('accept a delivery', rejection.cause)
    },
  })
  const reading = openDatabase({
    url: database.url,
    max: API_CONNECTIONS,
    name: 'trestle api',
    statementTimeoutMs: API_STATEMENT_LIMIT_MS,
  })
  const api = options.roles.includes('api')
    ? createApi({
        ...installation,
        database: reading,
        tenant: TENANT,
        inbox,
        publicUrl: () => config.publicUrl ?? url,
        testConnection: (tenant, name) => testConnection(installation, tenant, name),
        rotateCredential: (tenant, name, wish, actor) =>
          rotateCredential(installation, tenant, name, wish, actor),
        openHold: hold.open,
        stopping,
        onFault,
      })
    : undefined
  const probes = createProbes({ database: reading.pool, clock, stopping, openHold: hold.open })
  const server = createServer(
    { connectionsCheckingInterval: CONNECTION_LIMITS.lookEveryMs },
    (request, response) => {
      // Whoever sends the next request finds another node.
      if (stopping()) response.shouldKeepAlive = false
      if (request.url?.startsWith('/webhooks/') && options.roles.includes('intake'))
        void intake(request, response)
      else if (api) api.handle(request, response)
      else if (probes(request, response)) return
      else answerPlain(response, 404, 'Not found')
    },
  )
  boundConnections(server)
  const close = async (): Promise<void> => {
    await closeServer(server, rejections, installation, api)
    await reading.close()
  }
  try {
    url = await listen(server, options.port ?? 3000, options.host ?? '127.0.0.1')
  } catch (error) {
    await close()
    throw error
  }
  return { url, liveLink: api && (() => `${url}/live/enter?code=${api.liveAccess.issue()}`), close }
}

async function closeServer(
  server: Server,
  rejections: RejectionCounter,
  { clock }: Installation,
  api: { close(): Promise<void> } | undefined,
): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    server.close(() => resolve())
  })
  await api?.close()
  server.closeIdleConnections()
  await settledWithin(clock, CLOSE_LIMIT_MS, closed)
  server.closeAllConnections()
  await closed
  await rejections.stop()
}

function listen(server: Server, port: number, host: string): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        error.code === 'EADDRINUSE'
          ? new RetryableError(
              'port_in_use',
              `Port ${port} is in use. Stop what listens there, or choose another with --port.`,
              { cause: error },
            )
          : error,
      )
    })
    server.listen(port, host, () =>
      resolve(`http://${host.includes(':') ? `[${host}]` : host}:${(server.address() as AddressInfo).port}`),
    )
  })
}

function answerPlain(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain' }).end(text)
}
