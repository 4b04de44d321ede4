import { defineFlow, minorToDecimal, money } from 'trestle'
import { businessApp } from 'trestle/connectors/business-app'
import { hubspot } from 'trestle/connectors/hubspot'
import { quickbooks } from 'trestle/connectors/quickbooks'
import { twilio } from 'trestle/connectors/twilio'
import { customerInBooks, eveningOf, firstName, SALON_NUMBER } from './salon.ts'

export const appointmentCompleted = defineFlow({
  name: 'appointment-completed',
  summary: 'Record, invoice, note and a word of thanks after an appointment',
  on: businessApp.on('appointment.completed'),
  key: (event) => event.data.customer.email,
  async run({ event, use }) {
    const { id, customer, service, endsAt, price } = event.data
    const { records } = use(businessApp)
    const { invoices } = use(quickbooks)
    const { contacts, notes } = use(hubspot)

    await records.put(
      { collection: 'visits', id, fields: { email: customer.email, service, endsAt, outcome: 'came' } },
      { undo: () => records.delete({ collection: 'visits', id }) },
    )

    const inBooks = await customerInBooks(use, customer)
    const invoice = await invoices.create(
      {
        customer: inBooks.Id,
        lines: [{ amount: minorToDecimal(price.amount, price.currency), description: service }],
        email: customer.email,
        memo: `Appointment ${id}`,
      },
      { undo: (made) => invoices.void({ id: made.Id, syncToken: made.SyncToken }) },
    )

    const contact = await contacts.upsert({
      email: customer.email,
      properties: { lifecyclestage: 'customer' },
    })
    await notes.create({
      contact: contact.id,
      text: `Came for ${service}. Invoice ${invoice.DocNumber ?? invoice.Id}, ${money(price.amount, price.currency)} (${id})`,
      at: event.occurredAt,
    })

    if (!customer.phone) return
    await use(twilio).messages.create(
      {
        to: customer.phone,
        from: SALON_NUMBER,
        body: `Thank you for your visit, ${firstName(customer.name)}! Your invoice is on its way. Ref ${id}`,
      },
      { validUntil: eveningOf(endsAt), onLate: 'skip' },
    )
  },
})
