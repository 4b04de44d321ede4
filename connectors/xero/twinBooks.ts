import { Refusal, uuidFrom, type Clock, type Random, type TwinAnswer } from 'trestle/testing'

export type Kind = 'Contact' | 'Invoice' | 'Payment'

/** A contact, an invoice or a payment as the API shows it. */
export interface Thing {
  UpdatedDateUTC: string
  [field: string]: unknown
}

/** The organisation's books, by id. */
export interface XeroState {
  readonly things: Record<Kind, Map<string, Thing>>
  nextInvoiceNumber: number
}

export type Fields = Readonly<Record<string, unknown>>

/** The books and their rules. Every method either does the whole thing or refuses as Xero does. */
export interface Books {
  find(kind: Kind, id: string): Thing
  all(kind: Kind): Thing[]
  create(kind: Kind, fields: Fields): Thing
  update(kind: Kind, id: string, fields: Fields): Thing
}

/** Amounts are counted in ten-thousandths, which is as fine as Xero's unit amounts. */
const SCALE = 10_000

export function createBooks(options: {
  readonly clock: Clock
  readonly random: Random
  readonly state: XeroState
  /** The organisation's currency. */
  readonly currency: string
}): Books {
  const { clock, random, state, currency } = options
  const now = (): string => msDate(clock.now())

  const find = (kind: Kind, id: string): Thing => {
    const found = state.things[kind].get(id)
    if (!found)
      throw new Refusal({
        status: 404,
        text: `The resource you're looking for cannot be found`,
        headers: { 'content-type': 'text/html' },
      })
    return found
  }
  const keep = (kind: Kind, fields: Fields): Thing => {
    const thing: Thing = { ...fields, [`${kind}ID`]: uuidFrom(random), UpdatedDateUTC: now() }
    state.things[kind].set(text(thing[`${kind}ID`]), thing)
    return thing
  }
  const change = (thing: Thing, fields: Fields): Thing =>
    Object.assign(thing, fields, { UpdatedDateUTC: now() })

  const checkName = (name: string, except?: string): void => {
    if (name.trim() === '') throw invalid('The Contact Name cannot be empty.')
    const taken = [...state.things.Contact.values()].some(
      (one) =>
        one['ContactID'] !== except &&
        one['ContactStatus'] === 'ACTIVE' &&
        text(one['Name']).toLowerCase() === name.toLowerCase(),
    )
    if (taken)
      throw invalid(
        `The contact name ${name} is already assigned to another contact. The contact name must be unique across all active contacts.`,
      )
  }
  const checkEmail = (email: unknown): void => {
    if (email !== undefined && email !== '' && !/^\S+@\S+\.\S+$/.test(text(email)))
      throw invalid('Email address must be valid.')
  }

  const createContact = (fields: Fields): Thing => {
    checkName(text(fields['Name']))
    checkEmail(fields['EmailAddress'])
    return keep('Contact', { ContactStatus: 'ACTIVE', EmailAddress: '', ...fields })
  }
  const updateContact = (id: string, fields: Fields): Thing => {
    const contact = find('Contact', id)
    if (fields['Name'] !== undefined) checkName(text(fields['Name']), id)
    checkEmail(fields['EmailAddress'])
    return change(contact, fields)
  }

  const checkNumber = (number: string): void => {
    const taken = [...state.things.Invoice.values()].some(
      (one) => one['Type'] === 'ACCREC' && one['Status'] !== 'DELETED' && one['InvoiceNumber'] === number,
    )
    if (taken) throw invalid('Invoice # must be unique.')
  }
  const createInvoice = (fields: Fields): Thing => {
    const contact = state.things.Contact.get(text((fields['Contact'] as Fields | undefined)?.['ContactID']))
    if (!contact) throw invalid('The Contact could not be found.')
    const type = text(fields['Type'])
    if (type !== 'ACCREC' && type !== 'ACCPAY') throw invalid('The Type must be ACCREC or ACCPAY.')
    const status = text(fields['Status'] ?? 'DRAFT')
    if (!['DRAFT', 'SUBMITTED', 'AUTHORISED'].includes(status))
      throw invalid('Invoice not of valid status for creation')
    const lines = ((fields['LineItems'] ?? []) as Fields[]).map((line) => lineOf(line, random))
    if (status !== 'DRAFT') {
      if (fields['DueDate'] === undefined) throw invalid('The document due date cannot be empty.')
      if (lines.some(({ AccountCode }) => AccountCode === undefined))
        throw invalid('Account code or ID must be specified.')
    }
    const given = text(fields['InvoiceNumber'])
    if (given !== '' && type === 'ACCREC') checkNumber(given)
    const next = (): string => `INV-${String(state.nextInvoiceNumber++).padStart(4, '0')}`
    const total = sum(lines.map(({ LineAmount }) => LineAmount))
    const { Date: date = dayOf(clock.now()), DueDate, ...rest } = fields
    return keep('Invoice', {
      CurrencyCode: currency,
      LineAmountTypes: 'Exclusive',
      Reference: '',
      ...rest,
      Status: status,
      InvoiceNumber: given === '' && type === 'ACCREC' ? next() : given,
      Contact: { ContactID: contact['ContactID'], Name: contact['Name'] },
      LineItems: lines,
      SubTotal: total,
      TotalTax: 0,
      Total: total,
      AmountDue: total,
      AmountPaid: 0,
      Payments: [],
      DateString: `${text(date)}T00:00:00`,
      Date: msDate(Date.parse(text(date))),
      ...(DueDate === undefined
        ? {}
        : { DueDateString: `${text(DueDate)}T00:00:00`, DueDate: msDate(Date.parse(text(DueDate))) }),
    })
  }
  const updateInvoice = (id: string, fields: Fields): Thing => {
    const invoice = find('Invoice', id)
    const { Status: from } = invoice
    const { InvoiceID: _id, ...wanted } = fields
    const to = wanted['Status'] ?? from
    const isOver = from === 'VOIDED' || from === 'DELETED'
    if (to === 'VOIDED' && (invoice['Payments'] as unknown[]).length > 0)
      throw invalid('A payment or allocation is applied to this document, so it cannot be voided.')
    const mayBecome =
      (to === 'VOIDED' && from === 'AUTHORISED') ||
      (to === 'DELETED' && (from === 'DRAFT' || from === 'SUBMITTED')) ||
      (to === 'AUTHORISED' && (from === 'DRAFT' || from === 'SUBMITTED')) ||
      to === from
    if (isOver || !mayBecome) throw invalid('Invoice not of valid status for modification')
    return change(invoice, { ...wanted, ...(to === 'VOIDED' ? { AmountDue: 0 } : {}) })
  }

  const settle = (invoice: Thing): void => {
    const payments = [...state.things.Payment.values()].filter(
      (one) =>
        one['Status'] === 'AUTHORISED' && (one['Invoice'] as Fields)['InvoiceID'] === invoice['InvoiceID'],
    )
    const paid = sum(payments.map(({ Amount }) => Amount))
    const due = sum([invoice['Total'], -paid])
    change(invoice, {
      AmountPaid: paid,
      AmountDue: due,
      Status: due === 0 ? 'PAID' : 'AUTHORISED',
      Payments: payments.map(({ PaymentID, Date: date, Amount, Reference }) => ({
        PaymentID,
        Date: date,
        Amount,
        Reference,
      })),
    })
  }
  const createPayment = (fields: Fields): Thing => {
    const invoice = state.things.Invoice.get(text((fields['Invoice'] as Fields | undefined)?.['InvoiceID']))
    if (!invoice) throw invalid('Invoice could not be found')
    const account = fields['Account'] as Fields | undefined
    if (account?.['Code'] === undefined && account?.['AccountID'] === undefined)
      throw invalid('Account could not be found')
    if (invoice['Status'] !== 'AUTHORISED')
      throw invalid('Payments can only be made against Authorised documents')
    const amount = Number(fields['Amount'])
    if (!(amount > 0)) throw invalid('The Payment Amount must be greater than zero')
    if (amount > Number(invoice['AmountDue']))
      throw invalid('Payment amount exceeds the amount outstanding on this document')
    const made = keep('Payment', {
      Reference: '',
      ...fields,
      Date: msDate(Date.parse(text(fields['Date'] ?? dayOf(clock.now())))),
      Amount: amount,
      Status: 'AUTHORISED',
      PaymentType: invoice['Type'] === 'ACCREC' ? 'ACCRECPAYMENT' : 'ACCPAYPAYMENT',
      Account: { ...account },
      Invoice: { InvoiceID: invoice['InvoiceID'], InvoiceNumber: invoice['InvoiceNumber'] },
    })
    settle(invoice)
    return made
  }
  const updatePayment = (id: string, fields: Fields): Thing => {
    const payment = find('Payment', id)
    if (fields['Status'] !== 'DELETED') throw invalid('Payments can only be deleted')
    if (payment['Status'] === 'DELETED') throw invalid('Payment not of valid status for modification')
    change(payment, { Status: 'DELETED' })
    settle(find('Invoice', text((payment['Invoice'] as Fields)['InvoiceID'])))
    return payment
  }

  const creators = { Contact: createContact, Invoice: createInvoice, Payment: createPayment }
  const updaters = { Contact: updateContact, Invoice: updateInvoice, Payment: updatePayment }
  return {
    find,
    all: (kind) => [...state.things[kind].values()],
    create: (kind, fields) => creators[kind](fields),
    update: (kind, id, fields) => updaters[kind](id, fields),
  }
}

/** A refused write: HTTP 400 with the faults in the elements. */
export function invalid(message: string): Refusal {
  return new Refusal({
    status: 400,
    json: {
      ErrorNumber: 10,
      Type: 'ValidationException',
      Message: 'A validation exception occurred',
      Elements: [{ ValidationErrors: [{ Message: message }] }],
    },
  })
}

/** The body of 401 and 403, which come from the gateway before the API. */
export function problem(status: number, title: string, detail: string): TwinAnswer {
  return { status, json: { Type: null, Title: title, Status: status, Detail: detail, Extensions: {} } }
}

/** `/Date(1439434356790+0000)/` */
export function msDate(at: number): string {
  return `/Date(${at}+0000)/`
}

/** Milliseconds since 1970 of a date that {@link msDate} wrote. */
export function msOf(date: unknown): number {
  return Number(/\d+/.exec(text(date))?.[0])
}

export function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function dayOf(at: number): string {
  return new Date(at).toISOString().slice(0, 10)
}

function lineOf(line: Fields, random: Random): Fields {
  const quantity = Number(line['Quantity'] ?? 1)
  const unitAmount = Number(line['UnitAmount'] ?? 0)
  return {
    LineItemID: uuidFrom(random),
    ...line,
    Quantity: quantity,
    UnitAmount: unitAmount,
    // Lines are rounded to the cent, totals are sums of lines.
    LineAmount: Math.round(quantity * unitAmount * 100) / 100,
    TaxAmount: 0,
  }
}

function sum(amounts: readonly unknown[]): number {
  return amounts.reduce((whole: number, one) => whole + Math.round(Number(one) * SCALE), 0) / SCALE
}
