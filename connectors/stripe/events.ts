import { defineEvent, money, type IncomingDelivery, type IncomingEvent } from 'trestle'
import { z } from 'zod'
import { charge, customer, dispute, invoice, paymentIntent, subscription } from './contracts.ts'

const who = (email: string | null | undefined, customer: string | null): string =>
  email ?? customer ?? 'a guest'

/**
 * A change holds the whole object as it was then. Stripe sends events in no order and dates them to the second
 * (`created`: https://docs.stripe.com/webhooks#event-ordering and https://docs.stripe.com/api/events/object, read
 * 2026-11-22): of two within one second, the one that comes later counts.
 */
const change = { datedBy: 'occurredAt', subject: 'data.id' } as const

/** Events by Stripe's names: https://docs.stripe.com/api/events/types, read 2026-11-22. */
export const events = {
  'payment_intent.succeeded': defineEvent({
    summary: 'payment succeeded',
    schema: paymentIntent,
    match: ['data.id', 'data.customer', 'data.receipt_email'],
    describe: (data) =>
      `payment of ${money(data.amount_received, data.currency)} by ${who(data.receipt_email, data.customer)}`,
  }),
  'payment_intent.payment_failed': defineEvent({
    summary: 'payment failed',
    schema: paymentIntent,
    match: ['data.id', 'data.customer', 'data.receipt_email'],
    describe: (data) =>
      `failed payment of ${money(data.amount, data.currency)} by ${who(data.receipt_email, data.customer)}: ${data.last_payment_error?.message ?? 'no reason given'}`,
  }),
  'charge.refunded': defineEvent({
    summary: 'charge refunded, in whole or in part',
    schema: charge,
    match: ['data.id', 'data.customer', 'data.payment_intent'],
    describe: (data) =>
      `${money(data.amount_refunded, data.currency)} of ${money(data.amount, data.currency)} refunded to ${who(data.billing_details.email, data.customer)}`,
  }),
  'charge.dispute.created': defineEvent({
    summary: 'dispute opened',
    schema: dispute,
    match: ['data.id', 'data.charge', 'data.payment_intent'],
    describe: (data) => `dispute over ${money(data.amount, data.currency)}: ${data.reason}`,
  }),
  'charge.dispute.closed': defineEvent({
    summary: 'dispute closed',
    schema: dispute,
    match: ['data.id', 'data.charge', 'data.payment_intent'],
    describe: (data) => `dispute over ${money(data.amount, data.currency)} ${data.status}`,
  }),
  'invoice.paid': defineEvent({
    summary: 'invoice paid; a subscription renewal where billing_reason is subscription_cycle',
    schema: invoice,
    match: ['data.id', 'data.customer', 'data.parent.subscription_details.subscription'],
    describe: (data) =>
      `${data.billing_reason === 'subscription_cycle' ? 'renewal' : 'invoice'} of ${money(data.amount_paid, data.currency)} paid by ${who(data.customer_email, data.customer)}`,
  }),
  'customer.subscription.updated': defineEvent({
    ...change,
    summary: 'subscription changed',
    schema: subscription,
    match: ['data.id', 'data.customer'],
    describe: (data) => `subscription ${data.id} of ${data.customer} is ${data.status}`,
  }),
  'customer.subscription.deleted': defineEvent({
    summary: 'subscription ended',
    schema: subscription,
    match: ['data.id', 'data.customer'],
    describe: (data) => `subscription ${data.id} of ${data.customer} ended`,
  }),
  'customer.created': defineEvent({
    summary: 'customer created',
    schema: customer,
    match: ['data.id', 'data.email'],
    describe: (data) => `customer ${data.name ?? data.email ?? data.id} created`,
  }),
  'customer.updated': defineEvent({
    ...change,
    summary: 'customer changed',
    schema: customer,
    match: ['data.id', 'data.email'],
    describe: (data) => `customer ${data.name ?? data.email ?? data.id} changed`,
  }),
}

const envelope = z.looseObject({
  id: z.string().regex(/^evt_/),
  object: z.literal('event'),
  type: z.string().min(1),
  created: z.int().nonnegative(),
  data: z.looseObject({ object: z.looseObject({}) }),
})

/**
 * The one event of a delivery (a "snapshot event"). Thin events of API v2 are another envelope and throw.
 * Source: https://docs.stripe.com/api/events/object, read 2026-11-22.
 */
export function eventsOf({ body }: IncomingDelivery): readonly IncomingEvent[] {
  const { id, type, created } = envelope.parse(body)
  return [{ id, type, occurredAt: new Date(created * 1000).toISOString(), at: '/data/object' }]
}
