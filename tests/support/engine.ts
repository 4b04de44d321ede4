import { z } from 'zod'
import {
  newId,
  systemClock,
  systemRandom,
  type Clock,
  type EventId,
  type RunId,
} from '../../src/base/index.ts'
import type { CallConnection, CallOutcome, CallRequest, Exchange } from '../../src/calls/index.ts'
import { asUnavailable, openDatabase, type Database } from '../../src/db/index.ts'
import {
  defineConnector,
  defineEvent,
  defineOperation,
  type AnyFlow,
  type Idempotency,
  type RunState,
} from '../../src/define/index.ts'
import { createDispatch } from '../../src/dispatch/index.ts'
import { Engine, type LostTime } from '../../src/flows/index.ts'
import { createFlowTable, createInbox, type Inbox } from '../../src/inbox/index.ts'
import { ensurePartitions, writeEntries } from '../../src/ledger/index.ts'
import { createOperator, type Operator } from '../../src/operator/index.ts'
import type { TestDatabase } from './database.ts'

const value = z.looseObject({})

function operation(idempotency: Idempotency<Record<string, unknown>, Record<string, unknown>>) {
  return defineOperation<Record<string, unknown>, Record<string, unknown>>({
    summary: 'do something',
    input: value,
    output: value,
    idempotency,
    request: () => ({ method: 'POST', path: '/' }),
    describe: (input) => `did ${JSON.stringify(input)}`,
  })
}

/** A provider with one operation of each kind of idempotency. */
export const acme = defineConnector({
  name: 'acme',
  title: 'Acme',
  baseUrl: 'http://127.0.0.1:1',
  auth: { kind: 'none' },
  operations: {
    things: {
      create: operation({
        kind: 'key',
        place: { header: 'idempotency-key' },
        lifetimeMs: 86_400_000,
        replaysErrors: false,
      }),
      upsert: operation({ kind: 'natural' }),
      find: operation({
        kind: 'lookup',
        settleAfterMs: 5,
        request: () => ({ method: 'GET', path: '/' }),
        found: () => undefined,
      }),
      post: operation({ kind: 'none' }),
      remove: operation({ kind: 'natural' }),
    },
  },
  events: {
    'thing.happened': defineEvent({
      schema: z.looseObject({ n: z.number() }),
      summary: 'a thing happened',
      match: ['data.customer'],
    }),
    'thing.answered': defineEvent({ schema: value, summary: 'an answer came', match: ['data.customer'] }),
  },
  limits: [],
  check: { operation: 'things.upsert', input: {} },
})

export const exchange: Exchange = { status: 200, ms: 1 } as Exchange

/** What a call to the test's provider answers. */
export const made = (output: unknown = { ok: true }): CallOutcome => ({
  as: 'succeeded',
  output,
  summary: 'made',
  exchange,
})
export const failedFor = (code: string, retryable: boolean): CallOutcome => ({
  as: 'failed',
  retryable,
  newKey: false,
  code,
  reason: `it failed: ${code}`,
})
export const doubted = (): CallOutcome => ({
  as: 'in_doubt',
  code: 'reset',
  reason: 'the connection was reset',
})

export interface TestEngine {
  readonly database: Database
  readonly engine: Engine
  readonly inbox: Inbox
  readonly operator: Operator
  /** Faults of the engine's own upkeep so far: where there are none, nothing was done again for one. */
  readonly faults: readonly string[]
  /** Delivers an event and gives the ids of its runs. */
  deliver(
    type: string,
    data: Record<string, unknown>,
    id?: string,
  ): Promise<{ event: EventId; runs: RunId[] }>
  /** Resolves when the run is in one of these states. */
  reached(run: RunId, ...states: RunState[]): Promise<RunRow>
  stop(): Promise<void>
}

export interface RunRow {
  readonly id: RunId
  readonly state: RunState
  readonly reason_code: string | null
  readonly reason: string | null
  readonly result: Buffer | null
  readonly waits: string | null
}

export interface TestEngineOptions {
  readonly flows: readonly AnyFlow[]
  readonly call?: (request: CallRequest) => Promise<CallOutcome> | CallOutcome
  readonly runsAtOnce?: number
  /** Does not start executing. */
  readonly idle?: boolean
  /** Default: the machine's. */
  readonly clock?: Clock
  /** Times that the database lost when it was put back from copies. */
  readonly lostTimes?: () => readonly LostTime[]
}

export const TENANT = 'default'
export const CONNECTION = 'con_acme'

/** An inbox, an engine and an operator on a real database; only the provider is a function. */
export async function startTestEngine(
  testDatabase: TestDatabase,
  options: TestEngineOptions,
): Promise<TestEngine> {
  const clock = options.clock ?? systemClock
  const database = openDatabase({ url: testDatabase.url, max: 8 })
  await ensurePartitions(database.pool, clock.now())
  await database.pool.query(
    `insert into connections (tenant, id, name, connector, base_url) values ($1, $2, 'acme', 'acme', '') on conflict do nothing`,
    [TENANT, CONNECTION],
  )
  const dispatch = createDispatch({ database, clock })
  const flows = createFlowTable(options.flows)
  const connection = {
    id: CONNECTION,
    name: 'acme',
    tenant: TENANT,
    connector: acme,
    baseUrl: '',
    settings: {},
    allowPrivate: true,
  } as unknown as CallConnection
  const connectorNamed = (name: string) => (name === 'acme' ? acme : undefined)
  const watchers = new Set<() => void>()
  const faults: string[] = []
  const engine = new Engine({
    database,
    clock,
    random: systemRandom,
    dispatch,
    flows,
    version: 'test',
    roles: ['worker'],
    connectorNamed,
    writeEntries,
    call: async (request) => (options.call ? options.call(request) : made()),
    connectionFor: () => Promise.resolve(connection),
    ...(options.runsAtOnce === undefined ? {} : { runsAtOnce: options.runsAtOnce }),
    ...(options.lostTimes && { lostTimes: options.lostTimes }),
    onFault: (what, error) => void faults.push(`${what}: ${String(error)}`),
    onMoved: () => {
      for (const watcher of watchers) watcher()
    },
  })
  const wake = (client: Parameters<typeof dispatch.wake>[0], runs: Parameters<typeof dispatch.wake>[1]) =>
    dispatch.wake(client, runs)
  const inbox = createInbox({
    database,
    clock,
    flows,
    writeEntries,
    wake,
    onEvents: (events) => engine.arrived(events),
  })
  const operator = createOperator({ database, clock, flows, connectorNamed, writeEntries, wake })
  if (!options.idle) await engine.start()

  const load = async (run: RunId): Promise<RunRow> => {
    const { rows } = await database.pool.query<RunRow>(
      'select id, state, reason_code, reason, result, waits from runs where tenant = $1 and id = $2',
      [TENANT, run],
    )
    return rows[0]!
  }
  return {
    database,
    engine,
    inbox,
    operator,
    faults,
    async deliver(type, data, id = newId('evt')) {
      const body = { id, type, data } as never
      const accepted = await inbox.accept({
        tenant: TENANT,
        endpointId: 'ep_acme',
        connectionId: CONNECTION,
        connectionName: 'acme',
        connector: acme,
        headers: [],
        contentType: 'application/json',
        body: Buffer.from(JSON.stringify(body)),
        receivedAt: clock.now(),
        parsed: body,
        events: [{ id, type, at: '/data' }],
        contentUnique: false,
      })
      const { rows } = await database.pool.query<{ id: RunId; event_id: EventId }>(
        'select r.id, e.id as event_id from events e left join runs r on r.tenant = e.tenant and r.event_id = e.id where e.delivery_id = $1 order by r.id',
        [accepted.deliveryId],
      )
      return { event: rows[0]!.event_id, runs: rows.flatMap((row) => (row.id === null ? [] : [row.id])) }
    },
    async reached(run, ...states) {
      for (;;) {
        // A machine that stood still may have lost the connection: it is asked again.
        const row = await load(run).catch((error: unknown) => {
          if (!asUnavailable(error)) throw error
        })
        if (row && states.includes(row.state)) return row
        await new Promise<void>((resolve) => {
          const cancel = clock.after(50, resolve) // A move by another engine gives no signal here.
          watchers.add(() => {
            cancel()
            resolve()
          })
        })
        watchers.clear()
      }
    },
    async stop() {
      await engine.stop()
      await database.close()
    },
  }
}
