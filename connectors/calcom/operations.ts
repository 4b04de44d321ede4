import {
  defineOperation,
  PermanentError,
  RetryableError,
  type LookupIdempotency,
  type OperationRequest,
  type ProviderAnswer,
} from 'trestle'
import { z } from 'zod'
import { booking, bookingPage, eventType, me, type Booking } from './contracts.ts'

/**
 * Each resource of the API has its own version, pinned by a header; without it an older version answers
 * (https://cal.com/docs/api-reference/v2/bookings/get-all-bookings and …/event-types, read 2026-11-22).
 */
const BOOKINGS = { 'cal-api-version': '2024-08-13' }
const EVENT_TYPES = { 'cal-api-version': '2024-06-14' }

/**
 * How long a change may take until a read shows it. Cal.com documents nothing; its open source reads bookings from a
 * replica (apps/api/v2, `PrismaReadService`, read 2026-11-22), so an early "not yet" proves nothing.
 */
const SETTLE_MS = 15_000

const uid = z.string().min(1)

/** What stands in the envelope `{ status: 'success', data }`. */
function dataOf(answer: ProviderAnswer): unknown {
  return field(answer.json, 'data')
}

function field(value: unknown, name: string): unknown {
  return value !== null && typeof value === 'object'
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined
}

function readBooking(bookingUid: string): OperationRequest {
  return { method: 'GET', path: `/v2/bookings/${encodeURIComponent(bookingUid)}`, headers: BOOKINGS }
}

/** Asks for the booking and lets `isDone` judge it: `undefined` if a person must. */
function askForBooking<Input extends { readonly uid: string }>(
  isDone: (found: Booking, input: Input) => boolean | undefined,
): LookupIdempotency<Input, Booking> {
  return {
    kind: 'lookup',
    settleAfterMs: SETTLE_MS,
    request: (input) => readBooking(input.uid),
    found(answer, input) {
      const found = booking.safeParse(dataOf(answer))
      if (answer.status !== 200 || !found.success)
        throw new RetryableError(
          'lookup_unanswered',
          `Cal.com answered ${answer.status} when asked for booking ${input.uid}, which tells nothing. Ask again, or look at the booking in Cal.com.`,
        )
      const done = isDone(found.data, input)
      if (done === undefined)
        throw new PermanentError(
          'lookup_ambiguous',
          `Booking ${input.uid} is now ${found.data.status}: whether this step had its effect before cannot be told. Look at the booking in Cal.com.`,
        )
      return done ? dataOf(answer) : undefined
    },
  }
}

const listBookings = defineOperation({
  summary: 'list bookings',
  input: z.object({
    /** Only bookings of this attendee. */
    attendeeEmail: z.string().optional(),
    /** Any of `upcoming`, `recurring`, `past`, `cancelled`, `unconfirmed`. Left out: all. */
    status: z.array(z.string()).min(1).optional(),
    eventTypeId: z.number().int().optional(),
    /** ISO 8601. */
    afterStart: z.string().optional(),
    /** ISO 8601. */
    beforeEnd: z.string().optional(),
    /** ISO 8601; for reading what changed. */
    afterUpdatedAt: z.string().optional(),
    sortStart: z.enum(['asc', 'desc']).optional(),
    sortCreated: z.enum(['asc', 'desc']).optional(),
    sortUpdatedAt: z.enum(['asc', 'desc']).optional(),
    /** 1 to 250; Cal.com's default is 100. */
    take: z.number().int().min(1).max(250).optional(),
    skip: z.number().int().min(0).optional(),
  }),
  output: bookingPage,
  idempotency: { kind: 'natural' },
  request: ({ status, ...filters }) => ({
    method: 'GET',
    path: '/v2/bookings',
    query: { ...filters, status: status?.join(',') },
    headers: BOOKINGS,
  }),
  answer: (answer) => ({ bookings: dataOf(answer), pagination: field(answer.json, 'pagination') }),
  describe: (input, page) =>
    `${page.pagination.totalItems} booking(s)${input.attendeeEmail === undefined ? '' : ` of ${input.attendeeEmail}`}`,
})

const retrieveBooking = defineOperation({
  summary: 'read a booking',
  input: z.object({
    /** Of a single booking or of one occurrence. The uid of a whole series is answered with a list and fails the contract. */
    uid,
  }),
  output: booking,
  idempotency: { kind: 'natural' },
  request: (input) => readBooking(input.uid),
  answer: dataOf,
  describe: (_input, found) => `booking "${found.title}"`,
})

const cancelBooking = defineOperation({
  summary: 'cancel a booking',
  input: z.object({
    uid,
    /** Required: Cal.com refuses a host's cancellation without a reason. The attendees read it. */
    cancellationReason: z.string().min(1),
  }),
  output: booking,
  // A second cancellation is refused with 400 and reaches nobody, so the booking's state is the answer.
  idempotency: askForBooking((found) => found.status === 'cancelled'),
  request: ({ uid, cancellationReason }) => ({
    method: 'POST',
    path: `/v2/bookings/${encodeURIComponent(uid)}/cancel`,
    headers: BOOKINGS,
    body: { json: { cancellationReason } },
  }),
  answer: dataOf,
  describe: (_input, made) => `booking "${made.title}" cancelled`,
})

const absences = z
  .object({
    uid,
    /** Whether the host was absent. */
    host: z.boolean().optional(),
    attendees: z
      .array(z.object({ email: z.string(), absent: z.boolean() }))
      .min(1)
      .optional(),
  })
  .refine(({ host, attendees }) => host !== undefined || attendees !== undefined, {
    message: 'say who was absent: host, attendees or both',
  })

const markAbsent = defineOperation({
  summary: 'mark a no-show',
  input: absences,
  output: booking,
  // Setting the same marks again changes nothing but sends BOOKING_NO_SHOW_UPDATED anew, so it is asked for first.
  idempotency: askForBooking<z.infer<typeof absences>>((found, { host, attendees = [] }) => {
    if (host !== undefined && found.absentHost !== host) return false
    return attendees.every(({ email, absent }) =>
      found.attendees.some((known) => known.email === email && known.absent === absent),
    )
  }),
  request: ({ uid, host, attendees }) => ({
    method: 'POST',
    path: `/v2/bookings/${encodeURIComponent(uid)}/mark-absent`,
    headers: BOOKINGS,
    body: { json: { host, attendees } },
  }),
  answer: dataOf,
  describe: (_input, made) => `no-show marked on "${made.title}"`,
})

const confirmBooking = defineOperation({
  summary: 'confirm a pending booking',
  input: z.object({ uid }),
  output: booking,
  idempotency: askForBooking(({ status }) => {
    if (status === 'accepted') return true
    return status === 'pending' ? false : undefined
  }),
  request: ({ uid }) => ({
    method: 'POST',
    path: `/v2/bookings/${encodeURIComponent(uid)}/confirm`,
    headers: BOOKINGS,
  }),
  answer: dataOf,
  describe: (_input, made) => `booking "${made.title}" confirmed`,
})

const listEventTypes = defineOperation({
  summary: 'list event types',
  input: z.object({
    /** Whose public event types. Left out: those of the key's account, hidden ones too. */
    username: z.string().optional(),
    eventSlug: z.string().optional(),
  }),
  output: z.array(eventType),
  idempotency: { kind: 'natural' },
  request: (query) => ({ method: 'GET', path: '/v2/event-types', query, headers: EVENT_TYPES }),
  answer: dataOf,
  describe: (_input, found) => `${found.length} event type(s)`,
})

const retrieveMe = defineOperation({
  summary: "read the key's account",
  input: z.object({}),
  output: me,
  idempotency: { kind: 'natural' },
  request: () => ({ method: 'GET', path: '/v2/me' }),
  answer: dataOf,
  describe: (_input, found) => `account ${found.email}`,
})

export const operations = {
  bookings: {
    list: listBookings,
    retrieve: retrieveBooking,
    cancel: cancelBooking,
    markAbsent,
    confirm: confirmBooking,
  },
  eventTypes: { list: listEventTypes },
  me: { retrieve: retrieveMe },
}
