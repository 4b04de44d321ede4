import { defineFlow, minorToDecimal, money } from 'trestle'
import { hubspot } from 'trestle/connectors/hubspot'
import { quickbooks } from 'trestle/connectors/quickbooks'
import { stripe } from 'trestle/connectors/stripe'
import { customerInBooks } from './salon.ts'

export const paymentReceived = defineFlow({
  name: 'payment-received',
  summary: 'Enters a payment in the CRM and in the books',
  on: stripe.on('payment_intent.succeeded'),
  key: (event) => event.data.receipt_email ?? event.data.customer,
  async run({ event, use }) {
    const { id, amount_received, currency, receipt_email, latest_charge } = event.data
    const charge =
      latest_charge === null ? undefined : await use(stripe).charges.retrieve({ id: latest_charge })
    const email = receipt_email ?? charge?.billing_details.email
    if (!email) return 'a guest who left no address'
    const name = charge?.billing_details.name ?? email

    const inTheCrm = async () => {
      const { contacts, notes } = use(hubspot)
      const contact = await contacts.upsert({ email, properties: { lifecyclestage: 'customer' } })
      await notes.create({
        contact: contact.id,
        text: `Paid ${money(amount_received, currency)} by card (Stripe ${id})`,
        at: event.occurredAt,
      })
    }
    const inTheBooks = async () => {
      const customer = await customerInBooks(use, { name, email })
      await use(quickbooks).payments.create({
        customer: customer.Id,
        amount: minorToDecimal(amount_received, currency),
        memo: `Stripe ${id}`,
      })
    }
    // Side by side: where the books are down, the CRM need not wait.
    await Promise.all([inTheCrm(), inTheBooks()])
  },
})
