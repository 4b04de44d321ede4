import { z } from 'zod'
import { defineConnector, defineEvent, defineFlow, defineOperation, hmac, type Config } from 'trestle'

/**
 * The provider of the benchmarks: signed webhooks of about 1 KB, and two operations with idempotency keys. The flow
 * makes two calls, one after another, as the handler that it is compared with does.
 */
const answer = z.looseObject({ id: z.string(), ok: z.boolean() })
const key = {
  kind: 'key',
  place: { header: 'idempotency-key' },
  lifetimeMs: 86_400_000,
  replaysErrors: false,
} as const

export const acme = defineConnector({
  name: 'acme',
  title: 'Acme',
  baseUrl: 'http://127.0.0.1:1',
  auth: { kind: 'bearer' },
  operations: {
    contacts: {
      upsert: defineOperation({
        summary: 'create or update a contact',
        input: z.object({ email: z.string() }),
        output: answer,
        idempotency: key,
        request: (input) => ({ method: 'POST', path: '/v1/contacts', body: { json: input } }),
      }),
    },
    invoices: {
      create: defineOperation({
        summary: 'create an invoice',
        input: z.object({ contact: z.string(), amount: z.number(), sentAt: z.number() }),
        output: answer,
        idempotency: key,
        request: (input) => ({ method: 'POST', path: '/v1/invoices', body: { json: input } }),
      }),
    },
    /** Always refused for now. */
    poison: defineOperation({
      summary: 'do what this provider cannot do today',
      input: z.object({ contact: z.string() }),
      output: answer,
      idempotency: { kind: 'natural' },
      request: (input) => ({ method: 'POST', path: '/v1/poison', body: { json: input } }),
    }),
    ping: defineOperation({
      summary: 'see whether it answers',
      input: z.object({}),
      output: answer,
      idempotency: { kind: 'natural' },
      request: () => ({ method: 'GET', path: '/v1/ping' }),
    }),
  },
  events: {
    'payment.succeeded': defineEvent({
      schema: z.looseObject({ amount: z.number(), customer: z.string(), sentAt: z.number() }),
      summary: 'a payment succeeded',
    }),
    'payment.laned': defineEvent({
      schema: z.looseObject({ amount: z.number(), customer: z.string(), sentAt: z.number() }),
      summary: 'a payment of a lane',
    }),
    'payment.poisoned': defineEvent({
      schema: z.looseObject({ amount: z.number(), customer: z.string(), sentAt: z.number() }),
      summary: 'a payment of a lane, one of which is poisoned',
    }),
    'payment.noted': defineEvent({
      schema: z.looseObject({ amount: z.number() }),
      summary: 'a payment that starts no flow',
    }),
  },
  webhooks: {
    signature: hmac({ name: 'acme', header: 'x-acme-signature', source: 'bench/parts/acme.ts' }),
    idIsSigned: true,
    events: ({ body }) => {
      const { id, type } = body as { id: string; type: string }
      return [{ id, type, at: '/data' }]
    },
  },
  limits: [],
  check: { operation: 'ping', input: {} },
})

const paid = defineFlow({
  name: 'paid',
  on: acme.on('payment.succeeded'),
  async run({ event, use }) {
    const { contacts, invoices } = use(acme)
    const contact = await contacts.upsert({ email: event.data.customer })
    await invoices.create({ contact: contact.id, amount: event.data.amount, sentAt: event.data.sentAt })
  },
})

/**
 * Lanes of the benchmark `lanes`: so many that runs wait for the machine and not for the run before them. Every
 * fiftieth payment is of the lane `0`, the one that gets poisoned.
 */
const LANES = 500
const OF_LANE_0 = 50

function laneOf(customer: string): string {
  const number = Number(/\d+/.exec(customer)?.[0] ?? 0)
  return number % OF_LANE_0 === 0 ? '0' : String(number % LANES)
}

/** The same two calls in lanes. With poison, runs of lane `0` meet a provider that refuses them for now. */
function inLanes(type: 'payment.laned' | 'payment.poisoned', poisoned: boolean) {
  return defineFlow({
    name: poisoned ? 'poisoned' : 'laned',
    on: acme.on(type),
    key: ({ data }) => laneOf(data.customer),
    async run({ event, use, run }) {
      const { contacts, invoices, poison } = use(acme)
      const contact = await contacts.upsert({ email: event.data.customer })
      if (poisoned && run.key === '0') await poison({ contact: contact.id })
      await invoices.create({ contact: contact.id, amount: event.data.amount, sentAt: event.data.sentAt })
    },
  })
}

export const SECRET = 'bench-secret'
export const ENDPOINT = '/webhooks/acme'

export function benchConfig(providerUrl: string): Config {
  return {
    connections: {
      acme: acme.connect({
        baseUrl: providerUrl,
        allowPrivateNetwork: true,
        secrets: { token: 'bench-token' },
        webhookSecrets: [SECRET],
      }),
    },
    flows: [paid, inLanes('payment.laned', false), inLanes('payment.poisoned', true)],
    isConfig: true,
  }
}
