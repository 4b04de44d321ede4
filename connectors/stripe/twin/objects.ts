/**
 * Stripe's objects as API version 2026-10-28.endive renders them, every field that the type declarations of stripe
 * 23.1.0 call required. The connector's test holds them against those types.
 */

/** What every object is made of. */
export interface Making {
  /** A new id with this prefix. */
  readonly id: (prefix: string) => string
  /** Seconds since 1970. */
  readonly at: number
}

const NO_ADDRESS = { city: null, country: null, line1: null, line2: null, postal_code: null, state: null }

export type Metadata = Record<string, string>

export function newCustomer(
  make: Making,
  given: {
    email?: string | null
    name?: string | null
    phone?: string | null
    description?: string | null
    metadata?: Metadata
  },
) {
  return {
    id: make.id('cus_'),
    object: 'customer' as const,
    address: null,
    balance: 0,
    created: make.at,
    currency: null as string | null,
    default_source: null,
    delinquent: false,
    description: given.description ?? null,
    discount: null,
    email: given.email ?? null,
    invoice_prefix: make.id('').slice(0, 8).toUpperCase(),
    invoice_settings: {
      custom_fields: null,
      default_payment_method: null,
      footer: null,
      rendering_options: null,
    },
    livemode: false,
    metadata: given.metadata ?? {},
    name: given.name ?? null,
    next_invoice_sequence: 1,
    phone: given.phone ?? null,
    preferred_locales: [] as string[],
    shipping: null,
    tax_exempt: 'none' as const,
    test_clock: null,
  }
}
export type TwinCustomer = ReturnType<typeof newCustomer>

export interface PaymentError {
  readonly type: 'card_error'
  readonly code: string
  readonly decline_code: string
  readonly message: string
}

export function newPaymentIntent(
  make: Making,
  given: {
    amount: number
    currency: string
    customer: string | null
    email: string | null
    description: string | null
    metadata?: Metadata
    error?: PaymentError
  },
) {
  const id = make.id('pi_')
  return {
    id,
    object: 'payment_intent' as const,
    allowed_payment_method_types: null,
    amount: given.amount,
    amount_capturable: 0,
    amount_details: { tip: {} },
    amount_received: given.error ? 0 : given.amount,
    application: null,
    application_fee_amount: null,
    automatic_payment_methods: { enabled: true, allow_redirects: 'always' as const },
    canceled_at: null,
    cancellation_reason: null,
    capture_method: 'automatic_async' as const,
    client_secret: `${id}_secret_${make.id('')}`,
    confirmation_method: 'automatic' as const,
    created: make.at,
    currency: given.currency,
    customer: given.customer,
    customer_account: null,
    description: given.description,
    excluded_payment_method_types: null,
    last_payment_error: given.error ?? null,
    latest_charge: null as string | null,
    livemode: false,
    managed_payments: null,
    metadata: given.metadata ?? {},
    next_action: null,
    on_behalf_of: null,
    payment_method: given.error ? null : make.id('pm_'),
    payment_method_configuration_details: null,
    payment_method_options: {
      card: {
        installments: null,
        mandate_options: null,
        network: null,
        request_three_d_secure: 'automatic' as const,
      },
    },
    payment_method_types: ['card', 'link'],
    payment_record: null,
    processing: null,
    receipt_email: given.email,
    review: null,
    setup_future_usage: null,
    shipping: null,
    source: null,
    statement_descriptor: null,
    statement_descriptor_suffix: null,
    status: given.error ? ('requires_payment_method' as const) : ('succeeded' as const),
    transfer_data: null,
    transfer_group: null,
  }
}
export type TwinPaymentIntent = ReturnType<typeof newPaymentIntent>

export function newCharge(
  make: Making,
  intent: TwinPaymentIntent,
  billing: { email: string | null; name: string | null; phone: string | null },
) {
  const id = make.id('ch_')
  const failed = intent.last_payment_error
  return {
    id,
    object: 'charge' as const,
    amount: intent.amount,
    amount_captured: failed ? 0 : intent.amount,
    amount_refunded: 0,
    application: null,
    application_fee: null,
    application_fee_amount: null,
    balance_transaction: failed ? null : make.id('txn_'),
    billing_details: { address: NO_ADDRESS, ...billing, tax_id: null },
    calculated_statement_descriptor: 'TWIN SALON',
    captured: !failed,
    created: make.at,
    currency: intent.currency,
    customer: intent.customer,
    description: intent.description,
    disputed: false,
    failure_balance_transaction: null,
    failure_code: failed?.code ?? null,
    failure_message: failed?.message ?? null,
    fraud_details: {},
    livemode: false,
    metadata: {} as Metadata,
    on_behalf_of: null,
    outcome: {
      advice_code: null,
      network_advice_code: null,
      network_decline_code: null,
      network_status: failed ? 'declined_by_network' : 'approved_by_network',
      reason: failed?.decline_code ?? null,
      risk_level: 'normal',
      risk_score: 23,
      seller_message: failed ? 'The bank declined the payment.' : 'Payment complete.',
      type: failed ? 'issuer_declined' : 'authorized',
    },
    paid: !failed,
    payment_intent: intent.id,
    payment_method: intent.payment_method,
    payment_method_details: null,
    receipt_email: intent.receipt_email,
    receipt_number: null,
    receipt_url: failed ? null : `https://pay.stripe.com/receipts/${id}`,
    refunded: false,
    review: null,
    shipping: null,
    source: null,
    source_transfer: null,
    statement_descriptor: null,
    statement_descriptor_suffix: null,
    status: failed ? ('failed' as const) : ('succeeded' as const),
    transfer_data: null,
    transfer_group: null,
  }
}
export type TwinCharge = ReturnType<typeof newCharge>

export function newRefund(
  make: Making,
  charge: TwinCharge,
  given: { amount: number; reason: string | null; metadata?: Metadata },
) {
  return {
    id: make.id('re_'),
    object: 'refund' as const,
    amount: given.amount,
    balance_transaction: make.id('txn_'),
    charge: charge.id,
    created: make.at,
    currency: charge.currency,
    customer: charge.customer,
    customer_account: null,
    destination_details: {
      type: 'card',
      card: {
        reference_status: 'pending',
        reference_type: 'acquirer_reference_number',
        type: 'refund' as const,
      },
    },
    metadata: given.metadata ?? {},
    payment_intent: charge.payment_intent,
    payment_method: charge.payment_method,
    reason: given.reason,
    receipt_number: null,
    source_transfer_reversal: null,
    status: 'succeeded',
    transfer_reversal: null,
  }
}
export type TwinRefund = ReturnType<typeof newRefund>

const TEXT_EVIDENCE = [
  'access_activity_log',
  'billing_address',
  'cancellation_policy',
  'cancellation_policy_disclosure',
  'cancellation_rebuttal',
  'customer_communication',
  'customer_email_address',
  'customer_name',
  'customer_purchase_ip',
  'customer_signature',
  'duplicate_charge_documentation',
  'duplicate_charge_explanation',
  'duplicate_charge_id',
  'product_description',
  'receipt',
  'refund_policy',
  'refund_policy_disclosure',
  'refund_refusal_explanation',
  'service_date',
  'service_documentation',
  'shipping_address',
  'shipping_carrier',
  'shipping_date',
  'shipping_documentation',
  'shipping_tracking_number',
  'uncategorized_file',
  'uncategorized_text',
] as const

/** Names of the texts and files that evidence may have. */
export const EVIDENCE_FIELDS: readonly string[] = TEXT_EVIDENCE

type EvidenceField = (typeof TEXT_EVIDENCE)[number]

export function newDispute(make: Making, charge: TwinCharge, given: { reason: string; dueBy: number }) {
  const texts = Object.fromEntries(TEXT_EVIDENCE.map((name) => [name, null])) as Record<
    EvidenceField,
    string | null
  >
  return {
    id: make.id('du_'),
    object: 'dispute' as const,
    amount: charge.amount,
    balance_transactions: [],
    charge: charge.id,
    created: make.at,
    currency: charge.currency,
    enhanced_eligibility_types: [],
    evidence: { ...texts, enhanced_evidence: {} },
    evidence_details: {
      due_by: given.dueBy as number | null,
      enhanced_eligibility: {},
      has_evidence: false,
      past_due: false,
      submission_count: 0,
      submission_method: 'manual' as const,
    },
    intended_submission_method: null,
    is_charge_refundable: false,
    livemode: false,
    metadata: {} as Metadata,
    network_reason_code: '10.4',
    payment_intent: charge.payment_intent,
    payment_method_details: {
      type: 'card' as const,
      card: { brand: 'visa', case_type: 'chargeback' as const, network: 'visa', network_reason_code: '10.4' },
    },
    reason: given.reason,
    status: 'needs_response' as string,
  }
}
export type TwinDispute = ReturnType<typeof newDispute>
