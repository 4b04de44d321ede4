import { DAY, defineOperation, type JsonValue, type ProviderAnswer } from 'trestle'
import { z } from 'zod'
import { collection, fields, record, recordId, recordList } from './contracts.ts'

/** How long the app remembers a `webhook-id`: the contract in README.md. */
const KEY_LIFETIME_MS = 7 * DAY

const key = {
  kind: 'key',
  place: { header: 'webhook-id' },
  lifetimeMs: KEY_LIFETIME_MS,
  replaysErrors: false,
} as const

const pathOf = (collection: string, id: string): string =>
  `/records/${encodeURIComponent(collection)}/${encodeURIComponent(id)}`

/**
 * Tells the app that something happened, as a Standard Webhook: `{ type, timestamp, data }`. Any 2xx is acceptance.
 * Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, read 2026-11-22.
 */
export const sendEvent = defineOperation({
  summary: 'tell the app what happened',
  input: z.object({
    /** Dotted words, such as `appointment.booked`. */
    type: z.string().regex(/^[a-zA-Z0-9_]+(\.[a-zA-Z0-9_]+)*$/, 'words joined by full stops'),
    data: fields,
  }),
  output: z.object({ status: z.int() }),
  idempotency: key,
  request: ({ type, data }, { begunAt }) => ({
    method: 'POST',
    path: '/events',
    body: { json: { type, timestamp: new Date(begunAt).toISOString(), data } },
  }),
  answer: ({ status }) => ({ status }),
  describe: ({ type }) => `the app was told ${type}`,
})

/** Makes a record with an id that the app chooses. */
export const createRecord = defineOperation({
  summary: 'create a record in the app',
  input: z.object({ collection, fields }),
  output: record,
  idempotency: {
    ...key,
    afterLifetime: {
      kind: 'lookup',
      settleAfterMs: 0,
      request: ({ collection }, { idempotencyKey }) => ({
        method: 'GET',
        path: `/records/${encodeURIComponent(collection)}`,
        query: { key: idempotencyKey },
      }),
      found: (answer) => onlyRecord(answer),
    },
  },
  request: ({ collection, fields }) => ({
    method: 'POST',
    path: `/records/${encodeURIComponent(collection)}`,
    body: { json: { collection, fields } },
  }),
  describe: ({ collection }, made) => `record ${made.id} in ${collection}`,
})

/** Makes or replaces the record with this id. */
export const putRecord = defineOperation({
  summary: 'create or replace a record in the app',
  input: z.object({ collection, id: recordId, fields }),
  output: record,
  idempotency: { kind: 'natural' },
  request: ({ collection, id, fields }) => ({
    method: 'PUT',
    path: pathOf(collection, id),
    body: { json: { collection, id, fields } },
  }),
  describe: ({ collection, id }) => `record ${id} in ${collection}`,
})

/** Takes a record away. One that is not there is no failure. */
export const deleteRecord = defineOperation({
  summary: 'delete a record in the app',
  input: z.object({ collection, id: recordId }),
  output: z.object({ id: z.string() }),
  idempotency: { kind: 'natural' },
  request: ({ collection, id }) => ({
    method: 'DELETE',
    path: pathOf(collection, id),
    body: { json: { collection, id } },
  }),
  classify: ({ status }) => (status === 404 ? { as: 'succeeded' } : undefined),
  answer: (_answer, { id }) => ({ id }),
  describe: ({ collection, id }) => `record ${id} in ${collection} deleted`,
})

export const retrieveRecord = defineOperation({
  summary: 'read a record of the app',
  input: z.object({ collection, id: recordId }),
  output: record,
  idempotency: { kind: 'natural' },
  request: ({ collection, id }) => ({ method: 'GET', path: pathOf(collection, id) }),
  describe: ({ collection, id }) => `record ${id} in ${collection}`,
})

/** The newest records of a collection, by default 20, in which a field has a value. */
export const listRecords = defineOperation({
  summary: "list the app's records",
  input: z.object({
    collection,
    /** A field that must equal `equals`, such as `email`. */
    field: z.string().optional(),
    equals: z.string().optional(),
    limit: z.int().min(1).max(100).optional(),
  }),
  output: recordList,
  idempotency: { kind: 'natural' },
  request: ({ collection, ...query }) => ({
    method: 'GET',
    path: `/records/${encodeURIComponent(collection)}`,
    query,
  }),
  describe: ({ collection }, { records }) => `${records.length} records of ${collection}`,
})

/** Whether the app is there and knows our signature. */
export const ping = defineOperation({
  summary: 'ask whether the app is there',
  input: z.object({}),
  output: z.looseObject({ ok: z.literal(true) }),
  idempotency: { kind: 'natural' },
  request: () => ({ method: 'GET', path: '/ping' }),
})

function onlyRecord({ status, json, text }: ProviderAnswer): JsonValue | undefined {
  const found = json as { records?: JsonValue[] } | undefined
  if (status !== 200 || !Array.isArray(found?.records))
    throw new Error(`The app answered the look-up with ${status}: ${text.slice(0, 200)}`)
  return found.records[0]
}
