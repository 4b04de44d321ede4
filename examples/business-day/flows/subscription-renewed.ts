import { defineFlow, money } from 'trestle'
import { businessApp } from 'trestle/connectors/business-app'
import { hubspot } from 'trestle/connectors/hubspot'
import { stripe } from 'trestle/connectors/stripe'

/** The money itself comes as a payment of its own, which `payment-received` enters. */
export const subscriptionRenewed = defineFlow({
  name: 'subscription-renewed',
  summary: "Extends a member's membership when the subscription is renewed",
  on: stripe.on('invoice.paid'),
  key: (event) => event.data.customer_email ?? event.data.customer,
  async run({ event, use }) {
    const { id, billing_reason, customer_email, amount_paid, currency, period_end } = event.data
    if (billing_reason !== 'subscription_cycle') return `no renewal (${billing_reason ?? 'no reason given'})`
    if (!customer_email) return 'a member who left no address'
    const paidUntil = new Date(period_end * 1000).toISOString().slice(0, 10)

    await use(businessApp).events.send({
      type: 'membership.renewed',
      data: { invoice: id, email: customer_email, paidUntil },
    })
    const { contacts, notes } = use(hubspot)
    const contact = await contacts.upsert({
      email: customer_email,
      properties: { membership_paid_until: paidUntil },
    })
    await notes.create({
      contact: contact.id,
      text: `Membership renewed until ${paidUntil} for ${money(amount_paid, currency)} (${id})`,
      at: event.occurredAt,
    })
  },
})
