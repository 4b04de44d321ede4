import { defineEvent, money, type IncomingDelivery, type IncomingEvent, type JsonValue } from 'trestle'
import { z } from 'zod'
import { appointment, type Appointment } from './contracts.ts'

const match = ['data.id', 'data.customer.email'] as const

const words = ({ service, customer }: Appointment): string => `${service} for ${customer.name}`

/** Events that the app emits. */
export const events = {
  'appointment.booked': defineEvent({
    summary: 'appointment booked',
    schema: appointment,
    match,
    describe: (data) => `${words(data)} booked for ${data.startsAt}`,
  }),
  'appointment.completed': defineEvent({
    summary: 'appointment completed',
    schema: appointment,
    match,
    describe: (data) => `${words(data)} done, ${money(data.price.amount, data.price.currency)}`,
  }),
  'appointment.no_show': defineEvent({
    summary: 'customer did not come',
    schema: appointment,
    match,
    describe: (data) => `${words(data)}: did not come`,
  }),
  'appointment.cancelled': defineEvent({
    summary: 'appointment cancelled',
    schema: appointment,
    match,
    describe: (data) => `${words(data)} cancelled`,
  }),
}

/**
 * A CloudEvent in JSON (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md, read
 * 2026-11-22). `data_base64` is not understood.
 */
const cloudEvent = z.looseObject({
  specversion: z.literal('1.0'),
  id: z.string().min(1),
  source: z.string().min(1),
  type: z.string().min(1),
  time: z.iso.datetime({ offset: true }).optional(),
})

/** The events of one CloudEvent, or of a batch of them. `source` and `id` together make an event the same again. */
export function eventsOf({ body }: IncomingDelivery): readonly IncomingEvent[] {
  return Array.isArray(body) ? body.map((one, i) => eventOf(one, `/${i}`)) : [eventOf(body, '')]
}

function eventOf(one: JsonValue, at: string): IncomingEvent {
  const { id, source, type, time } = cloudEvent.parse(one)
  return {
    // A URI reference has no spaces, so the first one ends the source.
    id: `${source} ${id}`,
    type: ownType(type),
    ...(time === undefined ? {} : { occurredAt: new Date(time).toISOString() }),
    at: `${at}/data`,
  }
}

/** `com.example.appointment.completed` is `appointment.completed`; what we do not know stays as it is. */
function ownType(type: string): string {
  return Object.keys(events).find((known) => type === known || type.endsWith(`.${known}`)) ?? type
}
