import { defineFlow } from 'trestle'
import { businessApp } from 'trestle/connectors/business-app'
import { hubspot } from 'trestle/connectors/hubspot'
import { twilio } from 'trestle/connectors/twilio'
import { eveningOf, firstName, SALON_NUMBER } from './salon.ts'

export const appointmentNoShow = defineFlow({
  name: 'appointment-no-show',
  summary: 'Record, note and an invitation to book again after a missed appointment',
  on: businessApp.on('appointment.no_show'),
  key: (event) => event.data.customer.email,
  async run({ event, use }) {
    const { id, customer, service, endsAt } = event.data
    const { contacts, notes } = use(hubspot)

    await use(businessApp).records.put({
      collection: 'visits',
      id,
      fields: { email: customer.email, service, endsAt, outcome: 'no-show' },
    })
    const contact = await contacts.upsert({ email: customer.email })
    await notes.create({
      contact: contact.id,
      text: `Did not come for ${service} (${id})`,
      at: event.occurredAt,
    })

    if (!customer.phone) return
    await use(twilio).messages.create(
      {
        to: customer.phone,
        from: SALON_NUMBER,
        body: `We missed you today, ${firstName(customer.name)}. Book another time: https://salon.example/book. Ref ${id}`,
      },
      { validUntil: eveningOf(endsAt), onLate: 'skip' },
    )
  },
})
