import { z } from 'zod'
import { DAY, SECOND } from '../../../src/base/index.ts'
import {
  defineConnector,
  defineEvent,
  defineFlow,
  defineOperation,
  signatureSchemes,
  type AnyFlow,
} from '../../../src/define/index.ts'

/** What must be seen nowhere but at the rogue itself. */
export const ROGUE_TOKEN = 'rogue-token-of-the-connection'

const HOW = ['key', 'lookup', 'none'] as const
/** How a call can be told from a second one. */
export type How = (typeof HOW)[number]
export const HOWS: readonly How[] = HOW

/** What a delivery asks for. `form`: the hostile answer that the call for it is to get, by number. */
const asked = z.object({
  ref: z.string(),
  customer: z.string(),
  how: z.enum(HOW),
  form: z.number(),
  extra: z.unknown(),
})
const what = asked.omit({ customer: true, how: true })
type What = z.infer<typeof what>

/** A system that answers as it likes: whatever comes is taken as its answer, as long as it is JSON. */
export const rogue = defineConnector({
  name: 'rogue',
  title: 'Rogue',
  baseUrl: 'https://rogue.test',
  auth: { kind: 'bearer' },
  operations: {
    charges: {
      create: defineOperation<What, unknown>({
        summary: 'create a charge',
        input: what,
        output: z.unknown(),
        idempotency: {
          kind: 'key',
          place: { header: 'idempotency-key' },
          lifetimeMs: DAY,
          replaysErrors: false,
        },
        request: (input) => ({ method: 'POST', path: '/charges', body: { json: input } }),
        timeoutMs: 3 * SECOND,
      }),
    },
    notes: {
      create: defineOperation<What, unknown>({
        summary: 'add a note',
        input: what,
        output: z.unknown(),
        idempotency: {
          kind: 'lookup',
          settleAfterMs: SECOND / 2,
          request: ({ ref }) => ({ method: 'GET', path: '/notes', query: { ref } }),
          found: (answer) => (answer.json as { found: unknown[] }).found[0],
        },
        request: (input) => ({ method: 'POST', path: '/notes', body: { json: input } }),
        timeoutMs: 3 * SECOND,
      }),
    },
    texts: {
      send: defineOperation<What, unknown>({
        summary: 'send a text',
        input: what,
        output: z.unknown(),
        idempotency: { kind: 'none' },
        request: (input) => ({ method: 'POST', path: '/texts', body: { json: input } }),
        timeoutMs: 3 * SECOND,
      }),
    },
    ping: defineOperation<Record<string, never>, unknown>({
      summary: 'see whether it answers',
      input: z.strictObject({}),
      output: z.unknown(),
      effect: 'read',
      idempotency: { kind: 'natural' },
      request: () => ({ method: 'GET', path: '/ping' }),
      timeoutMs: 3 * SECOND,
    }),
  },
  events: {
    asked: defineEvent({ schema: asked, summary: 'something is to be done', match: ['data.customer'] }),
    noted: defineEvent({ schema: z.unknown(), summary: 'nothing is to be done' }),
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

export const HOSTILE_FLOWS: readonly AnyFlow[] = [
  defineFlow({
    name: 'rogue',
    on: rogue.on('asked'),
    key: (event) => event.data.customer,
    retry: { first: '200 ms', cap: '2 s' },
    async run({ event, use }) {
      const { charges, notes, texts } = use(rogue)
      const { ref, form, extra, how } = event.data
      const input = { ref: `${ref}/1`, form, extra }
      if (how === 'key') await charges.create(input)
      else if (how === 'lookup') await notes.create(input)
      else await texts.send(input)
    },
  }),
]
