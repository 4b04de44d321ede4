import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  defineConnector,
  defineEvent,
  defineOperation,
  signatureSchemes,
  type Idempotency,
} from '../../src/define/index.ts'
import {
  createKeyStore,
  createLaggingIndex,
  createTwin,
  Refusal,
  route,
  signPayload,
  type FakeClock,
  type Twin,
} from '../../src/testing/index.ts'
import { createCollector } from './harness.ts'
import { describeConnector, type ConformanceOptions } from './suite.ts'

/** A provider and a connector in small, with switches that break one promise each. */
interface Flaws {
  /** The provider does not honour keys. */
  keyIsIgnored?: true
  /** The provider remembers keys, but the connector puts them elsewhere. */
  keyIsMisplaced?: true
  /** What is called natural creates something each time. */
  naturalCreates?: true
  /** The search is further behind than the connector says. */
  searchLagsLonger?: true
  /** The look-up takes any order for the one that is sought. */
  lookupTakesAny?: true
  /** The contract of the order accepts whatever comes. */
  contractIsEmpty?: true
  /** The provider asks for no credential. */
  anybodyMay?: true
  /** The connector takes a 429 for final. */
  limitIsFinal?: true
  /** The request has the time in it. */
  requestChanges?: true
  /** The provider signs with another secret. */
  signedWithAnother?: true
  /** The connector does not find one of its events. */
  eventIsOverlooked?: true
  /** The twin throws. */
  twinFails?: true
}

interface Order {
  readonly id: string
  readonly item: string
  readonly key: string
}
type Shop = Twin<{ orders: Map<string, Order> }>

const SECRET = 'whsec_shop'
const FIVE_SECONDS = 5000
const folder = mkdtempSync(join(tmpdir(), 'conformance-'))

beforeAll(() => {
  mkdirSync(join(folder, 'fixtures/operations'), { recursive: true })
  writeFileSync(
    join(folder, 'README.md'),
    'Operations `orders.create`, `orders.place`, `orders.read`, event `order.made`. Against the live service: never. 2026-11-22',
  )
  writeFileSync(join(folder, 'fixtures/operations/orders.read.json'), '{"id":"ord_1","item":"tea","key":"k"}')
})
afterAll(() => rmSync(folder, { recursive: true }))

function shop(flaws: Flaws): ConformanceOptions<Shop> {
  let changes = 0
  const order = flaws.contractIsEmpty
    ? z.looseObject({ id: z.string().optional() })
    : z.looseObject({ id: z.string(), item: z.string() })
  const request =
    (path: string) =>
    (input: { item: string }, { idempotencyKey }: { idempotencyKey: string }) => ({
      method: 'POST' as const,
      path,
      body: { json: { ...input, mark: idempotencyKey, ...(flaws.requestChanges ? { n: ++changes } : {}) } },
    })
  const lookup: Idempotency<{ item: string }, unknown> = {
    kind: 'lookup',
    settleAfterMs: FIVE_SECONDS,
    request: () => ({ method: 'GET', path: '/search' }),
    found: ({ json }, _input, { idempotencyKey }) =>
      (json as unknown as { orders: Order[] }).orders.find(
        ({ key }) => flaws.lookupTakesAny ?? key === idempotencyKey,
      ),
  }
  const connector = defineConnector({
    name: 'shop',
    title: 'Shop',
    baseUrl: 'https://shop.example.com',
    auth: { kind: 'bearer' },
    operations: {
      orders: {
        create: defineOperation({
          summary: 'create an order',
          input: z.object({ item: z.string() }),
          output: order,
          idempotency: {
            kind: 'key',
            place: { header: flaws.keyIsMisplaced ? 'x-key' : 'idempotency-key' },
            lifetimeMs: FIVE_SECONDS,
            replaysErrors: true,
          },
          request: request('/orders'),
        }),
        place: defineOperation({
          summary: 'place an order',
          input: z.object({ item: z.string() }),
          output: order,
          idempotency: flaws.naturalCreates ? { kind: 'natural' } : lookup,
          request: request('/orders'),
        }),
        read: defineOperation({
          summary: 'read an order',
          input: z.object({ id: z.string() }),
          output: order,
          idempotency: { kind: 'natural' },
          request: ({ id }) => ({ method: 'GET', path: `/orders/${id}` }),
        }),
      },
    },
    events: { 'order.made': defineEvent({ summary: 'order made', schema: order, match: ['data.id'] }) },
    webhooks: {
      signature: signatureSchemes.stripe,
      events: () => (flaws.eventIsOverlooked ? [] : [{ id: 'evt_1', type: 'order.made', at: '' }]),
      idIsSigned: true,
    },
    classify: ({ status }) =>
      status === 429 && flaws.limitIsFinal ? { as: 'failed', code: 'no', reason: 'no' } : undefined,
    limits: [{ name: 'second', allowed: 5, windowMs: 1000, source: 'read 2026-11-22' }],
    check: { operation: 'orders.read', input: { id: 'x' } },
  })
  return {
    connector,
    folder: pathToFileURL(`${folder}/`),
    twin: (clock) => shopTwin(clock, flaws),
    authorize: () => ({ authorization: 'Bearer t' }),
    samples: {
      'orders.create': { input: () => ({ item: 'tea' }) },
      'orders.place': { input: () => ({ item: 'tea' }) },
      'orders.read': {
        input: ({ twin }) => {
          const made = { id: 'ord_0', item: 'tea', key: 'seed' }
          twin.state.orders.set(made.id, made)
          return { id: made.id }
        },
      },
    },
    webhooks: {
      secrets: [SECRET],
      send: (twin, url) =>
        twin.webhooks.send({
          url,
          body: '{"id":"ord_1","item":"tea"}',
          sign: (body, at) =>
            signPayload(signatureSchemes.stripe, { url, body, at }, [
              flaws.signedWithAnother ? 'another' : SECRET,
            ]),
        }),
    },
  }
}

function shopTwin(clock: FakeClock, flaws: Flaws): Shop {
  const keys = createKeyStore({
    clock,
    lifetimeMs: FIVE_SECONDS,
    onMismatch: () => ({ status: 400, json: {} }),
    onInFlight: () => ({ status: 409, json: {} }),
  })
  const index = createLaggingIndex<Order>({ clock, lagMs: flaws.searchLagsLonger ? 60_000 : FIVE_SECONDS })
  const twin: Shop = createTwin({
    name: 'shop',
    state: { orders: new Map<string, Order>() },
    clock,
    authorize: ({ headers }) =>
      flaws.anybodyMay || headers['authorization'] === 'Bearer t' ? undefined : { status: 401, json: {} },
    routes: [
      route(
        'POST',
        '/orders',
        (asked) => {
          if (flaws.twinFails) throw new Error('a mistake')
          const { item, mark } = asked.json as { item: string; mark: string }
          return keys.once(asked, flaws.keyIsIgnored ? undefined : asked.headers['idempotency-key'], () => {
            const order = { id: twin.newId('ord_'), item, key: mark }
            asked.state.orders.set(order.id, order)
            index.put(order.id, order)
            asked.effect({ kind: 'order.created', key: mark, ref: order.id, summary: item })
            return { status: 201, json: order }
          })
        },
        { storesAnswers: true },
      ),
      route('GET', '/orders/:id', ({ params, state }) => {
        const order = state.orders.get(params['id']!)
        if (!order) throw new Refusal({ status: 404, json: {} })
        return { status: 200, json: order }
      }),
      route('GET', '/search', () => ({ status: 200, json: { orders: index.search() } })),
    ],
  })
  return twin
}

/** Names of the checks that fail, without the groups around them. */
async function failing(flaws: Flaws, part = ''): Promise<string[]> {
  const collector = createCollector()
  describeConnector(shop(flaws), collector)
  expect(collector.names().length).toBeGreaterThan(20)
  const failed = await collector.failing(part)
  return failed.map((name) => name.replace('conformance of shop > ', ''))
}

describe('the conformance suite', () => {
  it('passes a connector that keeps its promises', async () => {
    expect(await failing({})).toEqual([])
  })

  const notices: [keyof Flaws, RegExp][] = [
    ['keyIsIgnored', /orders.create > acts once for one key/],
    ['keyIsMisplaced', /orders.create > acts once for one key/],
    ['naturalCreates', /orders.place > changes nothing more when repeated/],
    ['searchLagsLonger', /orders.place > is found by its look-up/],
    ['lookupTakesAny', /orders.place > is not confused by its look-up/],
    ['contractIsEmpty', /fixtures > of operation orders.read pass its contract/],
    ['anybodyMay', /orders.read > is refused without a credential/],
    ['limitIsFinal', /orders.read > is to be tried again/],
    ['requestChanges', /orders.create > builds the same request/],
    ['signedWithAnother', /webhooks > are verified with the secret/],
    ['eventIsOverlooked', /webhooks > of every declared event/],
    ['twinFails', /orders.create > is done by the twin/],
  ]
  it.each(notices)('notices that %s', async (flaw, check) => {
    const failed = await failing({ [flaw]: true })
    expect(failed.join('\n')).toMatch(check)
  })

  it('notices an operation without a sample, and a README that does not know an operation', async () => {
    const options = shop({})
    const { 'orders.read': _, ...samples } = options.samples
    const collector = createCollector()
    describeConnector({ ...options, samples, folder: new URL('elsewhere/', options.folder) }, collector)
    const failed = (await collector.failing('declaration')).join('\n')
    expect(failed).toMatch(/a sample for every operation/)
    expect(failed).toMatch(/has a README/)
  })
})
