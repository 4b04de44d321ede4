import { z } from 'zod'

/**
 * Shapes of Stripe's objects as API version 2026-10-28.endive gives them, by the type declarations of stripe 23.1.0.
 * Fields that flows are likely to read are checked; others pass through untouched. References such as `customer`
 * are ids, since this connector never asks for expansion.
 */

/** Seconds since 1970. */
const timestamp = z.int().nonnegative()
/** Minor units: cents. */
const amount = z.int()
/** Three letters of ISO 4217, in lower case. */
const currency = z.string().length(3)
const metadata = z.record(z.string(), z.string())
const id = z.string().min(1)

export const customer = z.looseObject({
  id,
  object: z.literal('customer'),
  created: timestamp,
  description: z.string().nullable(),
  email: z.string().nullable(),
  name: z.string().nullish(),
  phone: z.string().nullish(),
  livemode: z.boolean(),
  metadata,
})
export type Customer = z.infer<typeof customer>

/** What is left of a customer that was deleted. */
export const deletedCustomer = z.looseObject({
  id,
  object: z.literal('customer'),
  deleted: z.literal(true),
})

export const paymentIntent = z.looseObject({
  id,
  object: z.literal('payment_intent'),
  amount,
  amount_received: amount,
  created: timestamp,
  currency,
  customer: id.nullable(),
  description: z.string().nullable(),
  last_payment_error: z
    .looseObject({
      type: z.string(),
      code: z.string().optional(),
      decline_code: z.string().optional(),
      message: z.string().optional(),
    })
    .nullable(),
  latest_charge: id.nullable(),
  livemode: z.boolean(),
  metadata,
  receipt_email: z.string().nullable(),
  /** `succeeded`, `processing`, `requires_payment_method`, …; Stripe may add more. */
  status: z.string(),
})
export type PaymentIntent = z.infer<typeof paymentIntent>

export const charge = z.looseObject({
  id,
  object: z.literal('charge'),
  amount,
  amount_refunded: amount,
  billing_details: z.looseObject({
    email: z.string().nullable(),
    name: z.string().nullable(),
    phone: z.string().nullable(),
  }),
  created: timestamp,
  currency,
  customer: id.nullable(),
  disputed: z.boolean(),
  livemode: z.boolean(),
  metadata,
  paid: z.boolean(),
  payment_intent: id.nullable(),
  receipt_email: z.string().nullable(),
  refunded: z.boolean(),
  status: z.string(),
})
export type Charge = z.infer<typeof charge>

export const refund = z.looseObject({
  id,
  object: z.literal('refund'),
  amount,
  charge: id.nullable(),
  created: timestamp,
  currency,
  metadata: metadata.nullable(),
  payment_intent: id.nullable(),
  reason: z.string().nullable(),
  /** `pending`, `requires_action`, `succeeded`, `failed`, `canceled`. */
  status: z.string().nullable(),
})
export type Refund = z.infer<typeof refund>

export const subscription = z.looseObject({
  id,
  object: z.literal('subscription'),
  cancel_at_period_end: z.boolean(),
  canceled_at: timestamp.nullable(),
  created: timestamp,
  currency,
  customer: id,
  ended_at: timestamp.nullable(),
  items: z.looseObject({
    data: z.array(
      z.looseObject({
        id,
        current_period_start: timestamp,
        current_period_end: timestamp,
        quantity: z.int().optional(),
        price: z.looseObject({ id, unit_amount: amount.nullable(), currency }),
      }),
    ),
  }),
  latest_invoice: id.nullable(),
  livemode: z.boolean(),
  metadata,
  /** `active`, `past_due`, `canceled`, `trialing`, …; Stripe may add more. */
  status: z.string(),
})
export type Subscription = z.infer<typeof subscription>

export const invoice = z.looseObject({
  id,
  object: z.literal('invoice'),
  amount_due: amount,
  amount_paid: amount,
  amount_remaining: amount,
  /** `subscription_cycle` is a renewal, `subscription_create` the first period, `manual` no subscription. */
  billing_reason: z.string().nullable(),
  created: timestamp,
  currency,
  customer: id.nullable(),
  customer_email: z.string().nullable(),
  customer_name: z.string().nullable(),
  hosted_invoice_url: z.string().nullish(),
  livemode: z.boolean(),
  metadata: metadata.nullable(),
  number: z.string().nullable(),
  /** The subscription is at `parent.subscription_details.subscription`. */
  parent: z
    .looseObject({
      type: z.string(),
      subscription_details: z.looseObject({ subscription: id }).nullable(),
    })
    .nullable(),
  period_start: timestamp,
  period_end: timestamp,
  status: z.string().nullable(),
  total: amount,
})
export type Invoice = z.infer<typeof invoice>

export const dispute = z.looseObject({
  id,
  object: z.literal('dispute'),
  amount,
  charge: id,
  created: timestamp,
  currency,
  evidence: z.looseObject({}),
  evidence_details: z.looseObject({
    /** The last moment for evidence; `null` where nothing can be done. */
    due_by: timestamp.nullable(),
    has_evidence: z.boolean(),
    past_due: z.boolean(),
    submission_count: z.int(),
  }),
  is_charge_refundable: z.boolean(),
  livemode: z.boolean(),
  metadata,
  payment_intent: id.nullable(),
  reason: z.string(),
  /** `needs_response`, `under_review`, `won`, `lost`, …; Stripe may add more. */
  status: z.string(),
})
export type Dispute = z.infer<typeof dispute>

/** A page of a list, newest first. The next one is asked for with `starting_after` the last id. */
export function listOf<Item extends z.ZodType>(item: Item) {
  return z.looseObject({ object: z.literal('list'), has_more: z.boolean(), data: z.array(item) })
}

/** A page of a search. The next one is asked for with `page`. */
export function searchOf<Item extends z.ZodType>(item: Item) {
  return z.looseObject({
    object: z.literal('search_result'),
    has_more: z.boolean(),
    next_page: z.string().nullish(),
    data: z.array(item),
  })
}

/** Up to 50 keys of 40 characters with values of 500 characters; `null` or `''` takes one away. */
export const metadataInput = z.record(
  z
    .string()
    .max(40)
    .regex(/^[^[\]]+$/, 'Stripe allows no square brackets in keys of metadata'),
  z.string().max(500).nullable(),
)

/** Where a page of a list begins, and how long it is. */
export const pageInput = {
  /** 1 to 100, default 10. */
  limit: z.int().min(1).max(100).optional(),
  /** The last id of the page before. */
  starting_after: z.string().optional(),
}
