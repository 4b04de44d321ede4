import { z } from 'zod'
import { definePollSource, type Operation } from 'trestle'
import { listContacts } from './contacts.ts'
import { contact, invoice, payment } from './contracts.ts'
import { listInvoices } from './invoices.ts'
import { PAGE_SIZE } from './lists.ts'
import { listPayments } from './payments.ts'
import { timeOf } from './requests.ts'

/** A moment that can be read. */
const moment = z.string().refine((date) => timeOf(date) !== undefined, 'is no /Date(…)/ of Xero')
const changed = { UpdatedDateUTC: moment }

/**
 * Contacts, invoices or payments that are new or changed, longest unchanged first: for payments, which have no webhook,
 * for apps whose webhooks cannot reach you, and for what they missed. What Xero changes without a new `UpdatedDateUTC`
 * is not seen: a contact's balances, and the due date or "sent" of an invoice that is partly paid.
 * Source: https://developer.xero.com/documentation/api/requests-and-responses, read 2026-11-22. `If-Modified-Since` is
 * accurate to the second, so what changed within it comes again and is known by its time.
 */
export const changes = {
  contacts: sourceOf({
    what: 'contact',
    operation: listContacts,
    items: '/Contacts',
    item: z.looseObject({ ...contact.shape, ...changed }),
    id: ({ ContactID }) => ContactID,
    name: ({ Name }) => Name,
  }),
  invoices: sourceOf({
    what: 'invoice',
    operation: listInvoices,
    items: '/Invoices',
    item: z.looseObject({ ...invoice.shape, ...changed }),
    id: ({ InvoiceID }) => InvoiceID,
    name: ({ InvoiceNumber, InvoiceID }) => InvoiceNumber ?? InvoiceID,
  }),
  payments: sourceOf({
    what: 'payment',
    operation: listPayments,
    items: '/Payments',
    item: z.looseObject({ ...payment.shape, ...changed }),
    id: ({ PaymentID }) => PaymentID,
    name: ({ Amount }) => `of ${Amount}`,
  }),
} as const

interface Ask {
  modifiedSince?: string | undefined
  page?: number | undefined
}

function sourceOf<Item extends { readonly UpdatedDateUTC: string }, Input extends Ask, Output>(of: {
  readonly what: string
  readonly operation: Operation<Input, Output>
  readonly items: string
  readonly item: z.ZodType<Item>
  readonly id: (item: Item) => string
  readonly name: (item: Item) => string
}) {
  return definePollSource({
    summary: `${of.what} new or changed`,
    operation: of.operation,
    input: ({ since, after = 1 }) =>
      ({ ...(since === undefined ? {} : { modifiedSince: since }), page: Number(after) }) as Input,
    items: of.items,
    item: of.item,
    id: of.id,
    version: ({ UpdatedDateUTC }) => UpdatedDateUTC,
    changedAt: ({ UpdatedDateUTC }) => timeOf(UpdatedDateUTC) ?? '',
    order: 'changedAt',
    next: (_page, { after = 1 }, count) => (count < PAGE_SIZE ? undefined : Number(after) + 1),
    describe: (item) => `${of.what} ${of.name(item)}`,
  })
}
