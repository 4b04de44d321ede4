import { defineFlow, money } from 'trestle'
import { businessApp } from 'trestle/connectors/business-app'
import { hubspot } from 'trestle/connectors/hubspot'
import { stripe } from 'trestle/connectors/stripe'

export const disputeOpened = defineFlow({
  name: 'dispute-opened',
  summary: 'Gathers what is known of a disputed payment and tells people before the bank decides',
  on: stripe.on('charge.dispute.created'),
  key: (event) => event.data.charge,
  async run({ event, use }) {
    const { id, charge: chargeId, amount, currency, reason, evidence_details } = event.data
    const charge = await use(stripe).charges.retrieve({ id: chargeId })
    const email = charge.billing_details.email
    const visits = email
      ? await use(businessApp).records.list({
          collection: 'visits',
          field: 'email',
          equals: email,
          limit: 20,
        })
      : { records: [] }

    // A draft: nothing goes to the bank before somebody has read it.
    await use(stripe).disputes.update({
      id,
      submit: false,
      evidence: {
        ...(charge.billing_details.name ? { customer_name: charge.billing_details.name } : {}),
        ...(email ? { customer_email_address: email } : {}),
        uncategorized_text: `The customer had ${visits.records.length} appointments with us.`,
      },
    })
    await use(businessApp).events.send({
      type: 'dispute.opened',
      data: {
        dispute: id,
        email,
        amount,
        currency,
        reason,
        answerBy: evidence_details.due_by && new Date(evidence_details.due_by * 1000).toISOString(),
      },
    })
    if (!email) return
    const { contacts, notes } = use(hubspot)
    const contact = await contacts.upsert({ email })
    await notes.create({
      contact: contact.id,
      text: `Disputes a payment of ${money(amount, currency)}: ${reason} (${id})`,
      at: event.occurredAt,
    })
  },
})
