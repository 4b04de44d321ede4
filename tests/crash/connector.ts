import { z } from 'zod'
import { DAY, SECOND } from '../../src/base/index.ts'
import { defineConnector, defineEvent, defineOperation, signatureSchemes } from '../../src/define/index.ts'

/** What a delivery of the crash tests says: `ref` names it, and is part of the key of every effect that it has. */
const happened = z.object({ ref: z.string(), customer: z.string() })
const made = z.object({ id: z.string() })
const what = z.object({ ref: z.string() })

/** Waits only for a step under test; the real values of a provider would only make the tests slower. */
const SETTLE_MS = 300
/** Long, so that on a busy machine a slow provider is no doubtful one. */
export const TIMEOUT_MS = 10 * SECOND

const event = (summary: string) =>
  defineEvent({ schema: happened, summary, match: ['data.customer', 'data.ref'] })

/** The provider of the crash tests: one operation for each kind of idempotency that can leave a doubt. */
export const acme = defineConnector({
  name: 'acme',
  title: 'Acme',
  baseUrl: 'https://acme.test',
  auth: { kind: 'bearer' },
  operations: {
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
        timeoutMs: TIMEOUT_MS,
      }),
    },
    notes: {
      create: defineOperation<z.infer<typeof what>, z.infer<typeof made>>({
        summary: 'add a note',
        input: what,
        output: made,
        idempotency: {
          kind: 'lookup',
          settleAfterMs: SETTLE_MS,
          request: ({ ref }) => ({ method: 'GET', path: '/notes', query: { ref } }),
          found: (answer) => (answer.json as { found: unknown[] }).found[0],
        },
        request: (input) => ({ method: 'POST', path: '/notes', body: { json: input } }),
        timeoutMs: TIMEOUT_MS,
      }),
    },
    ping: defineOperation<Record<string, never>, z.infer<typeof made>>({
      summary: 'see whether it answers',
      input: z.strictObject({}),
      output: made,
      effect: 'read',
      idempotency: { kind: 'natural' },
      request: () => ({ method: 'GET', path: '/ping' }),
      timeoutMs: TIMEOUT_MS,
    }),
    texts: {
      send: defineOperation<z.infer<typeof what>, z.infer<typeof made>>({
        summary: 'send a text',
        input: what,
        output: made,
        idempotency: { kind: 'none' },
        request: (input) => ({ method: 'POST', path: '/texts', body: { json: input } }),
        timeoutMs: TIMEOUT_MS,
      }),
    },
  },
  events: {
    one: event('one step'),
    two: event('two calls'),
    none: event('a call that cannot be asked about'),
    fan: event('calls at once'),
    nap: event('a sleep'),
    wait: event('a wait for an event'),
    answer: event('the event that is waited for'),
    lane: event('runs in order'),
  },
  webhooks: {
    signature: signatureSchemes.standardWebhooks,
    idIsSigned: true,
    events: ({ body }) => {
      const { id, type } = body as { id: string; type: string }
      return [{ id, type, at: '/data' }]
    },
  },
  limits: [],
  check: { operation: 'ping', input: {} },
})

/** The kinds of deliveries, which are the types of Acme's events. */
export type Kind = keyof (typeof acme)['events']
