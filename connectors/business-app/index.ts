/**
 * The business's own app: it is told what happened, keeps records for flows, and says what happens in it.
 *
 * Owns: the contract between the app and Trestle (README.md), in both directions.
 * Leaves to others: signing (the vault, by Standard Webhooks), sending and retrying (the platform).
 *
 * 1. Everything that goes out is signed over `id.timestamp.body`; the `webhook-id` is the idempotency key.
 * 2. What a write changes stands in its body, so that the signature covers it, and not in its path alone.
 * 3. Events come in as CloudEvents 1.0; the same `source` and `id` is the same event.
 */
import { defineConnector, SECOND, signatureSchemes } from 'trestle'
import { classify } from './answers.ts'
import { events, eventsOf } from './events.ts'
import {
  createRecord,
  deleteRecord,
  listRecords,
  ping,
  putRecord,
  retrieveRecord,
  sendEvent,
} from './operations.ts'

/**
 * The connector. A connection sets `baseUrl`, the app's address, and needs the secret `signingSecret` (`whsec_…`), with
 * which the app verifies what comes. Events come in at `POST /api/v1/events` with an API token, or signed by Standard
 * Webhooks at the connection's endpoint.
 */
export const businessApp = defineConnector({
  name: 'business-app',
  title: "The business's own app",
  baseUrl: 'https://app.example.com',
  auth: { kind: 'standard_webhooks' },
  operations: {
    events: { send: sendEvent },
    records: {
      create: createRecord,
      put: putRecord,
      retrieve: retrieveRecord,
      list: listRecords,
      delete: deleteRecord,
    },
    ping,
  },
  events,
  webhooks: {
    signature: signatureSchemes.standardWebhooks,
    contentTypes: ['application/cloudevents+json', 'application/cloudevents-batch+json', 'application/json'],
    events: eventsOf,
    idIsSigned: true,
    cloudEvents: true,
  },
  classify,
  limits: [
    {
      name: 'app',
      allowed: 50,
      windowMs: SECOND,
      concurrency: 10,
      source: 'our own contract with the app, connectors/business-app/README.md, 2026-11-22',
    },
  ],
  check: { operation: 'ping', input: {} },
})

export type { Appointment, BusinessRecord } from './contracts.ts'
