import { z } from 'zod'
import { defineOperation } from 'trestle'
import { invoice, type Invoice } from './contracts.ts'
import { listOperation } from './lists.ts'
import {
  day,
  decimal,
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

const line = z.object({
  description: z.string().min(1).max(4000),
  /** Default 1. */
  quantity: decimal.optional(),
  /** Exact decimal text, at most four places. */
  unitAmount: decimal,
  /** The code of the account, such as `200`. An invoice that is not a draft needs one for every line. */
  accountCode: z.string().optional(),
  itemCode: z.string().optional(),
  /** Such as `OUTPUT2` or `NONE`. Default: the account's. */
  taxType: z.string().optional(),
})

const createInput = z.object({
  /** The contact's id. */
  contact: id,
  lines: z.array(line).min(1),
  /** `ACCREC` (default): to a customer. `ACCPAY`: a bill from a supplier. */
  type: z.enum(['ACCREC', 'ACCPAY']).optional(),
  /** Default `DRAFT`. Only an authorised one can be paid. */
  status: z.enum(['DRAFT', 'SUBMITTED', 'AUTHORISED']).optional(),
  /** Whether unit amounts hold the tax. Default `Exclusive`. */
  lineAmounts: z.enum(['Exclusive', 'Inclusive', 'NoTax']).optional(),
  date: day.optional(),
  /** An invoice that is not a draft needs one. */
  dueDate: day.optional(),
  /** Unique among customers' invoices; one that is taken fails (`validation`). Default: the organisation's next. */
  number: z.string().max(255).optional(),
  /** Printed on the invoice. Our mark is added at its end. */
  reference: z.string().optional(),
  /** ISO 4217. Default: the organisation's. */
  currency: z.string().length(3).optional(),
})

/**
 * Creates an invoice. By `PUT`, which never changes an invoice that is there; `POST` would, where the number is taken.
 * Source: https://developer.xero.com/documentation/api/accounting/invoices, by xero-node 20.0.0 and
 * https://github.com/freakboy3742/pyxero/issues/328, read 2026-11-22.
 */
export const createInvoice = defineOperation({
  summary: 'create an invoice',
  input: createInput,
  output: invoice,
  idempotency: once<z.infer<typeof createInput>, Invoice>({
    request: (input, context) =>
      tenantRequest(context, {
        method: 'GET',
        path: '/Invoices',
        query: { ContactIDs: input.contact, page: 1, pageSize: PAGE_LIMIT },
        headers: sinceBegun(context),
      }),
    found: (answer, _input, { idempotencyKey }) =>
      findMarked(answer, { kind: 'Invoice', mark: markOf(idempotencyKey) }, 'Reference'),
  }),
  request: (input, context) =>
    tenantRequest(context, {
      method: 'PUT',
      path: '/Invoices',
      // Four decimal places of unit amounts are kept; Xero would round to two.
      query: { unitdp: 4 },
      body: {
        json: {
          Invoices: [
            {
              Type: input.type ?? 'ACCREC',
              Contact: { ContactID: input.contact },
              LineItems: input.lines.map(lineOf),
              Status: input.status ?? 'DRAFT',
              LineAmountTypes: input.lineAmounts ?? 'Exclusive',
              Reference: markedReference(input.reference, context.idempotencyKey),
              ...(input.date === undefined ? {} : { Date: input.date }),
              ...(input.dueDate === undefined ? {} : { DueDate: input.dueDate }),
              ...(input.number === undefined ? {} : { InvoiceNumber: input.number }),
              ...(input.currency === undefined ? {} : { CurrencyCode: input.currency.toUpperCase() }),
            },
          ],
        },
      },
    }),
  answer: (answer) => firstOf(answer, 'Invoice'),
  describe: (_input, made) =>
    `invoice ${nameOf(made)} over ${made.Total} for contact ${made.Contact.Name ?? made.Contact.ContactID}`,
})

/** Reads an invoice by id. */
export const retrieveInvoice = defineOperation({
  summary: 'read an invoice',
  input: z.object({ id }),
  output: invoice,
  idempotency: { kind: 'natural' },
  request: (input, context) => readRequest('Invoice', input.id, context),
  answer: (answer) => firstOf(answer, 'Invoice'),
  describe: (_input, found) => `invoice ${nameOf(found)}`,
})

/** Invoices of every status, longest unchanged first. */
export const listInvoices = listOperation('Invoice', invoice)

/** Voids an authorised invoice that has no payments: it stays in the books without effect. */
export const voidInvoice = ended('VOIDED', 'void an invoice', 'voided')

/** Deletes an invoice that is a draft or submitted; an authorised one is voided. */
export const deleteInvoice = ended('DELETED', 'delete a draft of an invoice', 'deleted')

function ended(status: 'VOIDED' | 'DELETED', summary: string, done: string) {
  return defineOperation({
    summary,
    input: z.object({ id }),
    output: invoice,
    idempotency: endedOnce<Invoice>('Invoice', status),
    request: (input, context) =>
      tenantRequest(context, {
        method: 'POST',
        path: `/Invoices/${encodeURIComponent(input.id)}`,
        body: { json: { Invoices: [{ InvoiceID: input.id, Status: status }] } },
      }),
    answer: (answer) => firstOf(answer, 'Invoice'),
    describe: (_input, changed) => `invoice ${nameOf(changed)} ${done}`,
  })
}

function nameOf({ InvoiceNumber, InvoiceID }: Invoice): string {
  return InvoiceNumber === undefined || InvoiceNumber === '' ? InvoiceID : InvoiceNumber
}

function lineOf(given: z.infer<typeof line>) {
  return {
    Description: given.description,
    Quantity: Number(given.quantity ?? '1'),
    UnitAmount: Number(given.unitAmount),
    ...(given.accountCode === undefined ? {} : { AccountCode: given.accountCode }),
    ...(given.itemCode === undefined ? {} : { ItemCode: given.itemCode }),
    ...(given.taxType === undefined ? {} : { TaxType: given.taxType }),
  }
}
