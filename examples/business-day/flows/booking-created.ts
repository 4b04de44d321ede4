import { defineFlow, type FlowContext } from 'trestle'
import { businessApp } from 'trestle/connectors/business-app'
import { calcom } from 'trestle/connectors/calcom'
import { stripe } from 'trestle/connectors/stripe'

export const bookingCreated = defineFlow({
  name: 'booking-created',
  summary: "Tells the app of a booking, with the customer's history so far",
  on: calcom.on('BOOKING_CREATED'),
  key: (event) => event.data.attendees[0]?.email,
  async run({ event, use }) {
    const { uid, title, startTime, endTime, attendees } = event.data
    const customer = attendees[0]
    if (!customer) return 'a booking without an attendee'

    const [payments, visits] = await Promise.all([
      paymentsOf(use, customer.email),
      visitsOf(use, customer.email),
    ])
    await use(businessApp).events.send({
      type: 'appointment.booked',
      data: {
        booking: uid,
        title,
        startsAt: startTime,
        endsAt: endTime,
        customer: { name: customer.name, email: customer.email, phone: customer.phoneNumber ?? null },
        history: { payments, visits },
      },
    })
  },
})

/** What the customer paid so far, newest first. */
async function paymentsOf(use: FlowContext['use'], email: string) {
  const { customers, paymentIntents } = use(stripe)
  const found = await customers.list({ email, limit: 1 })
  const known = found.data[0]
  if (!known) return []
  const payments = await paymentIntents.list({ customer: known.id, limit: 20 })
  return payments.data
    .filter(({ status }) => status === 'succeeded')
    .map(({ id, amount_received, currency }) => ({ id, amount: amount_received, currency }))
}

/** The customer's appointments so far, newest first. */
async function visitsOf(use: FlowContext['use'], email: string) {
  const past = await use(calcom).bookings.list({
    attendeeEmail: email,
    status: ['past'],
    sortStart: 'desc',
    take: 20,
  })
  return past.bookings.map(({ title, start, status, attendees }) => ({
    title,
    startsAt: start,
    status,
    came: !attendees.some((attendee) => attendee.email === email && attendee.absent),
  }))
}
