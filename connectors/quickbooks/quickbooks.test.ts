import { describeConnector, type Subject } from '../../tests/conformance/suite.ts'
import { quickbooks } from './index.ts'
import { createQuickbooksTwin, type QuickbooksTwin } from './twin.ts'

const REALM = '9130347957983546'

const makeCustomer = async ({ twin }: Subject<QuickbooksTwin>, name = 'Ada Lovelace') =>
  (await twin.customerCreated({ DisplayName: name, PrimaryEmailAddr: { Address: 'ada@example.com' } })).Id
const makePayment = async (subject: Subject<QuickbooksTwin>) =>
  subject.twin.paymentCreated({ CustomerRef: { value: await makeCustomer(subject) }, TotalAmt: 19.99 })
const makeInvoice = async (subject: Subject<QuickbooksTwin>) =>
  subject.twin.invoiceCreated({
    CustomerRef: { value: await makeCustomer(subject) },
    Line: [{ Amount: 80, DetailType: 'SalesItemLineDetail', SalesItemLineDetail: {} }],
  })

const GOAL = 'a void is a state: whoever reached it, there is nothing left to void'

describeConnector({
  connector: quickbooks,
  folder: new URL('.', import.meta.url),
  twin: (clock) => createQuickbooksTwin({ clock, realmId: REALM }),
  settings: { realmId: REALM },
  authorize: (twin) => ({
    authorization: `Bearer ${(twin.oauth.grants()[0] ?? twin.connectApp()).accessToken}`,
  }),
  samples: {
    'company.retrieve': { input: () => ({}) },
    'customers.findByEmail': {
      input: async (subject) => {
        await makeCustomer(subject)
        return { email: 'Ada@example.com' }
      },
    },
    'customers.create': {
      input: () => ({ displayName: "Ada O'Neill \\ Co", email: 'ada@example.com', notes: 'VIP' }),
    },
    'customers.retrieve': { input: async (subject) => ({ id: await makeCustomer(subject) }) },
    'payments.create': {
      input: async (subject) => {
        const invoice = await makeInvoice(subject)
        return {
          customer: (invoice['CustomerRef'] as { value: string }).value,
          amount: '100.10',
          currency: 'usd',
          date: '2026-11-22',
          memo: 'From Stripe',
          applyTo: [{ invoice: invoice.Id, amount: '0.10' }],
        }
      },
    },
    'payments.retrieve': { input: async (subject) => ({ id: (await makePayment(subject)).Id }) },
    'payments.void': {
      lookupTakesOthers: GOAL,
      input: async (subject) => {
        const { Id, SyncToken } = await makePayment(subject)
        return { id: Id, syncToken: SyncToken }
      },
    },
    'invoices.create': {
      input: async (subject) => ({
        customer: await makeCustomer(subject),
        lines: [
          { amount: '80', description: 'Treatment', item: '1', quantity: '2', unitPrice: '40' },
          { amount: '0.30' },
        ],
        dueDate: '2026-12-22',
        email: 'ada@example.com',
      }),
    },
    'invoices.retrieve': { input: async (subject) => ({ id: (await makeInvoice(subject)).Id }) },
    'invoices.void': {
      lookupTakesOthers: GOAL,
      input: async (subject) => {
        const { Id, SyncToken } = await makeInvoice(subject)
        return { id: Id, syncToken: SyncToken }
      },
    },
    query: {
      input: async (subject) => {
        await makeInvoice(subject)
        return { statement: "select * from Invoice where Balance > '0' startposition 1 maxresults 10" }
      },
    },
  },
  webhooks: {
    secrets: ['quickbooks-verifier-token'],
    send: async (twin, url) => {
      twin.subscribe(url)
      for (const format of ['cloudevents', 'notifications'] as const) {
        twin.useFormat(format)
        const name = `${twin.deliveries().length}`
        const customer = await twin.customerCreated({ DisplayName: `Ada ${name}` })
        const other = await twin.customerCreated({ DisplayName: `Other ${name}` })
        const invoice = await twin.invoiceCreated({
          CustomerRef: { value: customer.Id },
          Line: [{ Amount: 80, DetailType: 'SalesItemLineDetail', SalesItemLineDetail: {} }],
        })
        const payment = await twin.paymentCreated({ CustomerRef: { value: customer.Id }, TotalAmt: 10 })
        await twin.together(async () => {
          await twin.customerChanged({ id: customer.Id, fields: { GivenName: 'Ada' } })
          await twin.invoiceChanged({ id: invoice.Id, fields: { DueDate: '2027-01-01' } })
          await twin.paymentChanged({ id: payment.Id, fields: { PaymentRefNum: '7' } })
        })
        await twin.invoiceEmailed({ id: invoice.Id })
        await twin.paymentEmailed({ id: payment.Id })
        await twin.invoiceVoided({ id: invoice.Id })
        await twin.paymentVoided({ id: payment.Id })
        await twin.invoiceDeleted({ id: invoice.Id })
        await twin.paymentDeleted({ id: payment.Id })
        await twin.customersMerged({ kept: customer.Id, merged: other.Id })
        await twin.customerDeleted({ id: customer.Id })
      }
    },
  },
})
