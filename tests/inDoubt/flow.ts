import { defineFlow, minorToDecimal, type AnyFlow } from 'trestle'
import { businessApp } from 'trestle/connectors/business-app'
import { hubspot } from 'trestle/connectors/hubspot'
import { quickbooks } from 'trestle/connectors/quickbooks'
import { twilio } from 'trestle/connectors/twilio'
import { letters } from './letters.ts'

/** The connectors as the trial has them: a control puts a protection out of order. */
export interface Providers {
  readonly twilio: typeof twilio
  readonly quickbooks: typeof quickbooks
  readonly letters: typeof letters
}

export const PROVIDERS: Providers = { twilio, quickbooks, letters }

/**
 * Record (natural) → invoice (key, later a look-up) → CRM (natural, look-up) → message by SMS (look-up) or by letter
 * (none) → word to the app (key). What can be taken back is.
 */
export function appointmentFlow(
  name: string,
  customerInBooks: string,
  { twilio, quickbooks, letters }: Providers = PROVIDERS,
  forgets: 'nothing' | 'undo of the invoice' = 'nothing',
): AnyFlow {
  return defineFlow({
    name,
    on: businessApp.on('appointment.completed'),
    async run({ event, use }) {
      const { id, customer, service, price } = event.data
      const { records, events } = use(businessApp)
      const { invoices } = use(quickbooks)
      const { contacts, notes } = use(hubspot)

      await records.put(
        { collection: 'visits', id, fields: { email: customer.email, service } },
        { undo: () => records.delete({ collection: 'visits', id }) },
      )
      const invoice = await invoices.create(
        {
          customer: customerInBooks,
          lines: [{ amount: minorToDecimal(price.amount, price.currency), description: service }],
          memo: `Appointment ${id}`,
        },
        forgets === 'nothing'
          ? { undo: (made) => invoices.void({ id: made.Id, syncToken: made.SyncToken }) }
          : {},
      )
      const contact = await contacts.upsert({ email: customer.email, properties: {} })
      await notes.create({
        contact: contact.id,
        text: `Invoice ${invoice.Id} for ${id}`,
        at: event.occurredAt,
      })
      if (customer.phone)
        await use(twilio).messages.create({
          to: customer.phone,
          from: '+15005550006',
          body: `Thank you! Ref ${id}`,
        })
      else {
        const post = use(letters).letters
        await post.post(
          { to: customer.name, text: `Thank you! Ref ${id}` },
          { undo: (made) => post.recall({ id: made.id }) },
        )
      }
      await events.send({ type: 'visit.followed', data: { appointment: id } })
    },
  })
}
