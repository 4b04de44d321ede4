import { money } from 'trestle'
import type { Clock } from 'trestle/testing'
import type { Customer } from './people.ts'
import type { Twins } from './twins.ts'
import { effectId, type Happening, type Witness } from './witness.ts'

/** What can happen to the salon. Each makes it happen at a twin and tells the witness what must come of it. */
export interface Salon {
  pays(customer: Customer, amount: number): Happening
  books(customer: Customer): Promise<Happening>
  completes(customer: Customer, options?: Appointment): Happening
  /** The till was offline: several appointments in one delivery. */
  completesTogether(customers: readonly Customer[]): readonly Happening[]
  misses(customer: Customer): Happening
  /** A member's subscription is renewed: a payment and a longer membership. */
  renews(subscription: string, customer: Customer): Happening
  disputes(customer: Customer, paymentIntent: string): Happening
  /** Somebody corrects telephone numbers in the CRM: one delivery for all of them. */
  correctsPhones(customers: readonly Customer[]): Promise<readonly Happening[]>
  /** An event that lacks what its contract requires: it must lead to nothing. */
  completesWithoutPrice(customer: Customer): Happening
}

export interface Appointment {
  readonly service?: string
  /** Days ago. Later than the evening of that day nobody is texted. Default 0. */
  readonly daysAgo?: number
}

const HOUR_MS = 3_600_000
const PRICES: Readonly<Record<string, number>> = { Haircut: 4500, Colour: 9500, Consultation: 2000 }

export function openSalon(twins: Twins, witness: Witness, clock: Clock): Salon {
  const { stripe, calcom, app, hubspot } = twins
  let lastAppointment = 1000

  /** What entering a customer leads to, the first time. */
  const inCrm = ({ email, standing }: Customer): string[] => {
    if (standing === 'known') return []
    return [effectId('hubspot', standing === 'new' ? 'contact.created' : 'contact.updated', email)]
  }
  const inBooks = ({ email, standing }: Customer): string[] =>
    standing === 'known' ? [] : [effectId('quickbooks', 'customer.created', email)]
  const payment = (id: string, customer: Customer): string[] => [
    effectId('hubspot', 'note.created', id),
    effectId('quickbooks', 'payment.created', id),
    ...inCrm(customer),
    ...inBooks(customer),
  ]
  const appointmentOf = (
    { name, email, phone }: Customer,
    { service = 'Haircut', daysAgo = 0 }: Appointment,
  ) => {
    const endsAt = clock.now() - daysAgo * 24 * HOUR_MS
    return {
      id: `apt_${++lastAppointment}`,
      customer: { name, email, phone },
      service,
      startsAt: inSalonTime(endsAt - HOUR_MS, clock.now()),
      endsAt: inSalonTime(endsAt, clock.now()),
      price: { amount: PRICES[service] ?? 4500, currency: 'usd' },
    }
  }
  const completed = (id: string, customer: Customer, texted: boolean): string[] => [
    effectId('business-app', 'record.created', id),
    effectId('quickbooks', 'invoice.created', id),
    effectId('hubspot', 'note.created', id),
    ...(texted ? [effectId('twilio', 'message.sent', id)] : []),
    ...inCrm(customer),
    ...inBooks(customer),
  ]

  return {
    pays(customer, amount) {
      const { id } = stripe.paymentSucceeds({ amount, email: customer.email, name: customer.name })
      return witness.happened(`payment of ${money(amount, 'usd')} by ${customer.name}`, payment(id, customer))
    },
    async books(customer) {
      const { name, email, phone } = customer
      const booked = calcom.bookingCreated({
        attendee: { name, email, phoneNumber: phone },
        eventTypeId: 102,
      })
      // The newest booking; the promise resolves only when its webhook was answered.
      const uid = [...calcom.state.bookings.keys()].at(-1) ?? ''
      const happening = witness.happened(`appointment booked by ${name}`, [
        effectId('business-app', 'event.received', uid),
      ])
      await booked
      return happening
    },
    completes(customer, options = {}) {
      const appointment = appointmentOf(customer, options)
      app.emitAppointment('appointment.completed', appointment)
      return witness.happened(
        `${appointment.service} for ${customer.name} done`,
        completed(appointment.id, customer, (options.daysAgo ?? 0) === 0),
      )
    },
    completesTogether(customers) {
      const appointments = customers.map((customer) => appointmentOf(customer, { service: 'Colour' }))
      app.emitBatch(
        appointments.map((appointment) => ({ type: 'appointment.completed' as const, appointment })),
      )
      return customers.map((customer, i) =>
        witness.happened(`Colour for ${customer.name} done`, completed(appointments[i]!.id, customer, true)),
      )
    },
    misses(customer) {
      const appointment = appointmentOf(customer, {})
      app.emitAppointment('appointment.no_show', appointment)
      return witness.happened(`${customer.name} did not come`, [
        effectId('business-app', 'record.created', appointment.id),
        effectId('hubspot', 'note.created', appointment.id),
        effectId('twilio', 'message.sent', appointment.id),
      ])
    },
    renews(subscription, customer) {
      const invoice = stripe.subscriptionRenews({ subscription })
      const paid = [...stripe.state.paymentIntents.keys()].at(-1) ?? ''
      return witness.happened(`membership of ${customer.name} renewed`, [
        ...payment(paid, customer),
        effectId('business-app', 'event.received', invoice.id),
        effectId('hubspot', 'contact.updated', customer.email),
        effectId('hubspot', 'note.created', invoice.id),
      ])
    },
    disputes(customer, paymentIntent) {
      const { id } = stripe.disputeOpened({ paymentIntent })
      return witness.happened(`${customer.name} disputes a payment`, [
        effectId('stripe', 'dispute.evidence_drafted', id),
        effectId('business-app', 'event.received', id),
        effectId('hubspot', 'note.created', id),
      ])
    },
    async correctsPhones(customers) {
      const happenings = customers.map((customer) =>
        witness.happened(`telephone number of ${customer.name} corrected`, [
          effectId('business-app', 'record.created', customer.email),
        ]),
      )
      hubspot.subscribe(twins.hubspotWebhooks())
      await hubspot.together(async () => {
        for (const { email, phone } of customers) {
          const contact = [...hubspot.state.objects.contacts.values()].find(
            ({ properties }) => properties['email'] === email,
          )
          await hubspot.contactChanged({
            id: contact?.id ?? '',
            properties: { phone: phone.replace('010', '011') },
          })
        }
      })
      hubspot.subscribe(undefined)
      return happenings
    },
    completesWithoutPrice(customer) {
      const appointment = appointmentOf(customer, {})
      app.emitAppointment('appointment.completed', { ...appointment, price: undefined })
      return witness.happened(`Haircut for ${customer.name} done, at no price that could be read`, [])
    },
  }
}

/** A time where the salon is: somewhere on Earth where it is the middle of the day now, so that the evening is ahead. */
function inSalonTime(ms: number, now: number): string {
  const hour = new Date(now).getUTCHours()
  const offset = 12 - hour
  const local = new Date(ms + offset * HOUR_MS).toISOString().slice(0, 19)
  const zone = `${offset < 0 ? '-' : '+'}${String(Math.abs(offset)).padStart(2, '0')}:00`
  return `${local}${zone}`
}
