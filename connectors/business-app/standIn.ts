/** A business's own app, as `trestle prove` plays it: the twin, and how each event comes about. */
import type { CreateStandIn, Person } from 'trestle/testing'
import { createBusinessAppTwin, type AppointmentEvent } from './twin.ts'

const WEBHOOK_SECRET = `whsec_${Buffer.from('webhook secret of the proof app').toString('base64')}`

export const createStandIn: CreateStandIn = async ({ clock, seed }) => {
  const twin = createBusinessAppTwin({ clock, seed })
  await twin.start()
  const emit =
    (type: AppointmentEvent) =>
    ({ name, email, phone }: Person) =>
      twin.emitAppointment(type, { customer: { name, email, phone } })
  return {
    twin,
    connection: {
      baseUrl: twin.url,
      secrets: { signingSecret: twin.signingSecret },
      webhookSecrets: [WEBHOOK_SECRET],
    },
    sendWebhooksTo: (url) => twin.emitsTo({ url, secret: WEBHOOK_SECRET }),
    happenings: {
      'appointment.booked': emit('appointment.booked'),
      'appointment.completed': emit('appointment.completed'),
      'appointment.no_show': emit('appointment.no_show'),
      'appointment.cancelled': emit('appointment.cancelled'),
    },
  }
}
