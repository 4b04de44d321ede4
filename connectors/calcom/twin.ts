/**
 * A twin of Cal.com: API v2 under `/v2`, webhooks of version 2021-10-20.
 *
 * It answers what the reference and the open source of Cal.com say (see README.md), for the bookings of one host. It
 * is no kinder than Cal.com: a second cancellation is refused, a request without the resource's `cal-api-version`
 * fails, and a webhook that was not accepted is not sent again unless the options say so, since Cal.com documents no
 * retry.
 */
import { createHmac } from 'node:crypto'
import { createLaggingIndex, createTwin, systemClock, type Clock, type Twin } from 'trestle/testing'
import {
  absencePayloadOf,
  bookingPayloadOf,
  meetingBody,
  noShowPayloadOf,
  type Mark,
  type TwinBooking,
  type TwinEventType,
  type TwinUser,
} from './twinPayloads.ts'
import { calcomRoutes, errorBody, type CalcomState, type CalcomWorld } from './twinRoutes.ts'

export type { TwinBooking } from './twinPayloads.ts'
export type { CalcomState } from './twinRoutes.ts'

export interface CalcomTwinOptions {
  /** Default `cal_test_key`. */
  readonly apiKey?: string
  /** Where webhooks go; see also {@link CalcomTwin.subscribe}. */
  readonly webhookUrl?: string
  /** Default `calcom-webhook-secret`. */
  readonly webhookSecret?: string
  /** Waits before further attempts of a webhook. Default: none, since Cal.com documents no retry. */
  readonly retryAfterMs?: readonly number[]
  /** How long reads lag behind writes. Default 0. */
  readonly lagMs?: number
  /** Answers 429 beyond this many requests in a minute, as Cal.com does beyond 120. Default: no limit. */
  readonly requestsPerMinute?: number
  readonly seed?: string
  readonly clock?: Clock
  readonly witnessFile?: string
}

export interface NewBooking {
  readonly attendee: {
    readonly name: string
    readonly email: string
    /** E.164. */
    readonly phoneNumber?: string
    readonly timeZone?: string
  }
  /** ISO 8601. Default: a day from now. */
  readonly start?: string
  /** 101, a consultation of 30 minutes (default), or 102, a treatment of 60. */
  readonly eventTypeId?: number
  /** Waits for the host's confirmation: BOOKING_REQUESTED. Default false. */
  readonly pending?: boolean
  readonly metadata?: Readonly<Record<string, string>>
}

/** What can be made to happen at Cal.com. Each resolves after the first attempt of its webhook. */
export interface CalcomTwinMethods {
  /** Sends webhooks here from now on; `undefined` sends none. */
  readonly subscribe: (url: string | undefined, secret?: string) => void
  /** Somebody books: BOOKING_CREATED, or BOOKING_REQUESTED for a pending one. */
  readonly bookingCreated: (booking: NewBooking) => Promise<TwinBooking>
  /** A booking from the past, of which no webhook tells: history for `bookings.list`. */
  readonly pastBooking: (booking: NewBooking & { readonly start: string }) => TwinBooking
  /** The attendee moves the booking: a new uid, and BOOKING_RESCHEDULED. */
  readonly bookingRescheduled: (move: {
    readonly uid: string
    readonly start: string
  }) => Promise<TwinBooking>
  /** The attendee cancels: BOOKING_CANCELLED. */
  readonly bookingCancelled: (cancel: {
    readonly uid: string
    readonly reason?: string
  }) => Promise<TwinBooking>
  /** The host declines in the web app: BOOKING_REJECTED. */
  readonly bookingRejected: (reject: {
    readonly uid: string
    readonly reason?: string
  }) => Promise<TwinBooking>
  /** The attendee pays: BOOKING_PAID. */
  readonly bookingPaid: (booking: { readonly uid: string }) => Promise<TwinBooking>
  /** Cal Video saw nobody of one side: AFTER_HOSTS_CAL_VIDEO_NO_SHOW or AFTER_GUESTS_CAL_VIDEO_NO_SHOW. */
  readonly callMissed: (missed: {
    readonly uid: string
    readonly by: 'host' | 'guest'
  }) => Promise<TwinBooking>
  /** The appointment begins: MEETING_STARTED. */
  readonly bookingStarted: (booking: { readonly uid: string }) => Promise<TwinBooking>
  /** The appointment is over: MEETING_ENDED. */
  readonly bookingEnded: (booking: { readonly uid: string }) => Promise<TwinBooking>
  /** The host marks an attendee in the web app (default: the first, as absent): BOOKING_NO_SHOW_UPDATED. */
  readonly noShow: (mark: {
    readonly uid: string
    readonly email?: string
    readonly absent?: boolean
  }) => Promise<TwinBooking>
}

export type CalcomTwin = Twin<CalcomState> & CalcomTwinMethods

const MINUTE_MS = 60_000
const WEBHOOK_VERSION = '2021-10-20'

const HOST: TwinUser = {
  id: 7,
  name: 'Grace Hopper',
  username: 'grace',
  email: 'grace@salon.example',
  timeZone: 'Europe/Berlin',
}

const CONSULTATION: TwinEventType = {
  id: 101,
  slug: 'consultation',
  title: 'Consultation',
  lengthInMinutes: 30,
  price: 0,
}
const TREATMENT: TwinEventType = {
  id: 102,
  slug: 'treatment',
  title: 'Treatment',
  lengthInMinutes: 60,
  price: 8000,
}

/** Makes a twin of Cal.com. It does nothing before `start`. */
export function createCalcomTwin(options: CalcomTwinOptions = {}): CalcomTwin {
  const clock = options.clock ?? systemClock
  const apiKey = options.apiKey ?? 'cal_test_key'
  const state: CalcomState = { bookings: new Map(), eventTypes: [CONSULTATION, TREATMENT], host: HOST }
  const readable = createLaggingIndex<TwinBooking>({ clock, lagMs: options.lagMs ?? 0 })
  let webhookUrl = options.webhookUrl
  let webhookSecret = options.webhookSecret ?? 'calcom-webhook-secret'
  let nextId = 1000

  const isoAt = (ms: number): string => new Date(ms).toISOString()
  const nowIso = (): string => isoAt(clock.now())

  const world: CalcomWorld = {
    state,
    typeOf: (id) => state.eventTypes.find((type) => type.id === id) ?? CONSULTATION,
    read: (matches) => readable.search(matches),
    save(booking) {
      const saved = { ...booking, updatedAt: nowIso() }
      state.bookings.set(saved.uid, saved)
      readable.put(saved.uid, saved)
      return saved
    },
    mark: (booking, host, marks) =>
      world.save({
        ...booking,
        absentHost: host ?? booking.absentHost,
        attendees: booking.attendees.map((attendee) => ({
          ...attendee,
          absent: marks.find(({ email }) => email === attendee.email)?.absent ?? attendee.absent,
        })),
      }),
    tell: (triggerEvent, payload) => send({ triggerEvent, createdAt: nowIso(), payload }),
    tellBooking: (triggerEvent, booking, extra) =>
      world.tell(triggerEvent, bookingPayloadOf(booking, HOST, world.typeOf(booking.eventTypeId), extra)),
  }

  const send = async (body: unknown): Promise<void> => {
    if (webhookUrl === undefined) return
    const secret = webhookSecret
    await twin.webhooks.send({
      url: webhookUrl,
      body: JSON.stringify(body),
      headers: { 'x-cal-webhook-version': WEBHOOK_VERSION },
      sign: (signed) => ({
        headers: { 'x-cal-signature-256': createHmac('sha256', secret).update(signed).digest('hex') },
      }),
    })
  }

  const known = (uid: string): TwinBooking => {
    const found = state.bookings.get(uid)
    if (!found)
      throw new Error(`There is no booking ${uid}. There are: ${[...state.bookings.keys()].join(', ')}.`)
    return found
  }

  const book = ({ attendee, ...input }: NewBooking): TwinBooking => {
    const type = world.typeOf(input.eventTypeId ?? CONSULTATION.id)
    const startMs = input.start === undefined ? clock.now() + 1440 * MINUTE_MS : Date.parse(input.start)
    const uid = twin.newId('', 22)
    return world.save({
      id: nextId++,
      uid,
      title: `${type.title} between ${HOST.name} and ${attendee.name}`,
      description: '',
      status: input.pending === true ? 'pending' : 'accepted',
      start: isoAt(startMs),
      end: isoAt(startMs + type.lengthInMinutes * MINUTE_MS),
      eventTypeId: type.id,
      attendees: [
        {
          name: attendee.name,
          email: attendee.email,
          phoneNumber: attendee.phoneNumber,
          timeZone: attendee.timeZone ?? HOST.timeZone,
          absent: false,
        },
      ],
      location: `https://app.cal.com/video/${uid}`,
      absentHost: false,
      createdAt: nowIso(),
      updatedAt: nowIso(),
      metadata: input.metadata ?? {},
    })
  }

  const methods: CalcomTwinMethods = {
    subscribe(url, secret = webhookSecret) {
      webhookUrl = url
      webhookSecret = secret
    },
    async bookingCreated(input) {
      const booking = book(input)
      await world.tellBooking(booking.status === 'pending' ? 'BOOKING_REQUESTED' : 'BOOKING_CREATED', booking)
      return booking
    },
    pastBooking: book,
    async bookingRescheduled({ uid, start }) {
      const old = known(uid)
      const startMs = Date.parse(start)
      const next = world.save({
        ...old,
        id: nextId++,
        uid: twin.newId('', 22),
        rescheduledFromUid: uid,
        start: isoAt(startMs),
        end: isoAt(startMs + Date.parse(old.end) - Date.parse(old.start)),
        createdAt: nowIso(),
      })
      world.save({ ...old, status: 'cancelled', rescheduledToUid: next.uid })
      await world.tellBooking('BOOKING_RESCHEDULED', next, {
        rescheduleId: old.id,
        rescheduleUid: uid,
        rescheduleStartTime: old.start,
        rescheduleEndTime: old.end,
        rescheduledBy: old.attendees[0]?.email,
      })
      return next
    },
    async bookingCancelled({ uid, reason = 'Something came up' }) {
      const cancelled = world.save({ ...known(uid), status: 'cancelled', cancellationReason: reason })
      await world.tellBooking('BOOKING_CANCELLED', cancelled, {
        cancelledBy: cancelled.attendees[0]?.email,
        requestReschedule: false,
      })
      return cancelled
    },
    async bookingRejected({ uid, reason = 'Fully booked' }) {
      const rejected = world.save({ ...known(uid), status: 'rejected' })
      await world.tellBooking('BOOKING_REJECTED', rejected, { rejectionReason: reason })
      return rejected
    },
    async bookingPaid({ uid }) {
      await world.tellBooking('BOOKING_PAID', known(uid), { paymentId: known(uid).id })
      return known(uid)
    },
    async callMissed({ uid, by }) {
      const trigger = by === 'host' ? 'AFTER_HOSTS_CAL_VIDEO_NO_SHOW' : 'AFTER_GUESTS_CAL_VIDEO_NO_SHOW'
      await world.tell(trigger, absencePayloadOf(known(uid), HOST, by))
      return known(uid)
    },
    async bookingStarted({ uid }) {
      await send(meetingBody('MEETING_STARTED', known(uid), HOST))
      return known(uid)
    },
    async bookingEnded({ uid }) {
      await send(meetingBody('MEETING_ENDED', known(uid), HOST))
      return known(uid)
    },
    async noShow({ uid, email, absent = true }) {
      const booking = known(uid)
      const marks: readonly Mark[] = [{ email: email ?? booking.attendees[0]?.email ?? '', absent }]
      const marked = world.mark(booking, undefined, marks)
      await world.tell('BOOKING_NO_SHOW_UPDATED', noShowPayloadOf(marked, marks))
      return marked
    },
  }

  const isOverLimit = createThrottle(options.requestsPerMinute)

  const core = createTwin<CalcomState>({
    name: 'calcom',
    state,
    routes: calcomRoutes(world),
    authorize({ headers, now, path }) {
      if (headers['authorization'] !== `Bearer ${apiKey}`)
        return { status: 401, json: errorBody(401, 'Invalid API Key', now, path) }
      const waitSeconds = isOverLimit(now)
      if (waitSeconds === undefined) return undefined
      return {
        status: 429,
        headers: {
          'X-RateLimit-Limit-Default': String(options.requestsPerMinute),
          'X-RateLimit-Remaining-Default': '0',
          'X-RateLimit-Reset-Default': String(waitSeconds),
        },
        json: errorBody(429, 'CustomThrottlerGuard - Too many requests. Please try again later.', now, path),
      }
    },
    errorBody: (status, message) => errorBody(status, message, clock.now()),
    actions: {
      bookingCreated: methods.bookingCreated,
      pastBooking: methods.pastBooking,
      bookingRescheduled: methods.bookingRescheduled,
      bookingCancelled: methods.bookingCancelled,
      bookingRejected: methods.bookingRejected,
      bookingPaid: methods.bookingPaid,
      callMissed: methods.callMissed,
      bookingStarted: methods.bookingStarted,
      bookingEnded: methods.bookingEnded,
      noShow: methods.noShow,
      subscribe: ({ url, secret }: { url?: string; secret?: string }) => methods.subscribe(url, secret),
    },
    webhooks: { retryAfterMs: options.retryAfterMs ?? [] },
    seed: options.seed,
    clock,
    witnessFile: options.witnessFile,
  })
  const twin: CalcomTwin = Object.assign(core, methods)
  return twin
}

/** Counts in windows of a minute; who goes beyond is blocked for a minute. Gives the seconds to wait. */
function createThrottle(perMinute: number | undefined): (now: number) => number | undefined {
  let from = -Infinity
  let count = 0
  return (now) => {
    if (perMinute === undefined) return undefined
    if (now - from >= MINUTE_MS) {
      from = now
      count = 0
    }
    count++
    if (count <= perMinute) return undefined
    if (count === perMinute + 1) from = now
    return Math.ceil((from + MINUTE_MS - now) / 1000)
  }
}
