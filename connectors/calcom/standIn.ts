/** Cal.com, as `trestle prove` plays it: the twin, and how each event comes about. */
import type { CreateStandIn, Person } from 'trestle/testing'
import { createCalcomTwin } from './twin.ts'

const WEBHOOK_SECRET = 'secret-of-the-proof'
const DAY_MS = 86_400_000

export const createStandIn: CreateStandIn = async ({ clock, seed }) => {
  const twin = createCalcomTwin({ clock, seed, webhookSecret: WEBHOOK_SECRET })
  await twin.start()
  const attendee = ({ name, email, phone }: Person) => ({ name, email, phoneNumber: phone })
  const iso = (ms: number): string => new Date(ms).toISOString()
  const booked = (person: Person) =>
    twin.pastBooking({ attendee: attendee(person), start: iso(clock.now() + DAY_MS) })
  return {
    twin,
    connection: { baseUrl: twin.url, secrets: { token: 'cal_test_key' }, webhookSecrets: [WEBHOOK_SECRET] },
    know(people) {
      for (const person of people)
        twin.pastBooking({ attendee: attendee(person), start: iso(clock.now() - 20 * DAY_MS) })
    },
    sendWebhooksTo: (url) => twin.subscribe(url, WEBHOOK_SECRET),
    happenings: {
      BOOKING_CREATED: (person) => twin.bookingCreated({ attendee: attendee(person) }),
      BOOKING_REQUESTED: (person) => twin.bookingCreated({ attendee: attendee(person), pending: true }),
      BOOKING_RESCHEDULED: (person) =>
        twin.bookingRescheduled({ uid: booked(person).uid, start: iso(clock.now() + 2 * DAY_MS) }),
      BOOKING_CANCELLED: (person) => twin.bookingCancelled({ uid: booked(person).uid }),
      BOOKING_REJECTED: (person) => twin.bookingRejected({ uid: booked(person).uid }),
      BOOKING_PAID: (person) => twin.bookingPaid({ uid: booked(person).uid }),
      MEETING_STARTED: (person) => twin.bookingStarted({ uid: booked(person).uid }),
      MEETING_ENDED: (person) => twin.bookingEnded({ uid: booked(person).uid }),
      BOOKING_NO_SHOW_UPDATED: (person) => twin.noShow({ uid: booked(person).uid }),
      AFTER_HOSTS_CAL_VIDEO_NO_SHOW: (person) => twin.callMissed({ uid: booked(person).uid, by: 'host' }),
      AFTER_GUESTS_CAL_VIDEO_NO_SHOW: (person) => twin.callMissed({ uid: booked(person).uid, by: 'guest' }),
    },
  }
}
