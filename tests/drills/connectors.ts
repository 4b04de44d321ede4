import { z } from 'zod'
import { SECOND } from '../../src/base/index.ts'
import {
  defineConnector,
  defineEvent,
  defineFlow,
  defineOperation,
  signatureSchemes,
  type AnyFlow,
} from '../../src/define/index.ts'
import { acme } from '../crash/connector.ts'

const happened = z.object({ ref: z.string(), customer: z.string() })
const made = z.object({ id: z.string() })

/**
 * A shop that signs the body alone, as Shopify does: a delivery's id is in a header, and who replays it may write
 * another one. What makes the event the same is in the body.
 */
const shop = defineConnector({
  name: 'shop',
  title: 'Shop',
  baseUrl: 'https://shop.test',
  auth: { kind: 'bearer' },
  operations: {
    ping: defineOperation<Record<string, never>, z.infer<typeof made>>({
      summary: 'see whether it answers',
      input: z.strictObject({}),
      output: made,
      effect: 'read',
      idempotency: { kind: 'natural' },
      request: () => ({ method: 'GET', path: '/ping' }),
    }),
  },
  events: { sold: defineEvent({ schema: happened, summary: 'something was sold' }) },
  webhooks: {
    signature: signatureSchemes.shopify,
    idIsSigned: false,
    contentUniqueBy: 'data.ref',
    events: ({ headers }) => [{ id: headers[SHOP_ID_HEADER]!, type: 'sold', at: '/data' }],
  },
  limits: [],
  check: { operation: 'ping', input: {} },
})

export const SHOP_ID_HEADER = 'x-shop-webhook-id'

/** What the provider of drill 9 allows, and says so. */
export const WALL_LIMITS = [
  { name: 'second', allowed: 20, windowMs: SECOND, source: 'tests/drills/provider.ts' },
  { name: 'ten-seconds', allowed: 200, windowMs: 10 * SECOND, source: 'tests/drills/provider.ts' },
] as const

/** A provider that says when to come again, in every way there is. */
const wall = defineConnector({
  name: 'wall',
  title: 'Wall',
  baseUrl: 'https://wall.test',
  auth: { kind: 'bearer' },
  operations: {
    charges: {
      create: defineOperation<{ ref: string }, z.infer<typeof made>>({
        summary: 'create a charge',
        input: z.object({ ref: z.string() }),
        output: made,
        idempotency: {
          kind: 'key',
          place: { header: 'idempotency-key' },
          lifetimeMs: 24 * 3600 * SECOND,
          replaysErrors: false,
        },
        request: (input) => ({ method: 'POST', path: '/walled/charges', body: { json: input } }),
        timeoutMs: 5 * SECOND,
      }),
    },
    ping: defineOperation<Record<string, never>, z.infer<typeof made>>({
      summary: 'see whether it answers',
      input: z.strictObject({}),
      output: made,
      effect: 'read',
      idempotency: { kind: 'natural' },
      request: () => ({ method: 'GET', path: '/walled/ping' }),
      timeoutMs: 5 * SECOND,
    }),
  },
  events: { due: defineEvent({ schema: happened, summary: 'a charge is due' }) },
  webhooks: {
    signature: signatureSchemes.standardWebhooks,
    idIsSigned: true,
    events: ({ body }) => [{ id: (body as { id: string }).id, type: 'due', at: '/data' }],
  },
  limits: WALL_LIMITS,
  check: { operation: 'ping', input: {} },
})

/** The connections of the drills' nodes, by name, and what is done with their events. */
export const CONNECTORS = { acme, shop, wall }

export const DRILL_FLOWS: readonly AnyFlow[] = [
  defineFlow({
    name: 'sold',
    on: shop.on('sold'),
    retry: { first: '200 ms', cap: '2 s' },
    run: ({ event, use }) => use(acme).charges.create({ ref: `${event.data.ref}/1` }),
  }),
  defineFlow({
    name: 'due',
    on: wall.on('due'),
    retry: { first: '200 ms', cap: '2 s' },
    run: ({ event, use }) => use(wall).charges.create({ ref: `${event.data.ref}/1` }),
  }),
]
