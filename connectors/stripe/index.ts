/**
 * Stripe: customers, payments, refunds, subscriptions, invoices and disputes, and what happens to them.
 *
 * Owns: what Stripe's API v1 takes and answers in version 2026-10-28.endive, its limits, its webhooks.
 * Leaves to others: the API key (the vault), sending and retrying (the platform).
 *
 * 1. One operation is one HTTP exchange. References are ids; nothing is expanded.
 * 2. Every write carries an `Idempotency-Key`; what it creates carries that key in its metadata (`trestle_key`), so
 *    that it can be found after Stripe has forgotten the key.
 * 3. Amounts are whole minor units, as Stripe has them.
 */
import { defineConnector, signatureSchemes } from 'trestle'
import { classify } from './answers.ts'
import { retrieveInvoice, retrieveSubscription } from './billing.ts'
import {
  createCustomer,
  listCustomers,
  retrieveCustomer,
  searchCustomers,
  updateCustomer,
} from './customers.ts'
import { retrieveDispute, updateDispute } from './disputes.ts'
import { events, eventsOf } from './events.ts'
import { limitHeaders, limits } from './limits.ts'
import {
  createRefund,
  listPaymentIntents,
  retrieveCharge,
  retrievePaymentIntent,
  retrieveRefund,
} from './payments.ts'

/** The API version that requests are answered in and that webhook endpoints must be set to. */
export const STRIPE_VERSION = '2026-10-28.endive'

/**
 * The connector. A connection needs the secret `token`, a secret or restricted API key (`sk_…`, `rk_…`), and the
 * signing secret of its webhook endpoint (`whsec_…`).
 */
export const stripe = defineConnector({
  name: 'stripe',
  title: 'Stripe',
  baseUrl: 'https://api.stripe.com',
  auth: { kind: 'bearer' },
  headers: { 'stripe-version': STRIPE_VERSION },
  operations: {
    customers: {
      retrieve: retrieveCustomer,
      create: createCustomer,
      update: updateCustomer,
      list: listCustomers,
      search: searchCustomers,
    },
    paymentIntents: { retrieve: retrievePaymentIntent, list: listPaymentIntents },
    charges: { retrieve: retrieveCharge },
    refunds: { create: createRefund, retrieve: retrieveRefund },
    subscriptions: { retrieve: retrieveSubscription },
    invoices: { retrieve: retrieveInvoice },
    disputes: { retrieve: retrieveDispute, update: updateDispute },
  },
  events,
  webhooks: {
    signature: signatureSchemes.stripe,
    events: eventsOf,
    idIsSigned: true,
  },
  classify,
  limits,
  limitHeaders,
  check: { operation: 'customers.list', input: { limit: 1 } },
})

export type { Charge, Customer, Dispute, Invoice, PaymentIntent, Refund, Subscription } from './contracts.ts'
