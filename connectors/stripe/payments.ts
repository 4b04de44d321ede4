import { defineOperation, money } from 'trestle'
import { z } from 'zod'
import { classifyRead } from './answers.ts'
import { charge, listOf, metadataInput, pageInput, paymentIntent, refund } from './contracts.ts'
import { toForm, toQuery } from './form.ts'
import { KEY_LIFETIME_MS, limitsOf } from './limits.ts'
import { findMarked, marked, SETTLE_AFTER_MS } from './marker.ts'

/** https://docs.stripe.com/api/payment_intents/retrieve */
export const retrievePaymentIntent = defineOperation({
  summary: 'read a payment',
  input: z.object({ id: z.string().regex(/^pi_/, 'an id of a payment intent begins with pi_') }),
  output: paymentIntent,
  idempotency: { kind: 'natural' },
  classify: classifyRead,
  limits: limitsOf('paymentIntents.retrieve'),
  request: ({ id }) => ({ method: 'GET', path: `/v1/payment_intents/${encodeURIComponent(id)}` }),
  describe: (_input, found) => `payment of ${money(found.amount, found.currency)}, ${found.status}`,
})

/** https://docs.stripe.com/api/payment_intents/list: newest first. */
export const listPaymentIntents = defineOperation({
  summary: "list a customer's payments",
  input: z.object({ customer: z.string().optional(), ...pageInput }),
  output: listOf(paymentIntent),
  idempotency: { kind: 'natural' },
  classify: classifyRead,
  limits: limitsOf('paymentIntents.list'),
  request: (input) => ({ method: 'GET', path: '/v1/payment_intents', query: toQuery(input) }),
  describe: (_input, { data }) => `${data.length} payments`,
})

/** https://docs.stripe.com/api/charges/retrieve */
export const retrieveCharge = defineOperation({
  summary: 'read a charge',
  input: z.object({ id: z.string().regex(/^(ch|py)_/, 'an id of a charge begins with ch_ or py_') }),
  output: charge,
  idempotency: { kind: 'natural' },
  classify: classifyRead,
  limits: limitsOf('charges.retrieve'),
  request: ({ id }) => ({ method: 'GET', path: `/v1/charges/${encodeURIComponent(id)}` }),
  describe: (_input, found) => `charge of ${money(found.amount, found.currency)}, ${found.status}`,
})

/** https://docs.stripe.com/api/refunds/retrieve */
export const retrieveRefund = defineOperation({
  summary: 'read a refund',
  input: z.object({ id: z.string().regex(/^(re|pyr)_/, 'an id of a refund begins with re_ or pyr_') }),
  output: refund,
  idempotency: { kind: 'natural' },
  classify: classifyRead,
  limits: limitsOf('refunds.retrieve'),
  request: ({ id }) => ({ method: 'GET', path: `/v1/refunds/${encodeURIComponent(id)}` }),
  describe: (_input, found) => `refund of ${money(found.amount, found.currency)}`,
})

/** https://docs.stripe.com/api/refunds/create. Without `amount` all that is left is refunded. */
export const createRefund = defineOperation({
  summary: 'refund a payment',
  input: z
    .object({
      payment_intent: z.string().optional(),
      charge: z.string().optional(),
      /** Minor units. */
      amount: z.int().positive().optional(),
      reason: z.enum(['duplicate', 'fraudulent', 'requested_by_customer']).optional(),
      metadata: metadataInput.optional(),
    })
    .refine(
      (input) => (input.payment_intent === undefined) !== (input.charge === undefined),
      'give either payment_intent or charge',
    ),
  output: refund,
  idempotency: {
    kind: 'key',
    place: { header: 'idempotency-key' },
    lifetimeMs: KEY_LIFETIME_MS,
    replaysErrors: true,
    afterLifetime: {
      kind: 'lookup',
      settleAfterMs: SETTLE_AFTER_MS,
      request: ({ payment_intent, charge }) => ({
        method: 'GET',
        path: '/v1/refunds',
        query: toQuery({ payment_intent, charge, limit: 100 }),
      }),
      found: (answer, _input, { idempotencyKey }) => findMarked(answer, idempotencyKey),
    },
  },
  limits: limitsOf('refunds.create'),
  request: (input, { idempotencyKey }) => ({
    method: 'POST',
    path: '/v1/refunds',
    body: { form: toForm({ ...input, metadata: marked(input.metadata, idempotencyKey) }) },
  }),
  describe: (_input, made) => `refund of ${money(made.amount, made.currency)}`,
})
