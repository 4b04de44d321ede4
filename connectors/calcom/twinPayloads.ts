/** A booking as the API answers it, with what only webhooks tell. */
export interface TwinBooking {
  readonly id: number
  readonly uid: string
  readonly title: string
  readonly description: string
  readonly status: 'accepted' | 'pending' | 'cancelled' | 'rejected'
  readonly cancellationReason?: string
  readonly rescheduledFromUid?: string
  readonly rescheduledToUid?: string
  /** ISO 8601. */
  readonly start: string
  readonly end: string
  readonly eventTypeId: number
  readonly attendees: readonly TwinAttendee[]
  readonly location: string
  readonly absentHost: boolean
  readonly createdAt: string
  readonly updatedAt: string
  readonly metadata: Readonly<Record<string, string>>
}

interface TwinAttendee {
  readonly name: string
  readonly email: string
  readonly timeZone: string
  readonly phoneNumber: string | undefined
  readonly absent: boolean
}

/** A no-show mark, or its taking back. */
export interface Mark {
  readonly email: string
  readonly absent: boolean
}

export interface TwinEventType {
  readonly id: number
  readonly slug: string
  readonly title: string
  readonly lengthInMinutes: number
  /** Minor units. */
  readonly price: number
}

export interface TwinUser {
  readonly id: number
  readonly name: string
  readonly username: string
  readonly email: string
  readonly timeZone: string
}

const minutesOf = (booking: TwinBooking): number =>
  (Date.parse(booking.end) - Date.parse(booking.start)) / 60_000

/** `GET /v2/bookings/:uid`, version 2024-08-13. */
export function bookingAnswer(booking: TwinBooking, host: TwinUser, type: TwinEventType): unknown {
  return {
    id: booking.id,
    uid: booking.uid,
    title: booking.title,
    description: booking.description,
    hosts: [
      {
        id: host.id,
        name: host.name,
        email: host.email,
        displayEmail: host.email,
        username: host.username,
        timeZone: host.timeZone,
      },
    ],
    status: booking.status,
    cancellationReason: booking.cancellationReason,
    rescheduledFromUid: booking.rescheduledFromUid,
    rescheduledToUid: booking.rescheduledToUid,
    start: booking.start,
    end: booking.end,
    duration: minutesOf(booking),
    eventTypeId: type.id,
    eventType: { id: type.id, slug: type.slug },
    meetingUrl: booking.location,
    location: booking.location,
    absentHost: booking.absentHost,
    createdAt: booking.createdAt,
    updatedAt: booking.updatedAt,
    metadata: booking.metadata,
    attendees: booking.attendees.map((attendee) => ({
      name: attendee.name,
      email: attendee.email,
      displayEmail: attendee.email,
      timeZone: attendee.timeZone,
      language: 'en',
      absent: attendee.absent,
      phoneNumber: attendee.phoneNumber,
    })),
    guests: [],
    bookingFieldsResponses: { name: booking.attendees[0]?.name, email: booking.attendees[0]?.email },
  }
}

/** The `payload` of booking webhooks, version 2021-10-20. */
export function bookingPayloadOf(
  booking: TwinBooking,
  host: TwinUser,
  type: TwinEventType,
  extra: Readonly<Record<string, unknown>> = {},
): unknown {
  const booker = booking.attendees[0]
  return {
    bookerUrl: 'https://app.cal.com',
    type: type.slug,
    title: booking.title,
    description: booking.description,
    additionalNotes: '',
    customInputs: {},
    startTime: booking.start,
    endTime: booking.end,
    eventTypeId: type.id,
    organizer: {
      id: host.id,
      name: host.name,
      email: host.email,
      username: host.username,
      timeZone: host.timeZone,
      language: { locale: 'en' },
      timeFormat: 'h:mma',
      utcOffset: 0,
    },
    attendees: booking.attendees.map(({ name, email, timeZone, phoneNumber }) => ({
      email,
      name,
      firstName: name.split(' ')[0] ?? '',
      lastName: name.split(' ').slice(1).join(' '),
      timeZone,
      phoneNumber: phoneNumber ?? null,
      language: { locale: 'en' },
      utcOffset: 0,
    })),
    responses: {
      name: { label: 'your_name', value: booker?.name, isHidden: false },
      email: { label: 'email_address', value: booker?.email, isHidden: false },
      attendeePhoneNumber: { label: 'phone_number', value: booker?.phoneNumber, isHidden: false },
    },
    userFieldsResponses: {},
    location: booking.location,
    destinationCalendar: null,
    iCalUID: `${booking.uid}@cal.com`,
    iCalSequence: 0,
    requiresConfirmation: booking.status === 'pending',
    uid: booking.uid,
    bookingId: booking.id,
    eventTitle: type.title,
    eventDescription: '',
    price: type.price,
    currency: 'usd',
    length: minutesOf(booking),
    cancellationReason: booking.cancellationReason,
    metadata: booking.metadata,
    status: booking.status.toUpperCase(),
    ...extra,
  }
}

/** The flat body of MEETING_STARTED and MEETING_ENDED: `createdAt` is the booking's. */
export function meetingBody(triggerEvent: string, booking: TwinBooking, host: TwinUser): unknown {
  return {
    triggerEvent,
    id: booking.id,
    uid: booking.uid,
    idempotencyKey: `00000000-0000-5000-8000-${String(booking.id).padStart(12, '0')}`,
    userId: host.id,
    userPrimaryEmail: host.email,
    eventTypeId: booking.eventTypeId,
    title: booking.title,
    description: booking.description,
    customInputs: {},
    startTime: booking.start,
    endTime: booking.end,
    location: booking.location,
    createdAt: booking.createdAt,
    updatedAt: booking.updatedAt,
    status: booking.status.toUpperCase(),
    paid: false,
    cancellationReason: booking.cancellationReason ?? null,
    rejectionReason: null,
    metadata: booking.metadata,
    noShowHost: booking.absentHost,
    user: { email: host.email, name: host.name, timeZone: host.timeZone, username: host.username },
    attendees: booking.attendees.map(({ name, email, timeZone, phoneNumber, absent }, i) => ({
      id: booking.id * 10 + i,
      email,
      name,
      timeZone,
      phoneNumber: phoneNumber ?? null,
      locale: 'en',
      bookingId: booking.id,
      noShow: absent,
    })),
    payment: [],
    references: [],
  }
}

/** The `payload` of BOOKING_NO_SHOW_UPDATED. */
export function noShowPayloadOf(booking: TwinBooking, marks: readonly Mark[]): unknown {
  return {
    message: marks
      .map(({ email, absent }) => `${email} ${absent ? 'marked' : 'unmarked'} as no-show`)
      .join(', '),
    attendees: marks.map(({ email, absent }) => ({ email, noShow: absent })),
    bookingUid: booking.uid,
    bookingId: booking.id,
  }
}

/** The `payload` of the automatic checks in Cal Video. */
export function absencePayloadOf(booking: TwinBooking, host: TwinUser, by: 'host' | 'guest'): unknown {
  return {
    title: booking.title,
    bookingId: booking.id,
    bookingUid: booking.uid,
    startTime: booking.start,
    endTime: booking.end,
    attendees: booking.attendees.map(({ name, email, timeZone, absent }, i) => ({
      id: booking.id * 10 + i,
      email,
      name,
      timeZone,
      locale: 'en',
      bookingId: booking.id,
      noShow: absent,
    })),
    participants: [],
    ...(by === 'host' ? { hostEmail: host.email } : {}),
    eventType: { id: booking.eventTypeId, teamId: null, parentId: null, calVideoSettings: null },
    message:
      by === 'host' ? `Host with email ${host.email} didn't join the call` : "Guest didn't join the call",
  }
}
