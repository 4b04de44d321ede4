import { describeConnector, type Subject } from '../../tests/conformance/suite.ts'
import { xero } from './index.ts'
import { createXeroTwin, type XeroTwin } from './twin.ts'

const TENANT = 'c2cc9b6e-9458-4c7d-93cc-f02b81b0594f'

const makeContact = async ({ twin }: Subject<XeroTwin>) =>
  String((await twin.contactCreated({ Name: 'Ada Lovelace', EmailAddress: 'ada@example.com' }))['ContactID'])
const makeInvoice = async (subject: Subject<XeroTwin>, more: object = {}) =>
  String(
    (
      await subject.twin.invoiceCreated({
        Contact: { ContactID: await makeContact(subject) },
        Status: 'AUTHORISED',
        DueDate: '2026-12-22',
        LineItems: [{ Description: 'Treatment', UnitAmount: 80, AccountCode: '200' }],
        ...more,
      })
    )['InvoiceID'],
  )
const makePayment = async (subject: Subject<XeroTwin>) =>
  String(
    (
      await subject.twin.paymentCreated({
        Invoice: { InvoiceID: await makeInvoice(subject) },
        Account: { Code: '090' },
        Amount: 19.99,
      })
    )['PaymentID'],
  )

const GOAL = 'it is a state: whoever reached it, there is nothing left to do'

describeConnector({
  connector: xero,
  folder: new URL('.', import.meta.url),
  twin: (clock) => createXeroTwin({ clock, tenantId: TENANT }),
  settings: { tenantId: TENANT },
  authorize: (twin) => ({
    authorization: `Bearer ${(twin.oauth.grants()[0] ?? twin.connectApp()).accessToken}`,
  }),
  samples: {
    'organisation.retrieve': { input: () => ({}) },
    'tenants.list': { input: () => ({}) },
    'contacts.findByEmail': {
      input: async (subject) => {
        await makeContact(subject)
        return { email: 'Ada@example.com' }
      },
    },
    'contacts.create': {
      input: () => ({
        name: `Ada O'Neill "Co"`,
        email: 'ada@example.com',
        phone: '+64 21 555 0100',
        firstName: 'Ada',
        lastName: "O'Neill",
        accountNumber: 'A-1',
      }),
    },
    'contacts.update': {
      input: async (subject) => ({ id: await makeContact(subject), name: 'Ada King', phone: '1' }),
    },
    'contacts.retrieve': { input: async (subject) => ({ id: await makeContact(subject) }) },
    'contacts.list': {
      input: async (subject) => {
        await makeContact(subject)
        return { modifiedSince: '2020-01-01T00:00:00Z', page: 1, pageSize: 10 }
      },
    },
    'invoices.create': {
      input: async (subject) => ({
        contact: await makeContact(subject),
        lines: [
          { description: 'Treatment', quantity: '2', unitAmount: '40.1234', accountCode: '200' },
          { description: 'Oil', unitAmount: '0.30', accountCode: '200', taxType: 'NONE' },
        ],
        status: 'AUTHORISED',
        date: '2026-11-22',
        dueDate: '2026-12-22',
        reference: 'Order 7',
        currency: 'nzd',
      }),
    },
    'invoices.retrieve': { input: async (subject) => ({ id: await makeInvoice(subject) }) },
    'invoices.list': {
      input: async (subject) => {
        await makeInvoice(subject)
        return {}
      },
    },
    'invoices.void': {
      lookupTakesOthers: GOAL,
      input: async (subject) => ({ id: await makeInvoice(subject) }),
    },
    'invoices.delete': {
      lookupTakesOthers: GOAL,
      input: async (subject) => ({ id: await makeInvoice(subject, { Status: 'DRAFT' }) }),
    },
    'payments.create': {
      input: async (subject) => ({
        invoice: await makeInvoice(subject),
        amount: '19.99',
        accountCode: '090',
        date: '2026-11-22',
        reference: 'pi_1',
      }),
    },
    'payments.retrieve': { input: async (subject) => ({ id: await makePayment(subject) }) },
    'payments.list': {
      input: async (subject) => {
        await makePayment(subject)
        return {}
      },
    },
    'payments.delete': {
      lookupTakesOthers: GOAL,
      input: async (subject) => ({ id: await makePayment(subject) }),
    },
  },
  webhooks: {
    secrets: ['xero-webhook-key'],
    send: async (twin, url) => {
      twin.subscribe(url)
      const turn = twin.deliveries().length
      const contact = await twin.contactCreated({ Name: `Ada ${turn}` })
      const id = String(contact['ContactID'])
      const invoice = await twin.invoiceCreated({
        Contact: { ContactID: id },
        Status: 'AUTHORISED',
        DueDate: '2026-12-22',
        LineItems: [{ Description: 'Treatment', UnitAmount: 80, AccountCode: '200' }],
      })
      const InvoiceID = String(invoice['InvoiceID'])
      await twin.together(async () => {
        await twin.contactChanged({ id, fields: { FirstName: 'Ada' } })
        await twin.invoiceChanged({ id: InvoiceID, fields: { Reference: 'Order 7' } })
        await twin.contactChanged({ id, fields: { LastName: 'King' } })
      })
      await twin.paymentCreated({ Invoice: { InvoiceID }, Account: { Code: '090' }, Amount: 10 })
    },
  },
})
