/**
 * Shapes that EasyPost's API v2 and its webhooks promise. Loose: unknown fields are kept, and what EasyPost lists as
 * possible values is text, so that a new one passes.
 *
 * Source: https://docs.easypost.com/docs/addresses, …/shipments, …/trackers, …/pagination, and the types of
 * @easypost/api 8.9.0, read 2026-11-22.
 */
import { z } from 'zod'

const verification = z.looseObject({ success: z.boolean() })

export const address = z.looseObject({
  id: z.string(),
  object: z.literal('Address'),
  mode: z.string().optional(),
  name: z.string().nullish(),
  company: z.string().nullish(),
  street1: z.string().nullable(),
  street2: z.string().nullish(),
  city: z.string().nullable(),
  state: z.string().nullish(),
  zip: z.string().nullish(),
  country: z.string().nullable(),
  residential: z.boolean().nullish(),
  /** By kind, such as `delivery`. Empty where none was asked for. */
  verifications: z.record(z.string(), verification).optional(),
})
export type Address = z.infer<typeof address>

const rate = z.looseObject({
  id: z.string(),
  carrier: z.string(),
  service: z.string(),
  /** What the label costs, as text: `'7.58'`. */
  rate: z.string(),
  currency: z.string(),
  delivery_days: z.number().nullish(),
})

/** A parcel that somebody follows. */
export const tracker = z.looseObject({
  id: z.string(),
  object: z.literal('Tracker'),
  tracking_code: z.string(),
  /** `unknown`, `pre_transit`, `in_transit`, `out_for_delivery`, `delivered`, `available_for_pickup`, `return_to_sender`, `failure`, `cancelled`, `error`. */
  status: z.string(),
  status_detail: z.string().nullish(),
  carrier: z.string().nullish(),
  shipment_id: z.string().nullish(),
  est_delivery_date: z.string().nullish(),
  signed_by: z.string().nullish(),
  public_url: z.string().nullish(),
})
export type Tracker = z.infer<typeof tracker>

export const shipment = z.looseObject({
  id: z.string(),
  object: z.literal('Shipment'),
  reference: z.string().nullish(),
  created_at: z.string(),
  rates: z.array(rate),
  /** `null` until a label was bought. */
  selected_rate: rate.nullable(),
  postage_label: z.looseObject({ label_url: z.string() }).nullable(),
  tracking_code: z.string().nullable(),
  tracker: tracker.nullish(),
  status: z.string().nullish(),
  /** `submitted`, `refunded`, `rejected` or `not_applicable`; `null` where no refund was asked for. */
  refund_status: z.string().nullable(),
  /** What carriers said while rates were asked for; an empty `rates` is explained here. */
  messages: z.array(z.looseObject({ message: z.unknown() })).nullish(),
})
export type Shipment = z.infer<typeof shipment>

/** A refund of a label, as `refund.successful` tells of it. */
export const refund = z.looseObject({
  id: z.string(),
  object: z.literal('Refund'),
  tracking_code: z.string().nullish(),
  /** `submitted`, `refunded` or `rejected`. */
  status: z.string(),
  carrier: z.string().nullish(),
  shipment_id: z.string(),
})

/** Pages are newest first. Go on with `beforeId`, the id of the last entry, while `has_more`. */
export const addressPage = z.looseObject({ addresses: z.array(address), has_more: z.boolean() })
export const shipmentPage = z.looseObject({ shipments: z.array(shipment), has_more: z.boolean() })
export const trackerPage = z.looseObject({ trackers: z.array(tracker), has_more: z.boolean() })

/** Where a page begins, and how much it holds. */
export const page = {
  /** Entries made before this one: the id of the last entry of the page before. */
  beforeId: z.string().optional(),
  /** Entries made after this one. */
  afterId: z.string().optional(),
  /** ISO 8601. */
  startDatetime: z.iso.datetime().optional(),
  /** ISO 8601. */
  endDatetime: z.iso.datetime().optional(),
  /** 1 to 100; EasyPost's default is 20. */
  pageSize: z.int().min(1).max(100).optional(),
}
const pageInput = z.object(page)

/** The page as EasyPost's query has it. */
export function pageQuery({
  beforeId,
  afterId,
  startDatetime,
  endDatetime,
  pageSize,
}: z.infer<typeof pageInput>) {
  return {
    before_id: beforeId,
    after_id: afterId,
    start_datetime: startDatetime,
    end_datetime: endDatetime,
    page_size: pageSize,
  }
}

/** An address as it is written, or the id of one that EasyPost has. */
export const newAddress = z.object({
  name: z.string().optional(),
  company: z.string().optional(),
  street1: z.string().min(1),
  street2: z.string().optional(),
  city: z.string().optional(),
  state: z.string().optional(),
  zip: z.string().optional(),
  /** ISO 3166, two letters. */
  country: z.string().length(2),
  phone: z.string().optional(),
  email: z.string().optional(),
})
