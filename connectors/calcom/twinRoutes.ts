import { Refusal, route, type TwinAnswer, type TwinRequest, type TwinRoute } from 'trestle/testing'
import {
  bookingAnswer,
  noShowPayloadOf,
  type Mark,
  type TwinBooking,
  type TwinEventType,
  type TwinUser,
} from './twinPayloads.ts'

export interface CalcomState {
  readonly bookings: Map<string, TwinBooking>
  readonly eventTypes: readonly TwinEventType[]
  readonly host: TwinUser
}

/** What the routes ask of the twin. */
export interface CalcomWorld {
  readonly state: CalcomState
  save(booking: TwinBooking): TwinBooking
  mark(booking: TwinBooking, host: boolean | undefined, marks: readonly Mark[]): TwinBooking
  typeOf(eventTypeId: number): TwinEventType
  /** Bookings as reads see them, which may lag behind. */
  read(matches: (booking: TwinBooking) => boolean): readonly TwinBooking[]
  /** Sends `{ triggerEvent, createdAt, payload }`. */
  tell(triggerEvent: string, payload: unknown): Promise<unknown>
  tellBooking(
    triggerEvent: string,
    booking: TwinBooking,
    extra?: Readonly<Record<string, unknown>>,
  ): Promise<unknown>
}

type Request = TwinRequest<CalcomState>

const BOOKINGS_VERSION = '2024-08-13'
const EVENT_TYPES_VERSION = '2024-06-14'

const ERROR_NAMES: Readonly<Record<number, string>> = {
  400: 'BadRequestException',
  401: 'UnauthorizedException',
  403: 'ForbiddenException',
  404: 'NotFoundException',
  429: 'ThrottlerException',
  500: 'InternalServerErrorException',
  503: 'ServiceUnavailableException',
}

/** `{ status: 'error', timestamp, path, error: { code, message } }`, as apps/api/v2/src/filters writes it. */
export function errorBody(status: number, message: string, now: number, path = ''): unknown {
  return {
    status: 'error',
    timestamp: new Date(now).toISOString(),
    path,
    error: { code: ERROR_NAMES[status] ?? 'HttpException', message },
  }
}

function refuse(request: Request, status: number, message: string): never {
  throw new Refusal({ status, json: errorBody(status, message, request.now, request.path) })
}

/** Without the right header Cal.com answers in the shape of an older version; the twin refuses, so that it shows. */
function requireVersion(request: Request, wanted: string): void {
  if (request.headers['cal-api-version'] !== wanted)
    refuse(
      request,
      404,
      `Cannot ${request.method} ${request.path}: this twin plays cal-api-version ${wanted} only`,
    )
}

export function calcomRoutes(world: CalcomWorld): readonly TwinRoute<CalcomState>[] {
  const { host, eventTypes } = world.state
  const show = (booking: TwinBooking): unknown =>
    bookingAnswer(booking, host, world.typeOf(booking.eventTypeId))
  const success = (data: unknown, more: object = {}): TwinAnswer => ({
    status: 200,
    json: { status: 'success', data, ...more },
  })
  const missing = (request: Request): never =>
    refuse(request, 404, `Booking with uid=${request.params['uid']} was not found in the database`)

  const bookingOf = (request: Request): TwinBooking => {
    requireVersion(request, BOOKINGS_VERSION)
    return world.state.bookings.get(request.params['uid'] ?? '') ?? missing(request)
  }

  return [
    route('GET', '/v2/me', () =>
      success({
        id: host.id,
        username: host.username,
        email: host.email,
        timeFormat: 24,
        defaultScheduleId: 1,
        weekStart: 'Monday',
        timeZone: host.timeZone,
        organizationId: null,
      }),
    ),

    route('GET', '/v2/event-types', (request) => {
      requireVersion(request, EVENT_TYPES_VERSION)
      const wanted = request.query.get('eventSlug')
      const found = eventTypes.filter(({ slug }) => wanted === null || slug === wanted)
      return success(found.map(({ price, ...type }) => ({ ...type, description: '', hidden: false, price })))
    }),

    route('GET', '/v2/bookings', (request) => {
      requireVersion(request, BOOKINGS_VERSION)
      const take = wholeNumber(request, 'take', 100)
      const skip = wholeNumber(request, 'skip', 0)
      if (take < 1 || take > 250) refuse(request, 400, 'take must not be less than 1 or greater than 250')
      const found = sorted(
        world.read((booking) => fits(booking, request.query, request.now)),
        request.query,
      )
      const page = found.slice(skip, skip + take)
      return success(page.map(show), { pagination: paginationOf(found.length, page.length, take, skip) })
    }),

    route('GET', '/v2/bookings/:uid', (request) => {
      const { uid } = bookingOf(request)
      const [found] = world.read((booking) => booking.uid === uid)
      return success(show(found ?? missing(request)))
    }),

    route('POST', '/v2/bookings/:uid/cancel', (request) => {
      const booking = bookingOf(request)
      const { cancellationReason } = bodyOf<{ cancellationReason?: string }>(request)
      if (booking.status === 'cancelled') refuse(request, 400, 'This booking has already been cancelled.')
      if (!cancellationReason) refuse(request, 400, 'Cancellation reason is required when you are the host')
      const cancelled = world.save({ ...booking, status: 'cancelled', cancellationReason })
      request.effect({
        kind: 'booking.cancelled',
        key: booking.uid,
        ref: booking.uid,
        summary: `${booking.title} cancelled: ${cancellationReason}`,
      })
      void world.tellBooking('BOOKING_CANCELLED', cancelled, {
        cancelledBy: host.email,
        requestReschedule: false,
      })
      return success(show(cancelled))
    }),

    route('POST', '/v2/bookings/:uid/mark-absent', (request) => {
      const booking = bookingOf(request)
      if (request.now < Date.parse(booking.start))
        refuse(
          request,
          400,
          `Bookings can only be marked as absent after their scheduled start time. Current time in UTC+0: ${new Date(request.now).toISOString()}, Booking start time in UTC+0: ${booking.start}`,
        )
      const marks = bodyOf<{ host?: boolean; attendees?: Mark[] }>(request)
      const marked = world.mark(booking, marks.host, marks.attendees ?? [])
      request.effect({
        kind: 'booking.marked_absent',
        key: `${booking.uid} ${JSON.stringify(marks)}`,
        ref: booking.uid,
        summary: `no-show marked on ${booking.title}`,
      })
      void world.tell('BOOKING_NO_SHOW_UPDATED', noShowPayloadOf(marked, marks.attendees ?? []))
      return success(show(marked))
    }),

    route('POST', '/v2/bookings/:uid/confirm', (request) => {
      const booking = bookingOf(request)
      if (booking.status !== 'pending')
        refuse(request, 400, 'Bad request: Please check your request data and try again')
      const confirmed = world.save({ ...booking, status: 'accepted' })
      request.effect({
        kind: 'booking.confirmed',
        key: booking.uid,
        ref: booking.uid,
        summary: `${booking.title} confirmed`,
      })
      void world.tellBooking('BOOKING_CREATED', confirmed)
      return success(show(confirmed))
    }),
  ]
}

function bodyOf<Body extends object>(request: Request): Partial<Body> {
  const { json } = request
  return json !== null && typeof json === 'object' && !Array.isArray(json) ? (json as Partial<Body>) : {}
}

function wholeNumber(request: Request, name: string, otherwise: number): number {
  const text = request.query.get(name)
  const number = text === null ? otherwise : Number(text)
  if (!Number.isInteger(number) || number < 0)
    refuse(request, 400, `${name} must be a number conforming to the specified constraints`)
  return number
}

/** `upcoming`, `past` and the others are questions about state and time, not values of `status`. */
const LISTED_AS: Readonly<Record<string, (booking: TwinBooking, now: number) => boolean>> = {
  upcoming: ({ status, end }, now) => status === 'accepted' && Date.parse(end) >= now,
  recurring: () => false,
  past: ({ status, end }, now) => (status === 'accepted' || status === 'pending') && Date.parse(end) < now,
  cancelled: ({ status }) => status === 'cancelled' || status === 'rejected',
  unconfirmed: ({ status, end }, now) => status === 'pending' && Date.parse(end) >= now,
}

function fits(booking: TwinBooking, query: URLSearchParams, now: number): boolean {
  const status = query.get('status')?.split(',')
  // Cal.com turns spaces into "+", because senders forget to encode it.
  const email = query.get('attendeeEmail')?.trim().replaceAll(/\s+/g, '+')
  const eventTypeId = query.get('eventTypeId')
  const after = (name: string, value: string): boolean => {
    const bound = query.get(name)
    return bound === null || Date.parse(value) >= Date.parse(bound)
  }
  const beforeEnd = query.get('beforeEnd')
  return (
    (status === undefined || status.some((name) => LISTED_AS[name.trim()]?.(booking, now) ?? false)) &&
    (email === undefined || booking.attendees.some((attendee) => attendee.email === email)) &&
    (eventTypeId === null || booking.eventTypeId === Number(eventTypeId)) &&
    after('afterStart', booking.start) &&
    after('afterUpdatedAt', booking.updatedAt) &&
    (beforeEnd === null || Date.parse(booking.end) <= Date.parse(beforeEnd))
  )
}

function sorted(bookings: readonly TwinBooking[], query: URLSearchParams): TwinBooking[] {
  const orders: readonly (readonly [string, (booking: TwinBooking) => string])[] = [
    ['sortUpdatedAt', ({ updatedAt }) => updatedAt],
    ['sortCreated', ({ createdAt }) => createdAt],
    ['sortStart', ({ start }) => start],
  ]
  const [name, by] = orders.find(([asked]) => query.has(asked)) ?? orders[2]!
  const sign = query.get(name) === 'desc' ? -1 : 1
  return [...bookings].sort((a, b) => sign * (by(a) < by(b) ? -1 : by(a) > by(b) ? 1 : a.id - b.id))
}

function paginationOf(total: number, returned: number, take: number, skip: number): unknown {
  const totalPages = Math.ceil(total / take)
  return {
    totalItems: total,
    remainingItems: Math.max(0, total - (skip + take)),
    returnedItems: returned,
    itemsPerPage: take,
    currentPage: totalPages === 0 ? 0 : Math.min(Math.floor(skip / take) + 1, totalPages),
    totalPages,
    hasNextPage: skip + take < total,
    hasPreviousPage: skip > 0,
  }
}
