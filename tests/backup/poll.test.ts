import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client } from 'pg'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { DAY, pause, systemClock, systemRandom } from '../../src/base/index.ts'
import {
  defineConfig,
  defineConnector,
  defineFlow,
  defineOperation,
  definePollSource,
  poll,
  type Config,
} from '../../src/define/index.ts'
import {
  createPlatform,
  openInstallation,
  type Installation,
  type Platform,
} from '../../src/runtime/index.ts'
import {
  createKeyStore,
  createTwin,
  repeatedEffects,
  route,
  type Twin,
  type TwinRequest,
} from '../../src/testing/index.ts'
import { createTestDatabase, whileInUse } from '../support/database.ts'

/** What the lost time received, and a poll reads again: recovered, and nothing of it is done twice. */

const made = z.object({ id: z.string() })
const what = z.object({ ref: z.string() })
const item = z.object({ id: z.string(), changedAt: z.string() })
const page = z.object({ items: z.array(item) })

const list = defineOperation<{ since?: string | undefined }, z.infer<typeof page>>({
  summary: 'list orders',
  input: z.object({ since: z.string().optional() }),
  output: page,
  idempotency: { kind: 'natural' },
  effect: 'read',
  request: ({ since }) => ({ method: 'GET', path: '/orders', query: { since } }),
})
const shop = defineConnector({
  name: 'shop',
  title: 'Shop',
  baseUrl: 'https://shop.test',
  auth: { kind: 'bearer' },
  operations: {
    orders: { list },
    charges: {
      create: defineOperation<z.infer<typeof what>, z.infer<typeof made>>({
        summary: 'create a charge',
        input: what,
        output: made,
        idempotency: {
          kind: 'key',
          place: { header: 'idempotency-key' },
          lifetimeMs: DAY,
          replaysErrors: false,
        },
        request: (input) => ({ method: 'POST', path: '/charges', body: { json: input } }),
      }),
    },
    notes: {
      create: defineOperation<z.infer<typeof what>, z.infer<typeof made>>({
        summary: 'add a note',
        input: what,
        output: made,
        idempotency: {
          kind: 'lookup',
          settleAfterMs: 100,
          request: ({ ref }) => ({ method: 'GET', path: '/notes', query: { ref } }),
          found: (answer) => (answer.json as { found: unknown[] }).found[0],
        },
        request: (input) => ({ method: 'POST', path: '/notes', body: { json: input } }),
      }),
    },
  },
  events: {},
  limits: [],
  check: { operation: 'orders.list', input: {} },
})
const orders = definePollSource({
  summary: 'an order came',
  operation: list,
  input: ({ since }) => ({ since }),
  items: '/items',
  item,
  id: ({ id }) => id,
  changedAt: ({ changedAt }) => changedAt,
  next: () => undefined,
})

interface Orders {
  readonly items: z.infer<typeof item>[]
  readonly notes: Map<string, { id: string }>
}

function startShop(): Twin & { readonly state: Orders } {
  const keys = createKeyStore({
    clock: systemClock,
    lifetimeMs: DAY,
    onMismatch: () => ({ status: 400, json: { error: 'key_reused' } }),
    onInFlight: () => ({ status: 409, json: { error: 'in_flight' } }),
  })
  const act = (request: TwinRequest<Orders>, kind: string): { id: string } => {
    const { ref } = request.json as { ref: string }
    const id = twin.newId('obj_')
    request.effect({ kind, key: ref, ref: id, summary: `${kind} ${ref}` })
    return { id }
  }
  const state: Orders = { items: [], notes: new Map() }
  const twin = createTwin<Orders>({
    name: 'shop',
    state,
    routes: [
      route('GET', '/orders', ({ query }) => ({
        status: 200,
        json: { items: state.items.filter(({ changedAt }) => changedAt >= (query.get('since') ?? '')) },
      })),
      route('POST', '/charges', (request) =>
        keys.once(request, request.headers['idempotency-key'], () => ({
          status: 200,
          json: act(request, 'charge.created'),
        })),
      ),
      route('POST', '/notes', (request) => {
        const note = act(request, 'note.created')
        state.notes.set((request.json as { ref: string }).ref, note)
        return { status: 200, json: note }
      }),
      route('GET', '/notes', ({ query }) => {
        const note = state.notes.get(query.get('ref') ?? '')
        return { status: 200, json: { found: note ? [note] : [] } }
      }),
    ],
  })
  return Object.assign(twin, { state })
}

interface Life {
  readonly installation: Installation
  readonly platform: Platform
  end(): Promise<void>
}

async function drill(
  marked: boolean,
): Promise<{ effects: string[]; twice: number; runs: string[]; inHold: number }> {
  const twin = startShop()
  const url = await twin.start()
  const folder = await mkdtemp(join(tmpdir(), 'trestle-poll-'))
  const database = await createTestDatabase()
  const config = configOf(url)
  const live = (
    databaseUrl: string,
    before?: (installation: Installation) => Promise<unknown>,
  ): Promise<Life> => begin(config, databaseUrl, join(folder, new URL(databaseUrl).pathname), before)
  const put = (id: string): void => {
    twin.state.items.push({ id, changedAt: new Date(systemClock.now()).toISOString() })
  }
  const done = async (...ids: readonly string[]): Promise<void> => {
    const has = (kind: string, id: string): boolean =>
      twin.effects().some((effect) => effect.kind === kind && effect.key === id)
    while (!ids.every((id) => has('charge.created', id) && has('note.created', id)))
      await pause(systemClock, 50, { keepAlive: true })
  }
  const copy = copyOf(database.url)
  try {
    const first = await live(database.url)
    put('a')
    await done('a')
    await first.end()
    // The backup, and the lost hour.
    const copiedAt = systemClock.now()
    await copyDatabase(database.url, copy)
    const second = await live(database.url)
    put('b')
    put('c')
    await done('b', 'c')
    await second.end()

    // The backup is put back.
    const acting = { actor: 'operator:test', tenant: 'default' } as const
    const third = await live(copy, ({ operator }) =>
      operator.hold({ reason: 'A test.', ...(marked && { restored: { from: copiedAt } }) }, acting),
    )
    const requests = twin.requests().length
    put('d')
    await pause(systemClock, 12_000, { keepAlive: true }) // A poll is due after 10 s.
    const inHold = twin.requests().length - requests
    await third.installation.operator.releaseHold(acting)
    await done('d')
    const { pool } = third.installation.database
    let runs: string[] = []
    while (runs.length < 4 || runs.some((run) => !/succeeded|held/.test(run))) {
      await pause(systemClock, 50, { keepAlive: true })
      const { rows } = await pool.query<{ state: string; summary: string }>(
        'select r.state, e.summary from runs r join events e on e.tenant = r.tenant and e.id = r.event_id order by r.id',
      )
      runs = rows.map((row) => `${row.summary} ${row.state}`)
    }
    await third.end()
    return {
      effects: twin.effects().map(({ kind, key }) => `${kind} ${key}`),
      twice: repeatedEffects(twin.effects()).length,
      runs,
      inHold,
    }
  } finally {
    await twin.stop()
    await dropDatabase(database.url, copy)
    await database.drop()
    await rm(folder, { recursive: true, force: true })
  }
}

function configOf(baseUrl: string): Config {
  return defineConfig({
    connections: { shop: shop.connect({ baseUrl, secrets: { token: 't' }, allowPrivateNetwork: true }) },
    flows: [
      defineFlow({
        name: 'orders',
        on: poll(shop, { ...orders, describe: ({ id }) => id }, { every: '10 s', from: 'beginning' }),
        retry: { first: '100 ms', cap: '1 s' },
        async run({ event, use }) {
          const { id: ref } = event.data
          await use(shop).charges.create({ ref })
          await use(shop).notes.create({ ref })
        },
      }),
    ],
  })
}

const MASTER_KEY = systemRandom.bytes(32).toString('base64')

async function begin(
  config: Config,
  databaseUrl: string,
  folder: string,
  before: (installation: Installation) => Promise<unknown> = () => Promise.resolve(),
): Promise<Life> {
  const installation = await openInstallation({
    config,
    folder,
    databaseUrl,
    environment: { TRESTLE_MASTER_KEY: MASTER_KEY },
    clock: systemClock,
    random: systemRandom,
    development: false,
  })
  await before(installation)
  const platform = await createPlatform(installation, { roles: ['worker'], version: 'test', watchdog: false })
  return {
    installation,
    platform,
    async end() {
      await platform.stop()
      await installation.close()
    },
  }
}

async function asAdmin(url: string, statement: string): Promise<void> {
  const admin = new URL(url)
  admin.pathname = '/postgres'
  const client = new Client({ connectionString: admin.href })
  await client.connect()
  try {
    await whileInUse(client, statement)
  } finally {
    await client.end()
  }
}
const nameOf = (url: string): string => new URL(url).pathname.slice(1)
function copyOf(url: string): string {
  const copy = new URL(url)
  copy.pathname = `${copy.pathname}_copy`
  return copy.href
}
const copyDatabase = (url: string, copy: string): Promise<void> =>
  asAdmin(url, `create database ${nameOf(copy)} template ${nameOf(url)}`)
const dropDatabase = (url: string, copy: string): Promise<void> =>
  asAdmin(url, `drop database if exists ${nameOf(copy)} with (force)`)

describe('what a poll reads again after a restore', () => {
  it('is recovered, each with its run, and nothing of it is done twice; in hold nothing is asked', async () => {
    const { effects, twice, runs, inHold } = await drill(true)
    expect(inHold).toBe(0)
    expect(effects.sort()).toEqual(
      ['a', 'b', 'c', 'd'].flatMap((id) => [`charge.created ${id}`, `note.created ${id}`]).sort(),
    )
    expect(twice).toBe(0)
    expect(runs.sort()).toEqual(['a succeeded', 'b succeeded', 'c succeeded', 'd succeeded'])
  })

  it('control: where nobody says that time was lost, notes are made twice; keys alone protect what has keys', async () => {
    const { effects } = await drill(false)
    const times = (effect: string): number => effects.filter((one) => one === effect).length
    expect([times('note.created b'), times('charge.created b')]).toEqual([2, 1])
  })
})
