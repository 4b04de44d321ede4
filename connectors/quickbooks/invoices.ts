import { z } from 'zod'
import { defineOperation } from 'trestle'
import { invoice, type Invoice } from './contracts.ts'
import { day, decimal, markedMemo, toNumber, writeRequest } from './requests.ts'
import { madeOnce, readRequest, transactionOf, voidedOnce, voidInput } from './transactions.ts'

const line = z.object({
  /** Exact decimal text. Where quantity and unit price are given it must be their product. */
  amount: decimal,
  description: z.string().max(4000).optional(),
  /** The id of the product or service. Default: the company's own. */
  item: z.string().optional(),
  quantity: decimal.optional(),
  unitPrice: decimal.optional(),
})

const createInput = z.object({
  /** The customer's id. */
  customer: z.string().min(1),
  lines: z.array(line).min(1),
  /** ISO 4217; needed only in companies that use several currencies. */
  currency: z.string().length(3).optional(),
  date: day.optional(),
  dueDate: day.optional(),
  /** The invoice's number, at most 21 characters. Default: the company's next. A number that is taken fails (6140). */
  number: z.string().max(21).optional(),
  /** Where QuickBooks would send it; it is not sent by this. */
  email: z.string().optional(),
  /** Printed on the invoice. */
  message: z.string().max(1000).optional(),
  /** For the books only; customers never see it. Our reference is added at its end. */
  memo: z.string().optional(),
})

/**
 * Creates an invoice.
 * Source: https://developer.intuit.com/app/developer/qbo/docs/api/accounting/all-entities/invoice, read 2026-11-22.
 */
export const createInvoice = defineOperation({
  summary: 'create an invoice',
  input: createInput,
  output: invoice,
  idempotency: madeOnce<z.infer<typeof createInput>, Invoice>('Invoice'),
  request: (input, context) =>
    writeRequest(context, {
      path: '/invoice',
      json: {
        CustomerRef: { value: input.customer },
        Line: input.lines.map(lineOf),
        PrivateNote: markedMemo(input.memo, context.idempotencyKey),
        ...(input.currency === undefined ? {} : { CurrencyRef: { value: input.currency.toUpperCase() } }),
        ...(input.date === undefined ? {} : { TxnDate: input.date }),
        ...(input.dueDate === undefined ? {} : { DueDate: input.dueDate }),
        ...(input.number === undefined ? {} : { DocNumber: input.number }),
        ...(input.email === undefined ? {} : { BillEmail: { Address: input.email } }),
        ...(input.message === undefined ? {} : { CustomerMemo: { value: input.message } }),
      },
    }),
  answer: (answer) => transactionOf(answer, 'Invoice'),
  describe: (_input, made) =>
    `invoice ${made.DocNumber ?? made.Id} over ${made.TotalAmt} for customer ${made.CustomerRef.name ?? made.CustomerRef.value}`,
})

/** Reads an invoice by id. */
export const retrieveInvoice = defineOperation({
  summary: 'read an invoice',
  input: z.object({ id: z.string().min(1) }),
  output: invoice,
  idempotency: { kind: 'natural' },
  request: ({ id }, context) => readRequest('Invoice', id, context),
  answer: (answer) => transactionOf(answer, 'Invoice'),
  describe: (_input, found) => `invoice ${found.DocNumber ?? found.Id}`,
})

/**
 * Voids an invoice: it stays in the books with all amounts zero.
 * Source: https://developer.intuit.com/app/developer/qbo/docs/api/accounting/all-entities/invoice#void-an-invoice,
 * read 2026-11-22.
 */
export const voidInvoice = defineOperation({
  summary: 'void an invoice',
  input: voidInput,
  output: invoice,
  idempotency: voidedOnce<Invoice>('Invoice'),
  request: ({ id, syncToken }, context) =>
    writeRequest(context, {
      path: '/invoice',
      query: { operation: 'void' },
      json: { Id: id, SyncToken: syncToken },
    }),
  answer: (answer) => transactionOf(answer, 'Invoice'),
  describe: ({ id }) => `invoice ${id} voided`,
})

function lineOf(line: z.infer<typeof createInput>['lines'][number]) {
  return {
    DetailType: 'SalesItemLineDetail',
    Amount: toNumber(line.amount),
    ...(line.description === undefined ? {} : { Description: line.description }),
    SalesItemLineDetail: {
      ...(line.item === undefined ? {} : { ItemRef: { value: line.item } }),
      ...(line.quantity === undefined ? {} : { Qty: toNumber(line.quantity) }),
      ...(line.unitPrice === undefined ? {} : { UnitPrice: toNumber(line.unitPrice) }),
    },
  }
}
