import { defineOperation, PermanentError, RetryableError, type ProviderAnswer } from 'trestle'
import { z } from 'zod'
import { newAddress, page, pageQuery, shipment, shipmentPage, type Shipment } from './contracts.ts'
import { LISTS, ORDINARY } from './limits.ts'

const PATH = '/v2/shipments'
const id = z.string().regex(/^shp_/, 'an id of a shipment begins with shp_')
const knownOrNew = z.union([z.object({ id: z.string().regex(/^adr_/) }), newAddress])

/** EasyPost documents no lag between a write and a read; a minute is our caution, mostly for a request still running. */
const SETTLE_MS = 60_000
/** How far EasyPost's clock may be from ours before the list of a look-up would miss a shipment. */
const CLOCK_DISTANCE_MS = 5 * 60_000
const LOOKUP_PAGE_SIZE = 100

/**
 * Asks what it costs to send a parcel. Nothing is bought. EasyPost knows no idempotency key, so the shipment carries
 * ours as its `reference`, and is looked for among those made since.
 * Source: https://docs.easypost.com/docs/shipments, read 2026-11-22.
 */
export const createShipment = defineOperation({
  summary: 'ask for shipping rates',
  input: z.object({
    to: knownOrNew,
    from: knownOrNew,
    parcel: z.object({
      /** Ounces. */
      weight: z.number().positive(),
      /** Inches; all three or none, or `predefinedPackage`. */
      length: z.number().positive().optional(),
      width: z.number().positive().optional(),
      height: z.number().positive().optional(),
      /** Such as `FlatRateEnvelope`. */
      predefinedPackage: z.string().optional(),
    }),
    /** From `to` back to `from`. */
    isReturn: z.boolean().optional(),
    /** Ids of carrier accounts; left out: all of the account, of which EasyPost asks 60. */
    carrierAccounts: z.array(z.string()).max(60).optional(),
    /** EasyPost's options, such as `{ label_format: 'PDF', print_custom_1: 'Order 17' }`. */
    options: z.record(z.string(), z.unknown()).optional(),
  }),
  output: shipment,
  idempotency: {
    kind: 'lookup',
    settleAfterMs: SETTLE_MS,
    request: (_input, { begunAt }) => ({
      method: 'GET',
      path: PATH,
      query: {
        // Left out, only shipments with a label are listed.
        purchased: false,
        start_datetime: new Date(begunAt - CLOCK_DISTANCE_MS).toISOString(),
        page_size: LOOKUP_PAGE_SIZE,
      },
    }),
    found: (answer, _input, { idempotencyKey }) => findReferenced(answer, referenceOf(idempotencyKey)),
  },
  limits: ORDINARY,
  request: ({ to, from, parcel, isReturn, carrierAccounts, options }, { idempotencyKey }) => {
    const { predefinedPackage, ...measures } = parcel
    return {
      method: 'POST',
      path: PATH,
      body: {
        json: {
          shipment: {
            reference: referenceOf(idempotencyKey),
            to_address: to,
            from_address: from,
            parcel: { ...measures, predefined_package: predefinedPackage },
            is_return: isReturn,
            carrier_accounts: carrierAccounts,
            options,
          },
        },
      },
    }
  },
  describe: (_input, { rates }) => `shipment with ${rates.length} rate(s)`,
})

/**
 * Buys the label of a shipment. A shipment has one label at most, so the shipment itself tells whether it was bought,
 * by whomever. A look-up that finds a label at another rate is for a person.
 * Source: https://docs.easypost.com/docs/shipments, read 2026-11-22.
 */
export const buyShipment = defineOperation({
  summary: 'buy a shipping label',
  input: z.object({
    id,
    /** One of the shipment's `rates`. */
    rate: z.string().regex(/^rate_/, 'an id of a rate begins with rate_'),
    /** US dollars to insure the parcel for, as text: `'100.00'`. EasyPost charges for it. */
    insurance: z
      .string()
      .regex(/^\d+(\.\d{1,2})?$/)
      .optional(),
  }),
  output: shipment,
  idempotency: {
    kind: 'lookup',
    settleAfterMs: SETTLE_MS,
    request: (input) => readRequest(input.id),
    found: (answer, input) => {
      const found = readShipment(answer, input.id)
      if (found.selected_rate === null && found.postage_label === null) return undefined
      if (found.selected_rate?.id !== input.rate)
        throw new PermanentError(
          'lookup_ambiguous',
          `Shipment ${input.id} has a label already, at rate ${found.selected_rate?.id ?? 'unknown'} and not ${input.rate}. Look at it in EasyPost.`,
        )
      return answer.json
    },
  },
  limits: ORDINARY,
  // Carriers are asked while the request waits.
  timeoutMs: 60_000,
  request: (input) => ({
    method: 'POST',
    path: `${PATH}/${encodeURIComponent(input.id)}/buy`,
    body: { json: { rate: { id: input.rate }, insurance: input.insurance } },
  }),
  describe: (_input, { selected_rate: rate, tracking_code: code }) =>
    `label ${code ?? ''} at ${rate?.rate ?? '?'} ${rate?.currency ?? ''} with ${rate?.carrier ?? '?'}`,
})

/**
 * Asks for the money of an unused label back: the undo of `shipments.buy`. `succeeded` means that it was asked for; the
 * carrier decides within 30 days, which `refund.successful` tells.
 * Source: https://docs.easypost.com/docs/shipments/shipping-refund, read 2026-11-22.
 */
export const refundShipment = defineOperation({
  summary: 'give a shipping label back',
  input: z.object({ id }),
  output: shipment,
  idempotency: {
    kind: 'lookup',
    settleAfterMs: SETTLE_MS,
    request: (input) => readRequest(input.id),
    found: (answer, input) => {
      const { refund_status: status } = readShipment(answer, input.id)
      if (status === null) return undefined
      // A refusal may be of an earlier request, and a further one may be accepted, says EasyPost.
      if (status === 'rejected')
        throw new PermanentError(
          'lookup_ambiguous',
          `A refund of shipment ${input.id} was rejected, this one or an earlier one. Ask for it again in EasyPost if the label was not used.`,
        )
      return answer.json
    },
  },
  limits: ORDINARY,
  request: (input) => ({ method: 'POST', path: `${PATH}/${encodeURIComponent(input.id)}/refund` }),
  describe: (_input, made) => `label ${made.tracking_code ?? made.id} given back (${made.refund_status})`,
})

export const retrieveShipment = defineOperation({
  summary: 'read a shipment',
  input: z.object({ id }),
  output: shipment,
  idempotency: { kind: 'natural' },
  limits: ORDINARY,
  request: (input) => readRequest(input.id),
  describe: (_input, found) => `shipment ${found.tracking_code ?? found.id}`,
})

export const listShipments = defineOperation({
  summary: 'list shipments',
  input: z.object({
    /** `false` lists those without a label, too; EasyPost's default is `true`. */
    purchased: z.boolean().optional(),
    ...page,
  }),
  output: shipmentPage,
  idempotency: { kind: 'natural' },
  limits: LISTS,
  request: ({ purchased, ...rest }) => ({
    method: 'GET',
    path: PATH,
    query: { purchased, ...pageQuery(rest) },
  }),
  describe: (_input, { shipments }) => `${shipments.length} shipment(s)`,
})

function readRequest(shipmentId: string) {
  return { method: 'GET' as const, path: `${PATH}/${encodeURIComponent(shipmentId)}` }
}

/** What a shipment carries of the step that made it. */
export function referenceOf(idempotencyKey: string): string {
  return `trestle-${idempotencyKey}`
}

function readShipment(answer: ProviderAnswer, shipmentId: string): Shipment {
  const read = shipment.safeParse(answer.json)
  if (answer.status === 200 && read.success) return read.data
  throw new RetryableError(
    'lookup_unanswered',
    `EasyPost answered ${answer.status} when asked for shipment ${shipmentId}, which tells nothing.`,
  )
}

/** The shipment with our reference; `undefined` if there is none, which only the whole list can tell. */
function findReferenced(answer: ProviderAnswer, reference: string): unknown {
  const read = shipmentPage.safeParse(answer.json)
  if (answer.status !== 200 || !read.success)
    throw new RetryableError(
      'lookup_unanswered',
      `EasyPost answered ${answer.status} when asked for its shipments, which tells nothing.`,
    )
  const found = read.data.shipments.find((one) => one.reference === reference)
  if (found === undefined && read.data.has_more)
    throw new PermanentError(
      'lookup_ambiguous',
      `EasyPost has made more than ${LOOKUP_PAGE_SIZE} shipments since, and "${reference}" is not among the newest. Look for it in EasyPost.`,
    )
  return found
}
