import type { Clock, LaggingIndex } from 'trestle/testing'
import { createLaggingIndex } from 'trestle/testing'
import type { TwinInvoice, TwinSubscription } from './billingObjects.ts'
import {
  type Making,
  type TwinCharge,
  type TwinCustomer,
  type TwinDispute,
  type TwinPaymentIntent,
  type TwinRefund,
} from './objects.ts'

/** What a Stripe account holds. */
export interface StripeState {
  readonly customers: Map<
    string,
    TwinCustomer | { id: string; object: 'customer'; deleted: true; created: number }
  >
  readonly paymentIntents: Map<string, TwinPaymentIntent>
  readonly charges: Map<string, TwinCharge>
  readonly refunds: Map<string, TwinRefund>
  readonly disputes: Map<string, TwinDispute>
  readonly subscriptions: Map<string, TwinSubscription>
  readonly invoices: Map<string, TwinInvoice>
}

export function emptyState(): StripeState {
  return {
    customers: new Map(),
    paymentIntents: new Map(),
    charges: new Map(),
    refunds: new Map(),
    disputes: new Map(),
    subscriptions: new Map(),
    invoices: new Map(),
  }
}

/** What happens when the account changes: an event for webhooks. */
export type Emit = (
  type: string,
  object: { readonly id: string; readonly [field: string]: unknown },
  more?: { previous?: Record<string, unknown>; request?: { id: string; key: string | null } },
) => void

/** The account with its clock, its ids, its search index and its voice. */
export interface Account {
  readonly state: StripeState
  readonly make: () => Making
  readonly emit: Emit
  readonly customerIndex: LaggingIndex<TwinCustomer>
}

export function openAccount(options: {
  state: StripeState
  clock: Clock
  newId: (prefix: string) => string
  emit: Emit
  searchLagMs: number
}): Account {
  return {
    state: options.state,
    make: () => ({ id: options.newId, at: Math.floor(options.clock.now() / 1000) }),
    emit: options.emit,
    customerIndex: createLaggingIndex({ clock: options.clock, lagMs: options.searchLagMs }),
  }
}
