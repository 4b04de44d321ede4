import { DAY, UsageError } from 'trestle'
import { newInvoice, newSubscription, type TwinInvoice, type TwinSubscription } from './billingObjects.ts'
import {
  newCharge,
  newCustomer,
  newDispute,
  newPaymentIntent,
  newRefund,
  type TwinCharge,
  type TwinCustomer,
  type TwinDispute,
  type TwinPaymentIntent,
  type TwinRefund,
} from './objects.ts'
import type { Account } from './state.ts'

const MONTH_SECONDS = (30 * DAY) / 1000
const DISPUTE_RESPONSE_SECONDS = (9 * DAY) / 1000

export interface Payment {
  /** Minor units. */
  readonly amount: number
  /** Default `'usd'`. */
  readonly currency?: string
  /** An id of a customer. Default: the customer with the e-mail address, made if there is none; else a guest. */
  readonly customer?: string
  readonly email?: string
  readonly name?: string
  readonly description?: string
  readonly metadata?: Record<string, string>
}

/** What can be made to happen at Stripe. Each sends the webhooks that Stripe sends, in its order. */
export interface StripeHappenings {
  customerSignsUp(given: { email?: string; name?: string; phone?: string }): TwinCustomer
  customerChanges(given: { customer: string; email?: string; name?: string; phone?: string }): TwinCustomer
  customerDeleted(given: { customer: string }): void
  /** `charge.succeeded`, `payment_intent.succeeded`. */
  paymentSucceeds(given: Payment): TwinPaymentIntent
  /** `charge.failed`, `payment_intent.payment_failed`. */
  paymentFails(given: Payment & { declineCode?: string }): TwinPaymentIntent
  /** A refund made in the dashboard: `refund.created`, `charge.refunded`. Default: all that is left. */
  chargeRefunded(given: { paymentIntent: string; amount?: number }): TwinRefund
  /** `customer.subscription.created`, then a first invoice paid. */
  subscriptionStarts(given: { customer: string; amount: number; currency?: string }): TwinSubscription
  /**
   * A new period: `customer.subscription.updated`, `invoice.paid` with billing_reason `subscription_cycle` and, as
   * at the real Stripe, `payment_intent.succeeded` of the payment behind it (`payment: false` leaves that out).
   */
  subscriptionRenews(given: { subscription: string; payment?: boolean }): TwinInvoice
  /** `customer.subscription.updated`. */
  subscriptionChanges(given: {
    subscription: string
    status?: TwinSubscription['status']
    cancelAtPeriodEnd?: boolean
  }): TwinSubscription
  /** `customer.subscription.deleted`. */
  subscriptionEnds(given: { subscription: string }): TwinSubscription
  /** `charge.dispute.created`. Default reason `'fraudulent'`. */
  disputeOpened(given: { paymentIntent: string; reason?: string }): TwinDispute
  /** `charge.dispute.closed`. */
  disputeCloses(given: { dispute: string; status: 'won' | 'lost' }): TwinDispute
}

export function createHappenings(account: () => Account): StripeHappenings {
  return {
    customerSignsUp: (given) => signUp(account(), given),
    customerChanges: (given) => changeCustomer(account(), given),
    customerDeleted: ({ customer }) => deleteCustomer(account(), customer),
    paymentSucceeds: (given) => pay(account(), given),
    paymentFails: (given) => failToPay(account(), given),
    chargeRefunded: (given) => refund(account(), given),
    subscriptionStarts: (given) => subscribe(account(), given),
    subscriptionRenews: (given) => renew(account(), given),
    subscriptionChanges: (given) => changeSubscription(account(), given),
    subscriptionEnds: ({ subscription }) => endSubscription(account(), subscription),
    disputeOpened: (given) => openDispute(account(), given),
    disputeCloses: (given) => closeDispute(account(), given),
  }
}

function signUp(account: Account, given: { email?: string; name?: string; phone?: string }): TwinCustomer {
  const customer = newCustomer(account.make(), given)
  account.state.customers.set(customer.id, customer)
  account.customerIndex.put(customer.id, customer)
  account.emit('customer.created', customer)
  return customer
}

function changeCustomer(
  account: Account,
  { customer: id, ...changes }: { customer: string; email?: string; name?: string; phone?: string },
): TwinCustomer {
  const before = liveCustomer(account, id)
  const previous = Object.fromEntries(
    Object.keys(changes).map((name) => [name, before[name as keyof typeof changes]]),
  )
  const after: TwinCustomer = { ...before, ...changes }
  account.state.customers.set(id, after)
  account.customerIndex.put(id, after)
  account.emit('customer.updated', after, { previous })
  return after
}

function deleteCustomer(account: Account, id: string): void {
  const before = liveCustomer(account, id)
  account.state.customers.set(id, { id, object: 'customer', deleted: true, created: before.created })
  account.customerIndex.delete(id)
  account.emit('customer.deleted', before)
}

function pay(account: Account, given: Payment): TwinPaymentIntent {
  const customer = payerOf(account, given)
  const { intent, charge } = charged(account, given, customer)
  account.emit('payment_intent.created', { ...intent, status: 'requires_confirmation' })
  account.emit('charge.succeeded', charge)
  account.emit('payment_intent.succeeded', intent)
  return intent
}

function failToPay(account: Account, given: Payment & { declineCode?: string }): TwinPaymentIntent {
  const customer = payerOf(account, given)
  const { intent, charge } = charged(account, given, customer, given.declineCode ?? 'insufficient_funds')
  account.emit('charge.failed', charge)
  account.emit('payment_intent.payment_failed', intent)
  return intent
}

/** A payment intent with its charge, good or declined. */
function charged(
  account: Account,
  given: Payment,
  customer: TwinCustomer | undefined,
  declineCode?: string,
): { intent: TwinPaymentIntent; charge: TwinCharge } {
  const email = given.email ?? customer?.email ?? null
  const intent = newPaymentIntent(account.make(), {
    amount: given.amount,
    currency: given.currency ?? 'usd',
    customer: customer?.id ?? null,
    email,
    description: given.description ?? null,
    metadata: given.metadata,
    ...(declineCode === undefined
      ? {}
      : {
          error: {
            type: 'card_error',
            code: 'card_declined',
            decline_code: declineCode,
            message: 'Your card was declined.',
          },
        }),
  })
  const billing = {
    email,
    name: given.name ?? customer?.name ?? null,
    phone: customer?.phone ?? null,
  }
  const charge = newCharge(account.make(), intent, billing)
  intent.latest_charge = charge.id
  account.state.paymentIntents.set(intent.id, intent)
  account.state.charges.set(charge.id, charge)
  return { intent, charge }
}

function refund(account: Account, given: { paymentIntent: string; amount?: number }): TwinRefund {
  const charge = chargeOf(account, given.paymentIntent)
  const amount = given.amount ?? charge.amount_captured - charge.amount_refunded
  const made = newRefund(account.make(), charge, { amount, reason: 'requested_by_customer' })
  charge.amount_refunded += amount
  charge.refunded = charge.amount_refunded === charge.amount_captured
  account.state.refunds.set(made.id, made)
  account.emit('refund.created', made)
  account.emit('charge.refunded', charge)
  return made
}

function subscribe(
  account: Account,
  given: { customer: string; amount: number; currency?: string },
): TwinSubscription {
  const make = account.make()
  const subscription = newSubscription(make, {
    customer: liveCustomer(account, given.customer).id,
    amount: given.amount,
    currency: given.currency ?? 'usd',
    periodEnd: make.at + MONTH_SECONDS,
  })
  account.state.subscriptions.set(subscription.id, subscription)
  account.emit('customer.subscription.created', subscription)
  bill(account, subscription, 'subscription_create', true)
  return subscription
}

function renew(account: Account, given: { subscription: string; payment?: boolean }): TwinInvoice {
  const subscription = found(account.state.subscriptions, given.subscription, 'subscription')
  const item = subscription.items.data[0]!
  const previous = {
    current_period_start: item.current_period_start,
    current_period_end: item.current_period_end,
  }
  item.current_period_start = item.current_period_end
  item.current_period_end += MONTH_SECONDS
  const invoice = bill(account, subscription, 'subscription_cycle', given.payment ?? true)
  account.emit('customer.subscription.updated', subscription, { previous })
  return invoice
}

/** The invoice of the current period, paid at once. */
function bill(
  account: Account,
  subscription: TwinSubscription,
  billingReason: 'subscription_create' | 'subscription_cycle',
  withPayment: boolean,
): TwinInvoice {
  const item = subscription.items.data[0]!
  const customer = liveCustomer(account, subscription.customer)
  const invoice = newInvoice(account.make(), {
    customer,
    amount: item.price.unit_amount,
    currency: subscription.currency,
    billingReason,
    subscription,
    periodStart: item.current_period_start,
    periodEnd: item.current_period_end,
  })
  account.state.invoices.set(invoice.id, invoice)
  subscription.latest_invoice = invoice.id
  if (withPayment) {
    const description =
      billingReason === 'subscription_create' ? 'Subscription creation' : 'Subscription update'
    pay(account, { amount: invoice.total, currency: invoice.currency, customer: customer.id, description })
  }
  account.emit('invoice.paid', invoice)
  return invoice
}

function changeSubscription(
  account: Account,
  given: { subscription: string; status?: TwinSubscription['status']; cancelAtPeriodEnd?: boolean },
): TwinSubscription {
  const subscription = found(account.state.subscriptions, given.subscription, 'subscription')
  const previous = { status: subscription.status, cancel_at_period_end: subscription.cancel_at_period_end }
  subscription.status = given.status ?? subscription.status
  subscription.cancel_at_period_end = given.cancelAtPeriodEnd ?? subscription.cancel_at_period_end
  account.emit('customer.subscription.updated', subscription, { previous })
  return subscription
}

function endSubscription(account: Account, id: string): TwinSubscription {
  const subscription = found(account.state.subscriptions, id, 'subscription')
  const { at } = account.make()
  subscription.status = 'canceled'
  subscription.canceled_at = at
  subscription.ended_at = at
  subscription.cancellation_details.reason = 'cancellation_requested'
  account.emit('customer.subscription.deleted', subscription)
  return subscription
}

function openDispute(account: Account, given: { paymentIntent: string; reason?: string }): TwinDispute {
  const charge = chargeOf(account, given.paymentIntent)
  const make = account.make()
  const dispute = newDispute(make, charge, {
    reason: given.reason ?? 'fraudulent',
    dueBy: make.at + DISPUTE_RESPONSE_SECONDS,
  })
  charge.disputed = true
  account.state.disputes.set(dispute.id, dispute)
  account.emit('charge.dispute.created', dispute)
  return dispute
}

function closeDispute(account: Account, given: { dispute: string; status: 'won' | 'lost' }): TwinDispute {
  const dispute = found(account.state.disputes, given.dispute, 'dispute')
  dispute.status = given.status
  dispute.evidence_details.due_by = null
  account.emit('charge.dispute.closed', dispute)
  return dispute
}

function payerOf(account: Account, given: Payment): TwinCustomer | undefined {
  if (given.customer !== undefined) return liveCustomer(account, given.customer)
  if (given.email === undefined) return undefined
  for (const one of account.state.customers.values())
    if (!('deleted' in one) && one.email === given.email) return one
  return signUp(account, { email: given.email, name: given.name })
}

function liveCustomer(account: Account, id: string): TwinCustomer {
  const customer = found(account.state.customers, id, 'customer')
  if ('deleted' in customer) throw new UsageError('twin_customer_deleted', `The customer ${id} is deleted.`)
  return customer
}

function chargeOf(account: Account, paymentIntent: string): TwinCharge {
  const intent = found(account.state.paymentIntents, paymentIntent, 'payment intent')
  return found(account.state.charges, intent.latest_charge ?? '', 'charge')
}

function found<T>(map: ReadonlyMap<string, T>, id: string, kind: string): T {
  const value = map.get(id)
  if (value === undefined) throw new UsageError('twin_not_found', `The Stripe twin has no ${kind} ${id}.`)
  return value
}
