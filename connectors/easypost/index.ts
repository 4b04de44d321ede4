/**
 * EasyPost: addresses, shipping labels and parcels on their way, by the API v2 and its webhooks.
 *
 * Owns: what the API and the webhooks look like, how a shipment or a label is found again after a lost answer, the limits.
 * Leaves to others: sending, signatures, retries. The stand-in for tests is `trestle/connectors/easypost/twin`.
 *
 * 1. A label costs money, so `shipments.buy` is never sent again before the shipment was asked whether it has one.
 * 2. The `reference` of a shipment is ours: it carries the idempotency key, by which a lost shipment is found again.
 * 3. Amounts are text with a decimal point, as EasyPost writes them.
 */
import { defineConnector, type Classification, type ProviderAnswer } from 'trestle'
import { createAddress, listAddresses, retrieveAddress, verifyAddress } from './addresses.ts'
import { limits } from './limits.ts'
import { buyShipment, createShipment, listShipments, refundShipment, retrieveShipment } from './shipments.ts'
import { createTracker, listTrackers, retrieveTracker } from './trackers.ts'
import { events, webhooks } from './webhooks.ts'

/** The connector. A connection needs the secret `apiKey` (test or production) and the secret of its webhook. */
export const easypost = defineConnector({
  name: 'easypost',
  title: 'EasyPost',
  baseUrl: 'https://api.easypost.com',
  // https://docs.easypost.com/docs/authentication, read 2026-11-22: the key is the user's name, there is no password.
  auth: { kind: 'basic', keyAs: 'username' },
  operations: {
    addresses: {
      create: createAddress,
      verify: verifyAddress,
      retrieve: retrieveAddress,
      list: listAddresses,
    },
    shipments: {
      create: createShipment,
      buy: buyShipment,
      refund: refundShipment,
      retrieve: retrieveShipment,
      list: listShipments,
    },
    trackers: { create: createTracker, retrieve: retrieveTracker, list: listTrackers },
  },
  events,
  webhooks,
  classify,
  limits,
  check: { operation: 'addresses.list', input: { pageSize: 1 } },
})

/**
 * What is special about EasyPost's answers: a refusal has a code in words (`ADDRESS.VERIFY.FAILURE`), a message that may
 * be a text or a list, and the fields that are wrong. 429, 408 and 5xx are left to the defaults.
 * Source: https://docs.easypost.com/docs/errors, read 2026-11-22.
 */
function classify(answer: ProviderAnswer): Classification | undefined {
  const { status } = answer
  if (status < 400 || status >= 500 || status === 408 || status === 429) return undefined
  const { code, reason } = errorOf(answer)
  if (status === 401) return { as: 'unauthorized', code: 'credential_refused', reason }
  return { as: 'failed', code: code ?? `status_${status}`, reason }
}

/** `{ error: { code, message, errors } }` as a code of ours (`address_verify_failure`) and a sentence. */
function errorOf({ json, status }: ProviderAnswer): { code: string | undefined; reason: string } {
  const error = objectOf(objectOf(json)['error'])
  const code = typeof error['code'] === 'string' && error['code'] !== '' ? error['code'] : undefined
  const said = [error['message'], error['errors']].flatMap(textsOf).join('; ')
  const reason = said === '' ? `EasyPost answered ${status}.` : said.slice(0, 500)
  return {
    code: code?.toLowerCase().replaceAll(/[^a-z0-9]+/g, '_'),
    reason: code === undefined ? reason : `${reason} (${code})`,
  }
}

/** Texts in what may be a text, a list of texts, or a list of `{ field, message }`. */
function textsOf(value: unknown): string[] {
  if (typeof value === 'string') return value === '' ? [] : [value]
  if (Array.isArray(value)) return value.flatMap(textsOf)
  const { field, message } = objectOf(value)
  if (typeof message !== 'string') return []
  return [typeof field === 'string' ? `${field}: ${message}` : message]
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  return value !== null && typeof value === 'object' ? (value as Readonly<Record<string, unknown>>) : {}
}

export type { Address, Shipment, Tracker } from './contracts.ts'
