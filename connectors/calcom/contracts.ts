import { z } from 'zod'

/**
 * Shapes that Cal.com's API v2 and its webhooks promise. Unknown fields are kept and unknown enum values pass; what is
 * required here is what the reference calls required and what a flow rests on.
 */

/** Somebody who booked, as answers of the API show them. */
const attendee = z.looseObject({
  name: z.string(),
  email: z.string(),
  timeZone: z.string(),
  /** Marked as no-show. */
  absent: z.boolean(),
  language: z.string().nullish(),
  phoneNumber: z.string().nullish(),
})

/** Cal.com answers `'unknown'` as the id of a host whose account is gone. */
const host = z.looseObject({
  id: z.union([z.number(), z.string()]),
  name: z.string().nullable(),
  email: z.string(),
  username: z.string().nullish(),
  timeZone: z.string().nullish(),
})

/** One booking. `status` is `accepted`, `pending`, `cancelled` or `rejected`; times are ISO 8601 in UTC. */
export const booking = z.looseObject({
  id: z.number(),
  uid: z.string(),
  title: z.string(),
  description: z.string().nullish(),
  hosts: z.array(host),
  status: z.string(),
  cancellationReason: z.string().nullish(),
  rescheduledFromUid: z.string().nullish(),
  rescheduledToUid: z.string().nullish(),
  start: z.string(),
  end: z.string(),
  /** Minutes. */
  duration: z.number(),
  eventType: z.looseObject({ id: z.number(), slug: z.string() }).nullish(),
  location: z.string().nullish(),
  absentHost: z.boolean(),
  createdAt: z.string(),
  updatedAt: z.string().nullish(),
  attendees: z.array(attendee),
  guests: z.array(z.string()).nullish(),
  metadata: z.record(z.string(), z.unknown()).nullish(),
  bookingFieldsResponses: z.record(z.string(), z.unknown()).nullish(),
})
export type Booking = z.infer<typeof booking>

export const bookingPage = z.looseObject({
  bookings: z.array(booking),
  pagination: z.looseObject({
    totalItems: z.number(),
    remainingItems: z.number().optional(),
    returnedItems: z.number().optional(),
    itemsPerPage: z.number().optional(),
    currentPage: z.number().optional(),
    totalPages: z.number().optional(),
    hasNextPage: z.boolean(),
    hasPreviousPage: z.boolean().optional(),
  }),
})

export const eventType = z.looseObject({
  id: z.number(),
  title: z.string(),
  slug: z.string(),
  lengthInMinutes: z.number(),
  description: z.string().nullish(),
})

/** The account that the key belongs to. */
export const me = z.looseObject({
  id: z.number(),
  username: z.string().nullable(),
  email: z.string(),
  timeZone: z.string(),
  weekStart: z.string().nullish(),
  organizationId: z.number().nullish(),
})

/** Somebody who booked, as webhooks show them. */
const person = z.looseObject({
  email: z.string(),
  name: z.string(),
  timeZone: z.string().nullish(),
  phoneNumber: z.string().nullish(),
})

/** The `payload` of booking webhooks. */
export const bookingPayload = z.looseObject({
  uid: z.string(),
  bookingId: z.number().nullish(),
  /** Slug of the event type. */
  type: z.string().nullish(),
  title: z.string(),
  startTime: z.string(),
  endTime: z.string(),
  status: z.string().nullish(),
  organizer: z.looseObject({ email: z.string(), name: z.string().nullish(), timeZone: z.string().nullish() }),
  attendees: z.array(person),
  location: z.string().nullish(),
  eventTypeId: z.number().nullish(),
  /** Minutes. */
  length: z.number().nullish(),
  price: z.number().nullish(),
  currency: z.string().nullish(),
  cancellationReason: z.string().nullish(),
  rejectionReason: z.string().nullish(),
  /** The booking that this one replaces. */
  rescheduleUid: z.string().nullish(),
  rescheduleStartTime: z.string().nullish(),
  rescheduleEndTime: z.string().nullish(),
  metadata: z.record(z.string(), z.unknown()).nullish(),
})
export type BookingPayload = z.infer<typeof bookingPayload>

/** What MEETING_STARTED and MEETING_ENDED carry: the booking's row, with no organizer and with `noShow` per attendee. */
export const meetingPayload = z.looseObject({
  id: z.number(),
  uid: z.string(),
  title: z.string(),
  startTime: z.string(),
  endTime: z.string(),
  status: z.string(),
  eventTypeId: z.number().nullish(),
  userPrimaryEmail: z.string().nullish(),
  noShowHost: z.boolean().nullish(),
  attendees: z.array(
    z.looseObject({
      email: z.string(),
      name: z.string(),
      timeZone: z.string().nullish(),
      noShow: z.boolean().nullish(),
    }),
  ),
})

/** The `payload` of BOOKING_NO_SHOW_UPDATED; `noShow: false` takes an earlier mark back. */
export const noShowPayload = z.looseObject({
  bookingUid: z.string(),
  bookingId: z.number().nullish(),
  message: z.string().nullish(),
  attendees: z.array(z.looseObject({ email: z.string(), noShow: z.boolean() })),
})

/** The `payload` of the automatic checks in Cal Video. */
export const absencePayload = z.looseObject({
  bookingUid: z.string(),
  bookingId: z.number().nullish(),
  title: z.string().nullish(),
  startTime: z.string().nullish(),
  endTime: z.string().nullish(),
  message: z.string().nullish(),
  attendees: z.array(z.looseObject({ email: z.string(), name: z.string().nullish() })),
})
