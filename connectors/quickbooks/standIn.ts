/** QuickBooks Online, as `trestle prove` plays it: the twin, and how its events come about. */
import type { CreateStandIn, Person } from 'trestle/testing'
import { createQuickbooksTwin } from './twin.ts'

const CLIENT = { id: 'proof-books', secret: 'secret-of-the-proof-books' }
const VERIFIER_TOKEN = 'verifier-token-of-the-proof'

export const createStandIn: CreateStandIn = async ({ clock, seed }) => {
  const twin = createQuickbooksTwin({ clock, seed, client: CLIENT, verifierToken: VERIFIER_TOKEN })
  await twin.start()
  const customers = new Map<string, string>()
  const customerOf = ({ email }: Person): string => customers.get(email) ?? ''
  const newcomer = ({ name }: Person, turn: number) =>
    twin.customerCreated({ DisplayName: `${name} ${turn}` })
  const newInvoice = (person: Person, turn: number) =>
    twin.invoiceCreated({
      CustomerRef: { value: customerOf(person) },
      Line: [{ Amount: 80 + turn, DetailType: 'SalesItemLineDetail', SalesItemLineDetail: {} }],
    })
  const newPayment = (person: Person, turn: number) =>
    twin.paymentCreated({ CustomerRef: { value: customerOf(person) }, TotalAmt: 10 + turn })
  return {
    twin,
    connection: {
      baseUrl: twin.url,
      tokenUrl: twin.tokenUrl(),
      settings: { realmId: twin.realmId },
      secrets: {
        clientId: CLIENT.id,
        clientSecret: CLIENT.secret,
        refreshToken: twin.connectApp().refreshToken,
      },
      webhookSecrets: [VERIFIER_TOKEN],
    },
    async know(people) {
      for (const { name, email } of people) {
        const { Id } = await twin.customerCreated({
          DisplayName: `${name} (${email})`,
          PrimaryEmailAddr: { Address: email },
        })
        customers.set(email, Id)
      }
    },
    sendWebhooksTo: (url) => twin.subscribe(url),
    happenings: {
      'customer.created': newcomer,
      'customer.updated': (person, turn) =>
        twin.customerChanged({ id: customerOf(person), fields: { GivenName: `${person.name} ${turn}` } }),
      'customer.deleted': async (person, turn) =>
        twin.customerDeleted({ id: (await newcomer(person, turn)).Id }),
      'customer.merged': async (person, turn) =>
        twin.customersMerged({ kept: customerOf(person), merged: (await newcomer(person, turn)).Id }),
      'invoice.created': newInvoice,
      'invoice.updated': async (person, turn) =>
        twin.invoiceChanged({
          id: (await newInvoice(person, turn)).Id,
          fields: { DueDate: '2027-01-01' },
        }),
      'invoice.emailed': async (person, turn) =>
        twin.invoiceEmailed({ id: (await newInvoice(person, turn)).Id }),
      'invoice.voided': async (person, turn) =>
        twin.invoiceVoided({ id: (await newInvoice(person, turn)).Id }),
      'invoice.deleted': async (person, turn) =>
        twin.invoiceDeleted({ id: (await newInvoice(person, turn)).Id }),
      'payment.created': newPayment,
      'payment.updated': async (person, turn) =>
        twin.paymentChanged({ id: (await newPayment(person, turn)).Id, fields: { PaymentRefNum: '7' } }),
      'payment.emailed': async (person, turn) =>
        twin.paymentEmailed({ id: (await newPayment(person, turn)).Id }),
      'payment.voided': async (person, turn) =>
        twin.paymentVoided({ id: (await newPayment(person, turn)).Id }),
      'payment.deleted': async (person, turn) =>
        twin.paymentDeleted({ id: (await newPayment(person, turn)).Id }),
    },
  }
}
