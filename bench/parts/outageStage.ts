import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { z } from 'zod'
import { newId, systemRandom, type Clock } from '../../src/base/index.ts'
import type { BudgetAuthority } from '../../src/calls/budgets/authority.ts'
import { Budgets } from '../../src/calls/budgets/index.ts'
import { createCalls, OutageBoard, OutageKeeper, type CallConnection } from '../../src/calls/index.ts'
import { openDatabase, type Database } from '../../src/db/index.ts'
import {
  defineConnector,
  defineEvent,
  defineFlow,
  defineOperation,
  type AnyConnector,
  type AnyFlow,
  type LimitDefinition,
} from '../../src/define/index.ts'
import { createDispatch } from '../../src/dispatch/index.ts'
import { createEgress } from '../../src/egress/index.ts'
import { Engine } from '../../src/flows/index.ts'
import { createFlowTable, createInbox } from '../../src/inbox/index.ts'
import { ensurePartitions, writeEntries } from '../../src/ledger/index.ts'
import { createOperator, type Operator } from '../../src/operator/index.ts'
import {
  BREAKER_POLICY,
  exchange,
  NEW_BUDGET,
  type BreakerPolicy,
  type BudgetState,
} from '../../src/resilience/index.ts'
import type { FakeClock } from '../../src/testing/index.ts'

/**
 * Nodes, a provider that can be away, and runs that need it: a real database, real HTTP, and a clock that is given.
 * What the tests of outages and the benchmark `drain` play on.
 */
export interface OutageStage {
  readonly provider: OutageProvider
  readonly database: Database
  readonly nodes: OutageNode[]
  readonly operator: Operator
  readonly faults: string[]
  startNode(over?: NodeOver): Promise<OutageNode>
  /** Events of the flow, several at once: customer and number, which the provider is to see in order. */
  sow(flow: string, sales: readonly Sale[]): Promise<void>
  /** Resolves when nothing is on its way any more that does not wait for the clock. */
  quiet(): Promise<void>
  /** Moves the fake clock, and lets everything happen that comes of it. */
  step(clock: FakeClock, ms: number): Promise<void>
  counts(): Promise<Readonly<Record<string, number>>>
  stop(): Promise<void>
}

export interface Sale {
  readonly customer: string
  readonly n: number
}

export interface OutageNode {
  readonly board: OutageBoard
  readonly engine: Engine
  stop(): Promise<void>
}

export interface NodeOver {
  /** `false`: a build in which nodes do not share their breakers. */
  readonly shares?: boolean
  /** `false`: it takes no runs. */
  readonly executes?: boolean
  readonly probes?: boolean
}

/** What the provider saw. */
export interface SeenRequest {
  readonly path: string
  /** When it left. A fake clock may move on while a request is on its way in real time: that is no slow network. */
  readonly at: number
  readonly status: number
  /** Its key was known: it answered as before, and did nothing. */
  readonly repeated: boolean
  readonly customer?: string
  readonly n?: number
}

export interface OutageProvider {
  readonly seen: SeenRequest[]
  /** Whether it answers a request to this path with 503; also how long it takes, in real milliseconds. */
  down: (path: string) => boolean
  delayMs: number
  inFlight: number
  /** Whether it answers 401 to a request to this path. */
  refuses: (path: string) => boolean
}

export const TENANT = 'default'
export const CONNECTION = 'con_books'
const LEFT_AT = 'x-left-at'
/** As nodes have it: a call waits for its turn so long before its run is put aside. */
const PATIENCE_MS = 1000

export interface OutageStageOptions {
  readonly databaseUrl: string
  readonly clock: Clock
  readonly limits?: readonly LimitDefinition[]
  readonly policy?: Partial<BreakerPolicy>
  /** Runs of a customer go one after another. Default true. */
  readonly lanes?: boolean
  readonly runsAtOnce?: number
  /** Throws where the connection has no credential now. Default: it needs none. */
  readonly authorize?: () => void
}

export async function setOutageStage(options: OutageStageOptions): Promise<OutageStage> {
  const { clock, databaseUrl } = options
  const { provider, url: providerUrl, close } = await openProvider()
  const connector = books(options.limits ?? [])
  const flows = createFlowTable(flowsOf(connector, options.lanes ?? true))
  const connection: CallConnection = {
    id: CONNECTION,
    name: 'books',
    tenant: TENANT,
    connector,
    baseUrl: providerUrl,
    settings: {},
    allowPrivate: true,
  }
  const faults: string[] = []
  const pools: Database[] = []
  const url = unhurried(databaseUrl)
  const open = (name: string): Database => {
    const database = openDatabase({ url, max: 6, name })
    pools.push(database)
    return database
  }
  const database = open('trestle outage stage')
  await ensurePartitions(database.pool, clock.now())
  await database.pool.query(
    `insert into connections (tenant, id, name, connector, base_url) values ($1, $2, 'books', 'books', $3) on conflict do nothing`,
    [TENANT, CONNECTION, providerUrl],
  )
  // All nodes spend of one budget, as they do by the database; here without its delay, which a fake clock cannot know.
  const authorityFor = sharedAuthority(clock)
  const nodes: OutageNode[] = []
  let started = 0
  const connectorNamed = (name: string): AnyConnector | undefined =>
    name === 'books' ? connector : undefined

  const startNode = async (over: NodeOver = {}): Promise<OutageNode> => {
    // Taken before anything is waited for: nodes that start at once must not go by one name.
    const name = `node ${started++}`
    const own = open(`trestle outage ${name}`)
    const onFault = (what: string, error: unknown): void => void faults.push(`${what}: ${String(error)}`)
    const policy = { ...BREAKER_POLICY, ...options.policy }
    const shared = { database: own, clock, policy, writeEntries, onFault }
    const board = over.shares === false ? new DeafBoard(shared) : new OutageBoard(shared)
    await board.start()
    const egress = createEgress({ clock })
    const budgets = new Budgets({
      clock,
      authority: authorityFor(name),
      maxConnections: 10,
      patienceMs: PATIENCE_MS,
    })
    budgets.start()
    const calls = createCalls({
      clock,
      board,
      budgets,
      breakerPolicy: policy,
      send(request) {
        const headers = Object.entries(request.headers) as [string, string][]
        return egress.send({ ...request, headers: [...headers, [LEFT_AT, String(clock.now())]] })
      },
      mail: (request) => egress.mail(request),
      async authorize(_, request) {
        options.authorize?.()
        return { ...request, secretHeaders: [], credentialVersion: '1' }
      },
      refreshAfterUnauthorized: () =>
        Promise.resolve({ as: 'refused', code: 'credential_refused', reason: 'The key is refused.' }),
      secretValuesOf: () => Promise.resolve([]),
    })
    const keeper = new OutageKeeper({
      ...shared,
      board,
      connectionById: () => Promise.resolve(connection),
      probe: (one) => calls.probe(one),
    })
    const dispatch = createDispatch({ database: own, clock, onFault: (error) => onFault('dispatch', error) })
    const engine = new Engine({
      database: own,
      clock,
      random: systemRandom,
      dispatch,
      flows,
      version: 'test',
      roles: ['worker'],
      connectorNamed,
      writeEntries,
      leaseMs: Number.POSITIVE_INFINITY,
      breakers: () => board.all(),
      call: (request) => calls.call(request),
      connectionFor: () => Promise.resolve(connection),
      ...(options.runsAtOnce === undefined ? {} : { runsAtOnce: options.runsAtOnce }),
      onFault,
    })
    if (over.executes !== false) await engine.start()
    if (over.probes !== false) keeper.start()
    const node: OutageNode = {
      board,
      engine,
      async stop() {
        await engine.stop()
        await budgets.stop()
        await keeper.stop()
        await board.stop()
        await egress.destroy()
      },
    }
    nodes.push(node)
    return node
  }

  const dispatch = createDispatch({ database, clock })
  const inbox = createInbox({
    database,
    clock,
    flows,
    writeEntries,
    wake: (client, runs) => dispatch.wake(client, runs),
    onEvents: () => {},
  })
  const operator = createOperator({
    database,
    clock,
    flows,
    connectorNamed,
    writeEntries,
    wake: (client, runs) => dispatch.wake(client, runs),
  })
  const quiet = async (): Promise<void> => {
    for (let still = 0; still < 4; still++) {
      await new Promise((resolve) => setTimeout(resolve, 1))
      if (pools.some(({ pool }) => pool.totalCount > pool.idleCount || pool.waitingCount > 0)) still = 0
      if (provider.inFlight > 0) still = 0
    }
  }
  return {
    provider,
    database,
    nodes,
    operator,
    faults,
    startNode,
    quiet,
    async sow(type, sales) {
      await Promise.all(
        sales.map(({ customer, n }) => {
          const id = newId('evt')
          const body = { id, type, data: { customer, n } } as never
          return inbox.accept({
            tenant: TENANT,
            endpointId: 'ep_books',
            connectionId: CONNECTION,
            connectionName: 'books',
            connector,
            headers: [],
            contentType: 'application/json',
            body: Buffer.from(JSON.stringify(body)),
            receivedAt: clock.now(),
            parsed: body,
            events: [{ id, type, at: '/data' }],
            contentUnique: false,
          })
        }),
      )
    },
    async step(fake, ms) {
      await fake.advance(ms)
      await quiet()
    },
    async counts() {
      const { rows } = await database.pool.query<{ state: string; count: string }>(
        'select state, count(*) from runs group by state',
      )
      return Object.fromEntries(rows.map((row) => [row.state, Number(row.count)]))
    },
    async stop() {
      // What the clock would end, ends by itself: a fake clock stands still.
      const moving = setInterval(() => void (clock as Partial<FakeClock>).advance?.(1000), 5)
      for (const node of nodes) await node.stop()
      clearInterval(moving)
      for (const one of pools) await one.close()
      await close()
    },
  }
}

/**
 * On a fake clock a node beats thousands of times in a minute. Where the machine stands still for some seconds, one of
 * these statements runs into the time that it has in earnest, and that is no fault of the node.
 */
function unhurried(databaseUrl: string): string {
  const url = new URL(databaseUrl)
  for (const limit of ['statement_timeout', 'query_timeout']) url.searchParams.set(limit, '60000')
  return url.href
}

/** One budget for all nodes, each known by its name; granted at once, without a database. */
function sharedAuthority(clock: Clock): (node: string) => BudgetAuthority {
  const states = new Map<string, BudgetState>()
  return (node) => ({
    exchange: (asks) =>
      asks.map(({ connectionId, limit, ask }) => {
        const key = `${connectionId} ${limit.name}`
        const now = clock.now()
        const { state, grant } = exchange(states.get(key) ?? NEW_BUDGET, limit, { ...ask, node }, now)
        states.set(key, state)
        return { now, grant }
      }),
  })
}

/** A node that hears of nobody's breakers: the build that the tests must catch. */
class DeafBoard extends OutageBoard {
  override start(): Promise<void> {
    return Promise.resolve()
  }
  override refresh(): Promise<void> {
    return Promise.resolve()
  }
}

const sale = z.looseObject({ customer: z.string(), n: z.number() })
const made = z.looseObject({ id: z.string() })

function books(limits: readonly LimitDefinition[]) {
  const post = (path: string) =>
    defineOperation({
      summary: `post to ${path}`,
      input: sale,
      output: made,
      idempotency: {
        kind: 'key',
        place: { header: 'idempotency-key' },
        lifetimeMs: 30 * 86_400_000,
        replaysErrors: false,
      },
      request: (input) => ({ method: 'POST', path, body: { json: input } }),
    })
  return defineConnector({
    name: 'books',
    title: 'Books',
    baseUrl: 'http://127.0.0.1:1',
    auth: { kind: 'none' },
    operations: {
      invoices: { create: post('/invoices') },
      refunds: { create: post('/refunds') },
      notes: { create: post('/notes') },
      status: defineOperation({
        summary: 'see whether it is there',
        effect: 'read',
        input: z.object({}),
        output: z.looseObject({}),
        idempotency: { kind: 'natural' },
        request: () => ({ method: 'GET', path: '/status' }),
      }),
    },
    events: {
      sold: defineEvent({ schema: sale, summary: 'something was sold' }),
      returned: defineEvent({ schema: sale, summary: 'something came back' }),
      noted: defineEvent({ schema: sale, summary: 'something was noted' }),
    },
    limits,
    check: { operation: 'status', input: {} },
  })
}

function flowsOf(connector: ReturnType<typeof books>, lanes: boolean): readonly AnyFlow[] {
  const key = (event: { data: Sale }): string | undefined => (lanes ? event.data.customer : undefined)
  return [
    defineFlow({
      name: 'bill',
      on: connector.on('sold'),
      key,
      waitsAs: 'invoice',
      run: async ({ event, use }) => void (await use(connector).invoices.create(event.data)),
    }),
    defineFlow({
      name: 'refund',
      on: connector.on('returned'),
      key,
      waitsAs: { one: 'refund', many: 'refunds' },
      run: async ({ event, use }) => void (await use(connector).refunds.create(event.data)),
    }),
    defineFlow({
      name: 'note',
      on: connector.on('noted'),
      key,
      run: async ({ event, use }) => void (await use(connector).notes.create(event.data)),
    }),
  ]
}

async function openProvider(): Promise<{
  provider: OutageProvider
  url: string
  close: () => Promise<void>
}> {
  const provider: OutageProvider = {
    seen: [],
    down: () => false,
    refuses: () => false,
    delayMs: 0,
    inFlight: 0,
  }
  const keys = new Set<unknown>()
  const answer = (request: IncomingMessage, response: ServerResponse, body: string): void => {
    const path = request.url ?? ''
    const status = provider.down(path) ? 503 : provider.refuses(path) ? 401 : 200
    const sold = body === '' ? {} : (JSON.parse(body) as Sale)
    const key = request.headers['idempotency-key']
    const repeated = key !== undefined && keys.has(key)
    if (status === 200 && key !== undefined) keys.add(key)
    provider.seen.push({ path, at: Number(request.headers[LEFT_AT]), status, repeated, ...sold })
    provider.inFlight--
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(status === 200 ? `{"id":"i${provider.seen.length}"}` : '{"error":"away for maintenance"}')
  }
  const server = createServer((request, response) => {
    provider.inFlight++
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString()
      if (provider.delayMs === 0) answer(request, response, body)
      else setTimeout(() => answer(request, response, body), provider.delayMs)
    })
  })
  server.keepAliveTimeout = 60_000
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    provider,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Lost, done twice, out of order within a customer: of what was to be done, by what the provider saw. */
export function verdictOf(
  sold: readonly Sale[],
  seen: readonly SeenRequest[],
): { readonly lost: number; readonly twice: number; readonly disordered: number } {
  const done = new Map<string, number>()
  const last = new Map<string, number>()
  let disordered = 0
  for (const { status, repeated, customer, n } of seen) {
    if (repeated || status !== 200 || customer === undefined || n === undefined) continue
    done.set(`${customer} ${n}`, (done.get(`${customer} ${n}`) ?? 0) + 1)
    if (n < (last.get(customer) ?? -1)) disordered++
    last.set(customer, n)
  }
  return {
    lost: sold.filter(({ customer, n }) => !done.has(`${customer} ${n}`)).length,
    twice: [...done.values()].filter((times) => times > 1).length,
    disordered,
  }
}
