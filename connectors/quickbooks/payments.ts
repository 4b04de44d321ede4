import { z } from 'zod'
import { defineOperation } from 'trestle'
import { payment, type Payment } from './contracts.ts'
import { day, decimal, markedMemo, toNumber, writeRequest } from './requests.ts'
import { madeOnce, readRequest, transactionOf, voidedOnce, voidInput } from './transactions.ts'

const createInput = z.object({
  /** The customer's id. */
  customer: z.string().min(1),
  /** Exact decimal text, such as `minorToDecimal(1999, 'usd')` gives. */
  amount: decimal,
  /** ISO 4217; needed only in companies that use several currencies. */
  currency: z.string().length(3).optional(),
  /** The day of the payment. Default: the company's today. */
  date: day.optional(),
  /** A number that people know it by, such as the payment's id elsewhere. At most 21 characters. */
  reference: z.string().max(21).optional(),
  /** For the books only; customers never see it. Our reference is added at its end. */
  memo: z.string().optional(),
  /** Invoices that it pays, and how much of each. What is not applied stays as the customer's credit. */
  applyTo: z.array(z.object({ invoice: z.string().min(1), amount: decimal })).optional(),
  /** The id of the account that it goes to. Default: Undeposited Funds. */
  depositTo: z.string().optional(),
  /** The id of the payment method. */
  method: z.string().optional(),
})

/**
 * Records a payment received from a customer.
 * Source: https://developer.intuit.com/app/developer/qbo/docs/api/accounting/all-entities/payment, read 2026-11-22.
 */
export const createPayment = defineOperation({
  summary: 'record a payment',
  input: createInput,
  output: payment,
  idempotency: madeOnce<z.infer<typeof createInput>, Payment>('Payment'),
  request: (input, context) =>
    writeRequest(context, {
      path: '/payment',
      json: {
        CustomerRef: { value: input.customer },
        TotalAmt: toNumber(input.amount),
        PrivateNote: markedMemo(input.memo, context.idempotencyKey),
        ...(input.currency === undefined ? {} : { CurrencyRef: { value: input.currency.toUpperCase() } }),
        ...(input.date === undefined ? {} : { TxnDate: input.date }),
        ...(input.reference === undefined ? {} : { PaymentRefNum: input.reference }),
        ...(input.depositTo === undefined ? {} : { DepositToAccountRef: { value: input.depositTo } }),
        ...(input.method === undefined ? {} : { PaymentMethodRef: { value: input.method } }),
        ...(input.applyTo === undefined
          ? {}
          : {
              Line: input.applyTo.map(({ invoice, amount }) => ({
                Amount: toNumber(amount),
                LinkedTxn: [{ TxnId: invoice, TxnType: 'Invoice' }],
              })),
            }),
      },
    }),
  answer: (answer) => transactionOf(answer, 'Payment'),
  describe: ({ amount, currency }, made) =>
    `payment of ${amount}${currency === undefined ? '' : ` ${currency.toUpperCase()}`} by customer ${made.CustomerRef.name ?? made.CustomerRef.value}`,
})

/** Reads a payment by id. */
export const retrievePayment = defineOperation({
  summary: 'read a payment',
  input: z.object({ id: z.string().min(1) }),
  output: payment,
  idempotency: { kind: 'natural' },
  request: ({ id }, context) => readRequest('Payment', id, context),
  answer: (answer) => transactionOf(answer, 'Payment'),
})

/**
 * Voids a payment: it stays in the books with all amounts zero. A payment that was deposited must first be taken out
 * of its deposit (6540).
 * Source: https://developer.intuit.com/app/developer/qbo/docs/api/accounting/all-entities/payment#void-a-payment,
 * read 2026-11-22.
 */
export const voidPayment = defineOperation({
  summary: 'void a payment',
  input: voidInput,
  output: payment,
  idempotency: voidedOnce<Payment>('Payment'),
  request: ({ id, syncToken }, context) =>
    writeRequest(context, {
      path: '/payment',
      query: { operation: 'update', include: 'void' },
      json: { Id: id, SyncToken: syncToken, sparse: true },
    }),
  answer: (answer) => transactionOf(answer, 'Payment'),
  describe: ({ id }) => `payment ${id} voided`,
})
