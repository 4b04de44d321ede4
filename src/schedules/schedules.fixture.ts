import type { Socket } from 'node:net'
import type pg from 'pg'
import { newId, systemRandom, type Clock } from '../base/index.ts'
import type { CallConnection, CallOutcome, CallRequest } from '../calls/index.ts'
import { openDatabase, type Database } from '../db/index.ts'
import type { AnyConnector, AnyFlow } from '../define/index.ts'
import { createDispatch } from '../dispatch/index.ts'
import { createFlowTable, createInbox, type VerifiedDelivery } from '../inbox/index.ts'
import { ensurePartitions, writeEntries } from '../ledger/index.ts'
import { createFakeClock, type FakeClock } from '../testing/index.ts'
import { declaredSchedules, Scheduler, withScheduleEvents } from './index.ts'

export const TENANT = 'default'
export const CONNECTION = 'con_books'

/**
 * Ends a node in the middle of its n-th statement since it was armed: `before` the server hears of it, or `after` the
 * server has done it and the node does not know. From then on the node reaches the database no more.
 */
export class Killer {
  readonly #n: number
  readonly #when: 'before' | 'after'
  #count = 0
  #armed = false
  dead = false

  constructor(n: number, when: 'before' | 'after') {
    this.#n = n
    this.#when = when
  }

  arm(): void {
    this.#armed = true
  }

  watch({ pool }: Database): void {
    pool.on('connect', (client) => this.#watchClient(client))
  }

  #watchClient(client: pg.PoolClient): void {
    const query = client.query.bind(client) as (...args: unknown[]) => unknown
    const { stream } = (client as unknown as { connection: { stream: Socket } }).connection
    const killed = (callback: unknown): Promise<never> | undefined => {
      stream.destroy()
      const error = Object.assign(new Error('killed'), { code: 'ECONNRESET' })
      if (typeof callback !== 'function') return Promise.reject(error)
      ;(callback as (error: Error) => void)(error)
      return undefined
    }
    const watched = (...args: unknown[]): unknown => {
      const callback = args.at(-1)
      if (this.dead) return killed(callback)
      if (!this.#armed || ++this.#count !== this.#n) return query(...args)
      this.dead = true
      if (this.#when === 'before') return killed(callback)
      const plain = typeof callback === 'function' ? args.slice(0, -1) : args
      return (query(...plain) as Promise<unknown>).then(() => killed(callback))
    }
    Object.assign(client, { query: watched })
  }
}

export interface TestNodeOptions {
  readonly url: string
  readonly flows: readonly AnyFlow[]
  /** Of polls. */
  readonly connector?: AnyConnector
  readonly call?: (request: CallRequest) => Promise<CallOutcome> | CallOutcome
  readonly clock?: Clock
  readonly trustsOnlyBoth?: boolean
  readonly killer?: Killer
  /** A protection that is taken away: events are written after the transaction of the cursor, not within it. */
  readonly eventsLater?: boolean
}

/** A node that fires and polls, without executing anything. */
export interface TestNode {
  readonly scheduler: Scheduler
  readonly database: Database
  readonly node: string
  readonly faults: unknown[]
  /** One look, with the polls that it begins. */
  look(): Promise<void>
  stop(): Promise<void>
}

export const NINE = Date.UTC(2026, 10, 22, 9)

export function clockAt(time: number | string = NINE): FakeClock {
  return createFakeClock(typeof time === 'number' ? time : Date.parse(time))
}

export async function startNode(options: TestNodeOptions): Promise<TestNode> {
  const clock = options.clock ?? clockAt()
  const database = openDatabase({ url: options.url, max: 4 })
  options.killer?.watch(database)
  await ensurePartitions(database.pool, clock.now())
  await database.pool.query(
    `insert into connections (tenant, id, name, connector, base_url) values ($1, $2, 'books', $3, '') on conflict do nothing`,
    [TENANT, CONNECTION, options.connector?.name ?? 'books'],
  )
  const node = newId('nod')
  await database.pool.query(
    `insert into nodes (id, roles, version, host, pid) values ($1, 'worker', 'test', 'test', 1)`,
    [node],
  )
  const dispatch = createDispatch({ database, clock })
  const flows = createFlowTable(options.flows)
  const inbox = createInbox({
    database,
    clock,
    flows,
    writeEntries,
    wake: (client, runs) => dispatch.wake(client, runs),
  })
  const connectors = withScheduleEvents(
    new Map(options.connector ? [[options.connector.name, options.connector]] : []),
    options.flows,
  )
  const faults: unknown[] = []
  const later: VerifiedDelivery[] = []
  const scheduler = new Scheduler({
    database,
    // Looks come from the test alone: none is under way where the test moves the time.
    clock: { ...clock, after: () => () => {} },
    random: systemRandom,
    tenant: TENANT,
    declared: declaredSchedules(options.flows),
    node: () => node,
    connectorNamed: (name) => connectors.get(name),
    connectionFor: (tenant, connector) =>
      Promise.resolve({
        id: CONNECTION,
        name: 'books',
        tenant,
        connector,
        baseUrl: '',
        settings: {},
        allowPrivate: true,
      } satisfies CallConnection),
    call: async (request) => options.call!(request),
    acceptWithin: async (client, delivery) => {
      if (options.eventsLater !== true) return inbox.acceptWithin(client, delivery)
      later.push(delivery)
      return { state: 'accepted', deliveryId: 'dlv_later' }
    },
    writeEntries,
    trustsOnlyBoth: options.trustsOnlyBoth ?? false,
    onFault: (_what, error) => faults.push(error),
  })
  await scheduler.start()
  return {
    scheduler,
    database,
    node,
    faults,
    async look() {
      await scheduler.lookOnce()
      await scheduler.pollsDone()
      for (const delivery of later.splice(0))
        await inbox.accept(delivery).catch((error) => faults.push(error))
    },
    async stop() {
      await scheduler.stop()
      await database.close()
    },
  }
}

/** What the other nodes do about a node that they take for dead. */
export async function declareDead(database: Database, node: string): Promise<void> {
  await database.pool.query('update nodes set stopped_at = now() where id = $1', [node])
}

export interface Run {
  readonly flow: string
  readonly data: unknown
}

/** What was fired, oldest first: the data of the events that have runs. */
export async function runsOf(database: Database): Promise<Run[]> {
  const { rows } = await database.pool.query<{ flow: string; body: Buffer; data_at: string }>(
    `select r.flow, d.body, e.data_at from runs r join events e on e.tenant = r.tenant and e.id = r.event_id
     join deliveries d on d.tenant = e.tenant and d.id = e.delivery_id order by e.occurred_at, e.id`,
  )
  return rows.map((row) => {
    let data: unknown = JSON.parse(row.body.toString('utf8'))
    for (const part of row.data_at.split('/').slice(1)) data = (data as Record<string, unknown>)[part]
    return { flow: row.flow, data }
  })
}

export async function ledgerOf(database: Database, prefix = 'schedule.'): Promise<string[]> {
  const { rows } = await database.pool.query<{ action: string; outcome: string }>(
    `select action, outcome from ledger where action like $1 order by id`,
    [`${prefix}%`],
  )
  return rows.map((row) => `${row.action} ${row.outcome}`)
}

export async function rowOf(database: Database, name: string): Promise<Record<string, unknown>> {
  const { rows } = await database.pool.query<Record<string, unknown>>(
    'select * from schedules where name = $1',
    [name],
  )
  return rows[0]!
}
