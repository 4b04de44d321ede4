import { z } from 'zod'
import { defineOperation } from 'trestle'
import { payment, type Payment } from './contracts.ts'
import { listOperation } from './lists.ts'
import {
  day,
  endedOnce,
  findMarked,
  firstOf,
  id,
  markedReference,
  markOf,
  once,
  PAGE_LIMIT,
  readRequest,
  sinceBegun,
  tenantRequest,
} from './requests.ts'

const createInput = z.object({
  /** The id of an authorised invoice. */
  invoice: id,
  /** Exact decimal text in the invoice's currency, such as `minorToDecimal(1999, 'nzd')` gives. */
  amount: z.string().regex(/^\d{1,13}(\.\d{1,2})?$/),
  /** The code of the account that it goes to: a bank account, or one that payments are enabled for. */
  accountCode: z.string().min(1),
  /** The day of the payment. Default: the organisation's today. */
  date: day.optional(),
  /** What people know it by. Our mark is added at its end. */
  reference: z.string().optional(),
})

/**
 * Records a payment of an invoice.
 * Source: https://developer.xero.com/documentation/api/accounting/payments, by xero-node 20.0.0 (createPayment), read
 * 2026-11-22.
 */
export const createPayment = defineOperation({
  summary: 'record a payment',
  input: createInput,
  output: payment,
  idempotency: once<z.infer<typeof createInput>, Payment>({
    request: (_input, context) =>
      tenantRequest(context, {
        method: 'GET',
        path: '/Payments',
        query: { page: 1, pageSize: PAGE_LIMIT },
        headers: sinceBegun(context),
      }),
    found: (answer, _input, { idempotencyKey }) =>
      findMarked(answer, { kind: 'Payment', mark: markOf(idempotencyKey) }, 'Reference'),
  }),
  request: (input, context) =>
    tenantRequest(context, {
      method: 'PUT',
      path: '/Payments',
      body: {
        json: {
          Payments: [
            {
              Invoice: { InvoiceID: input.invoice },
              Account: { Code: input.accountCode },
              Amount: Number(input.amount),
              Reference: markedReference(input.reference, context.idempotencyKey),
              ...(input.date === undefined ? {} : { Date: input.date }),
            },
          ],
        },
      },
    }),
  answer: (answer) => firstOf(answer, 'Payment'),
  describe: ({ amount, invoice }, made) =>
    `payment of ${amount} for invoice ${made.Invoice?.InvoiceNumber ?? invoice}`,
})

/** Reads a payment by id. */
export const retrievePayment = defineOperation({
  summary: 'read a payment',
  input: z.object({ id }),
  output: payment,
  idempotency: { kind: 'natural' },
  request: (input, context) => readRequest('Payment', input.id, context),
  answer: (answer) => firstOf(answer, 'Payment'),
  describe: (_input, found) => `payment of ${found.Amount}`,
})

/** Payments, deleted ones too, longest unchanged first. */
export const listPayments = listOperation('Payment', payment)

/** Takes a payment back: the invoice is owed again. A payment that was reconciled with the bank cannot be. */
export const deletePayment = defineOperation({
  summary: 'take a payment back',
  input: z.object({ id }),
  output: payment,
  idempotency: endedOnce<Payment>('Payment', 'DELETED'),
  request: (input, context) =>
    tenantRequest(context, {
      method: 'POST',
      path: `/Payments/${encodeURIComponent(input.id)}`,
      body: { json: { Status: 'DELETED' } },
    }),
  answer: (answer) => firstOf(answer, 'Payment'),
  describe: (_input, changed) => `payment of ${changed.Amount} taken back`,
})
