/** Xero, as `trestle prove` plays it: the twin, and how its events come about. */
import type { CreateStandIn, Person } from 'trestle/testing'
import { createXeroTwin } from './twin.ts'

const CLIENT = { id: 'proof-xero', secret: 'secret-of-the-proof-xero' }
const WEBHOOK_KEY = 'webhook-key-of-the-proof'

export const createStandIn: CreateStandIn = async ({ clock, seed }) => {
  const twin = createXeroTwin({ clock, seed, client: CLIENT, webhookKey: WEBHOOK_KEY })
  await twin.start()
  const contacts = new Map<string, string>()
  const contactOf = ({ email }: Person): string => contacts.get(email) ?? ''
  const newInvoice = (person: Person, turn: number) =>
    twin.invoiceCreated({
      Contact: { ContactID: contactOf(person) },
      Status: 'AUTHORISED',
      DueDate: '2027-01-01',
      LineItems: [{ Description: 'Treatment', UnitAmount: 80 + turn, AccountCode: '200' }],
    })
  return {
    twin,
    connection: {
      baseUrl: twin.url,
      tokenUrl: twin.tokenUrl(),
      settings: { tenantId: twin.tenantId },
      secrets: {
        clientId: CLIENT.id,
        clientSecret: CLIENT.secret,
        refreshToken: twin.connectApp().refreshToken,
      },
      webhookSecrets: [WEBHOOK_KEY],
    },
    async know(people) {
      for (const { name, email } of people) {
        const { ContactID } = await twin.contactCreated({ Name: `${name} (${email})`, EmailAddress: email })
        contacts.set(email, String(ContactID))
      }
    },
    sendWebhooksTo: (url) => twin.subscribe(url),
    happenings: {
      'contact.created': ({ name }, turn) => twin.contactCreated({ Name: `${name} ${turn}` }),
      'contact.updated': (person, turn) =>
        twin.contactChanged({ id: contactOf(person), fields: { FirstName: `${person.name} ${turn}` } }),
      'invoice.created': newInvoice,
      'invoice.updated': async (person, turn) =>
        twin.invoiceChanged({
          id: String((await newInvoice(person, turn))['InvoiceID']),
          fields: { Reference: `turn ${turn}` },
        }),
    },
  }
}
