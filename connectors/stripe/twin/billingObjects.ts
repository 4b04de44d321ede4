/** Subscriptions and invoices, as objects.ts has the rest. */
import type { Making, Metadata, TwinCustomer } from './objects.ts'

export function newSubscription(
  make: Making,
  given: { customer: string; amount: number; currency: string; periodEnd: number; metadata?: Metadata },
) {
  const id = make.id('sub_')
  const product = make.id('prod_')
  const price = make.id('price_')
  return {
    id,
    object: 'subscription' as const,
    application: null,
    application_fee_percent: null,
    automatic_tax: { disabled_reason: null, enabled: false, liability: null },
    billing_cycle_anchor: make.at,
    billing_cycle_anchor_config: null,
    billing_mode: { flexible: { proration_discounts: 'included' as const }, type: 'flexible' as const },
    billing_schedules: [],
    billing_thresholds: null,
    cancel_at: null,
    cancel_at_period_end: false,
    canceled_at: null as number | null,
    cancellation_details: {
      comment: null,
      feedback: null,
      feedback_option: null,
      reason: null as 'cancellation_requested' | null,
    },
    collection_method: 'charge_automatically' as const,
    created: make.at,
    currency: given.currency,
    customer: given.customer,
    customer_account: null,
    days_until_due: null,
    default_payment_method: make.id('pm_'),
    default_source: null,
    default_tax_rates: [],
    description: null,
    discounts: [],
    ended_at: null as number | null,
    invoice_settings: {
      account_tax_ids: null,
      custom_fields: null,
      description: null,
      footer: null,
      issuer: { type: 'self' as const },
    },
    items: {
      object: 'list' as const,
      data: [
        {
          id: make.id('si_'),
          object: 'subscription_item' as const,
          billing_thresholds: null,
          created: make.at,
          current_period_end: given.periodEnd,
          current_period_start: make.at,
          current_trial: null,
          discounts: [],
          metadata: {} as Metadata,
          plan: newPlan(make, { id: price, product, amount: given.amount, currency: given.currency }),
          price: newPrice(make, { id: price, product, amount: given.amount, currency: given.currency }),
          quantity: 1,
          subscription: id,
          tax_rates: [],
        },
      ],
      has_more: false,
      total_count: 1,
      url: `/v1/subscription_items?subscription=${id}`,
    },
    latest_invoice: null as string | null,
    livemode: false,
    managed_payments: null,
    metadata: given.metadata ?? {},
    next_pending_invoice_item_invoice: null,
    on_behalf_of: null,
    pause_collection: null,
    payment_settings: {
      payment_method_options: null,
      payment_method_types: null,
      save_default_payment_method: 'off' as const,
    },
    pending_invoice_item_interval: null,
    pending_setup_intent: null,
    pending_update: null,
    schedule: null,
    start_date: make.at,
    status: 'active' as 'active' | 'past_due' | 'canceled' | 'paused',
    test_clock: null,
    transfer_data: null,
    trial_end: null,
    trial_settings: {
      end_behavior: { billing_cycle_anchor: null, missing_payment_method: 'create_invoice' as const },
    },
    trial_start: null,
  }
}
export type TwinSubscription = ReturnType<typeof newSubscription>

interface PriceFacts {
  readonly id: string
  readonly product: string
  readonly amount: number
  readonly currency: string
}

function newPlan(make: Making, { id, product, amount, currency }: PriceFacts) {
  return {
    id,
    object: 'plan' as const,
    active: true,
    amount,
    amount_decimal: String(amount),
    billing_scheme: 'per_unit' as const,
    created: make.at,
    currency,
    interval: 'month' as const,
    interval_count: 1,
    livemode: false,
    metadata: {},
    meter: null,
    nickname: null,
    product,
    tiers_mode: null,
    transform_usage: null,
    trial_period_days: null,
    usage_type: 'licensed' as const,
  }
}

function newPrice(make: Making, { id, product, amount, currency }: PriceFacts) {
  return {
    id,
    object: 'price' as const,
    active: true,
    billing_scheme: 'per_unit' as const,
    created: make.at,
    currency,
    custom_unit_amount: null,
    livemode: false,
    lookup_key: null,
    metadata: {},
    nickname: null,
    product,
    recurring: {
      interval: 'month' as const,
      interval_count: 1,
      meter: null,
      trial_period_days: null,
      usage_type: 'licensed' as const,
    },
    tax_behavior: 'unspecified' as const,
    tiers_mode: null,
    transform_quantity: null,
    type: 'recurring' as const,
    unit_amount: amount,
    unit_amount_decimal: String(amount),
  }
}

export function newInvoice(
  make: Making,
  given: {
    customer: TwinCustomer
    amount: number
    currency: string
    billingReason: 'subscription_create' | 'subscription_cycle' | 'manual'
    subscription: TwinSubscription | undefined
    periodStart: number
    periodEnd: number
  },
) {
  const id = make.id('in_')
  const { customer, amount, currency, subscription } = given
  const sequence = customer.next_invoice_sequence++
  return {
    id,
    object: 'invoice' as const,
    account_country: 'US',
    account_name: 'Twin Salon',
    account_tax_ids: null,
    amount_due: amount,
    amount_overpaid: 0,
    amount_paid: amount,
    amount_remaining: 0,
    amount_shipping: 0,
    application: null,
    attempt_count: 1,
    attempted: true,
    auto_advance: false,
    automatic_tax: { disabled_reason: null, enabled: false, liability: null, provider: null, status: null },
    automatically_finalizes_at: null,
    billing_reason: given.billingReason,
    collection_method: 'charge_automatically' as const,
    created: make.at,
    currency,
    custom_fields: null,
    customer: customer.id,
    customer_account: null,
    customer_address: null,
    customer_email: customer.email,
    customer_name: customer.name,
    customer_phone: customer.phone,
    customer_shipping: null,
    customer_tax_exempt: 'none' as const,
    customer_tax_ids: [],
    default_payment_method: null,
    default_source: null,
    default_tax_rates: [],
    description: null,
    discounts: [],
    due_date: null,
    effective_at: make.at,
    ending_balance: 0,
    footer: null,
    from_invoice: null,
    hosted_invoice_url: `https://invoice.stripe.com/i/twin/${id}`,
    invoice_pdf: `https://pay.stripe.com/invoice/twin/${id}/pdf`,
    issuer: { type: 'self' as const },
    last_finalization_error: null,
    latest_revision: null,
    lines: {
      object: 'list' as const,
      data: [
        newInvoiceLine(make, {
          invoice: id,
          amount,
          currency,
          subscription,
          periodStart: given.periodStart,
          periodEnd: given.periodEnd,
        }),
      ],
      has_more: false,
      total_count: 1,
      url: `/v1/invoices/${id}/lines`,
    },
    livemode: false,
    metadata: {} as Metadata,
    next_payment_attempt: null,
    number: `${customer.invoice_prefix}-${String(sequence).padStart(4, '0')}`,
    on_behalf_of: null,
    parent: subscription
      ? {
          quote_details: null,
          subscription_details: { metadata: subscription.metadata, subscription: subscription.id },
          type: 'subscription_details' as const,
        }
      : null,
    payment_settings: { default_mandate: null, payment_method_options: null, payment_method_types: null },
    period_end: given.periodEnd,
    period_start: given.periodStart,
    post_payment_credit_notes_amount: 0,
    pre_payment_credit_notes_amount: 0,
    receipt_number: null,
    rendering: null,
    shipping_cost: null,
    shipping_details: null,
    starting_balance: 0,
    statement_descriptor: null,
    status: 'paid' as const,
    status_transitions: {
      finalized_at: make.at,
      marked_uncollectible_at: null,
      paid_at: make.at,
      voided_at: null,
    },
    subtotal: amount,
    subtotal_excluding_tax: amount,
    test_clock: null,
    total: amount,
    total_discount_amounts: [],
    total_excluding_tax: amount,
    total_pretax_credit_amounts: [],
    total_taxes: [],
    webhooks_delivered_at: make.at,
  }
}
export type TwinInvoice = ReturnType<typeof newInvoice>

function newInvoiceLine(
  make: Making,
  given: {
    invoice: string
    amount: number
    currency: string
    subscription: TwinSubscription | undefined
    periodStart: number
    periodEnd: number
  },
) {
  const item = given.subscription?.items.data[0]
  return {
    id: make.id('il_'),
    object: 'line_item' as const,
    amount: given.amount,
    currency: given.currency,
    description: '1 × Membership',
    discount_amounts: [],
    discountable: true,
    discounts: [],
    invoice: given.invoice,
    livemode: false,
    metadata: {} as Metadata,
    parent: item
      ? {
          invoice_item_details: null,
          subscription_item_details: {
            invoice_item: null,
            proration: false,
            proration_details: { credited_items: null },
            subscription: item.subscription,
            subscription_item: item.id,
          },
          type: 'subscription_item_details' as const,
        }
      : null,
    period: { end: given.periodEnd, start: given.periodStart },
    pretax_credit_amounts: [],
    pricing: item
      ? {
          price_details: { price: item.price.id, product: item.price.product },
          type: 'price_details' as const,
          unit_amount_decimal: String(given.amount),
        }
      : null,
    quantity: 1,
    quantity_decimal: '1',
    subscription: item?.subscription ?? null,
    subtotal: given.amount,
    taxes: [],
  }
}
