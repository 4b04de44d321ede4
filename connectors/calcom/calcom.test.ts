import { readFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  describeConnector,
  startSubject,
  type ConformanceOptions,
  type Subject,
} from '../../tests/conformance/suite.ts'
import { parseJson, type JsonValue } from '../../src/base/index.ts'
import { calcom } from './index.ts'
import { createCalcomTwin, type CalcomTwin } from './twin.ts'

const DAY = 86_400_000
const ada = { name: 'Ada Lovelace', email: 'ada+hair@example.com', phoneNumber: '+4915112345678' }

const conformance: ConformanceOptions<CalcomTwin> = {
  connector: calcom,
  folder: new URL('.', import.meta.url),
  twin: (clock) => createCalcomTwin({ clock }),
  authorize: () => ({ authorization: 'Bearer cal_test_key' }),
  samples: {
    'bookings.list': {
      input: async ({ twin }) => {
        await twin.bookingCreated({ attendee: ada })
        return { attendeeEmail: ada.email, status: ['upcoming', 'past'] }
      },
    },
    'bookings.retrieve': {
      input: async ({ twin }) => ({ uid: (await twin.bookingCreated({ attendee: ada })).uid }),
    },
    'bookings.cancel': {
      input: async ({ twin }) => ({
        uid: (await twin.bookingCreated({ attendee: ada })).uid,
        cancellationReason: 'The salon is closed that day',
      }),
      lookupTakesOthers: 'a booking is cancelled, whoever cancelled it: nothing is left to do',
    },
    'bookings.markAbsent': {
      input: async ({ twin, clock }) => ({
        uid: twin.pastBooking({ attendee: ada, start: iso(clock.now() - DAY) }).uid,
        attendees: [{ email: ada.email, absent: true }],
      }),
      lookupTakesOthers: 'the mark is set, whoever set it: nothing is left to do',
    },
    'bookings.confirm': {
      input: async ({ twin }) => ({ uid: (await twin.bookingCreated({ attendee: ada, pending: true })).uid }),
      lookupTakesOthers: 'the booking is confirmed, whoever confirmed it: nothing is left to do',
    },
    'eventTypes.list': { input: () => ({}) },
    'me.retrieve': { input: () => ({}) },
  },
  webhooks: {
    secrets: ['calcom-webhook-secret'],
    async send(twin, url) {
      twin.subscribe(url)
      const { uid } = await twin.bookingCreated({ attendee: ada })
      const pending = await twin.bookingCreated({ attendee: ada, pending: true })
      await twin.bookingRejected({ uid: pending.uid })
      const moved = await twin.bookingRescheduled({ uid, start: iso(twin.clock.now() + 2 * DAY) })
      await twin.bookingPaid({ uid: moved.uid })
      await twin.bookingStarted({ uid: moved.uid })
      await twin.bookingEnded({ uid: moved.uid })
      await twin.noShow({ uid: moved.uid })
      await twin.callMissed({ uid: moved.uid, by: 'guest' })
      await twin.callMissed({ uid: moved.uid, by: 'host' })
      await twin.bookingCancelled({ uid: moved.uid })
    },
  },
}

/** Stops the twin; throws if it made a mistake of its own. */
async function stopSound(subject: Subject<CalcomTwin>): Promise<void> {
  await subject.stop()
  const errors = subject.twin.ownErrors()
  if (errors.length > 0) throw new Error(errors.join('; '))
}

function iso(ms: number): string {
  return new Date(ms).toISOString()
}

describeConnector(conformance)

describe('calcom operations', () => {
  let subject: Subject<CalcomTwin>

  beforeEach(async () => {
    subject = await startSubject(conformance)
  })
  afterEach(() => stopSound(subject))

  it('pin the version of each resource, without which Cal.com would answer in an older shape', async () => {
    const { uid } = await subject.twin.bookingCreated({ attendee: ada })
    await subject.call('bookings.retrieve', { uid })
    await subject.call('eventTypes.list', {})
    expect(subject.twin.requests().map(({ headers }) => headers['cal-api-version'])).toEqual([
      '2024-08-13',
      '2024-06-14',
    ])
    const bare = await fetch(`${subject.twin.url}/v2/bookings/${uid}`, {
      headers: { authorization: 'Bearer cal_test_key' },
    })
    expect(bare.status, 'the twin notices when the version is left out').toBe(404)
  })

  it('page through bookings with take and skip, each booking once', async () => {
    for (let day = 1; day <= 5; day++)
      subject.twin.pastBooking({ attendee: ada, start: iso(subject.clock.now() - day * DAY) })
    const seen: string[] = []
    let more = true
    for (let skip = 0; more; skip += 2) {
      const page = (await (
        await subject.call('bookings.list', { take: 2, skip, sortStart: 'desc' })
      ).output()) as {
        bookings: { uid: string; start: string }[]
        pagination: { hasNextPage: boolean; totalItems: number }
      }
      seen.push(...page.bookings.map(({ start }) => start))
      expect(page.pagination.totalItems).toBe(5)
      more = page.pagination.hasNextPage
    }
    expect(seen).toEqual([1, 2, 3, 4, 5].map((day) => iso(subject.clock.now() - day * DAY)))
  })

  it('find the bookings of an attendee whose address has a plus sign', async () => {
    await subject.twin.bookingCreated({ attendee: ada })
    await subject.twin.bookingCreated({ attendee: { name: 'Bob', email: 'bob@example.com' } })
    const called = await subject.call('bookings.list', { attendeeEmail: ada.email })
    const { bookings } = (await called.output()) as { bookings: { attendees: { email: string }[] }[] }
    expect(bookings.map(({ attendees }) => attendees[0]?.email)).toEqual([ada.email])
    expect(subject.twin.requests().at(-1)?.query).toContain('ada%2Bhair%40example.com')
  })

  it('refuse a second cancellation, so that a lost answer must be looked up and not sent again', async () => {
    const { uid } = await subject.twin.bookingCreated({ attendee: ada })
    const input = { uid, cancellationReason: 'The salon is closed that day' }
    subject.twin.faults.resetAfterActing(1)
    await expect(subject.call('bookings.cancel', input)).rejects.toThrow(/ECONNRESET|other side closed/)
    const blind = await subject.call('bookings.cancel', input)
    expect(blind.classification).toMatchObject({ as: 'failed' })
    expect(await subject.lookUp('bookings.cancel', input, { key: 'k' })).toMatchObject({
      uid,
      status: 'cancelled',
    })
    expect(subject.twin.effects().map(({ kind }) => kind)).toEqual(['booking.cancelled'])
  })

  it('are not believed by the look-up while reads may still lag', async () => {
    const lagging = await startSubject({
      ...conformance,
      twin: (clock) => createCalcomTwin({ clock, lagMs: 10_000 }),
    })
    const { uid } = await lagging.twin.bookingCreated({ attendee: ada })
    await lagging.clock.advance(10_000)
    const input = { uid, cancellationReason: 'The salon is closed that day' }
    await lagging.call('bookings.cancel', input)
    expect(await lagging.lookUp('bookings.cancel', input, { key: 'k' }), 'too early').toBeUndefined()
    const { idempotency } = calcom.operations.bookings.cancel
    await lagging.clock.advance(idempotency.kind === 'lookup' ? idempotency.settleAfterMs : 0)
    expect(await lagging.lookUp('bookings.cancel', input, { key: 'k' })).toMatchObject({
      status: 'cancelled',
    })
    await lagging.stop()
  })

  it('leave a confirmation in doubt when the booking was cancelled meanwhile', async () => {
    const { uid } = await subject.twin.bookingCreated({ attendee: ada, pending: true })
    await subject.twin.bookingCancelled({ uid })
    await expect(subject.lookUp('bookings.confirm', { uid }, { key: 'k' })).rejects.toThrow(
      /cancelled.*cannot be told/,
    )
  })

  it('leave everything in doubt when the question is not answered', async () => {
    const { uid } = await subject.twin.bookingCreated({ attendee: ada })
    const input = { uid, cancellationReason: 'x' }
    subject.twin.faults.failNext(1, 503)
    await expect(subject.lookUp('bookings.cancel', input, { key: 'k' })).rejects.toThrow(/503.*tells nothing/)
    subject.twin.faults.dropField('data.status', 1)
    await expect(subject.lookUp('bookings.cancel', input, { key: 'k' })).rejects.toThrow(/tells nothing/)
  })

  it('wait as long as X-RateLimit-Reset says', async () => {
    const limited = await startSubject({
      ...conformance,
      twin: (clock) => createCalcomTwin({ clock, requestsPerMinute: 2 }),
    })
    const now = limited.clock.now()
    const answers = [await limited.call('me.retrieve', {}), await limited.call('me.retrieve', {})]
    expect(answers.map(({ classification }) => classification.as)).toEqual(['succeeded', 'succeeded'])
    const { classification } = await limited.call('me.retrieve', {})
    expect(classification).toMatchObject({ as: 'retry', code: 'rate_limited', retryAt: now + 60_000 })
    await limited.stop()
  })

  it('read a reset time in either form that is documented', () => {
    const answer = (reset: string) =>
      calcom.classify?.(
        { status: 429, headers: { 'x-ratelimit-reset-default': reset }, json: undefined, text: '' },
        1_795_338_000_000,
      )
    expect(answer('42')).toMatchObject({ retryAt: 1_795_338_042_000 })
    expect(answer('1795338042')).toMatchObject({ retryAt: 1_795_338_042_000 })
    expect(answer('soon')).not.toHaveProperty('retryAt')
  })

  it('do not take a refusal to somebody who is no host for a refused key', () => {
    const json = {
      status: 'error',
      error: { code: 'HttpException', message: 'User not a host of this event' },
    }
    const classify = (body: JsonValue) =>
      calcom.classify?.({ status: 401, headers: {}, json: body, text: '' }, 0)
    expect(classify(json)).toMatchObject({ as: 'failed' })
    expect(classify({ status: 'error', error: { message: 'Invalid API Key' } })).toBeUndefined()
  })
})

describe('calcom webhooks', () => {
  const read = (body: JsonValue) => calcom.webhooks?.events({ body, headers: {}, settings: {} })

  it('find the payload in the envelope and the time at which it was sent', () => {
    expect(read(fixture('BOOKING_CREATED'))).toEqual([
      { type: 'BOOKING_CREATED', at: '/payload', occurredAt: '2026-11-22T09:00:00.000Z' },
    ])
  })

  it('take the flat body of MEETING_ENDED whole, and its end for the time, not the createdAt of the booking', () => {
    const body = fixture('MEETING_ENDED') as { createdAt: string; endTime: string }
    expect(read(body)).toEqual([{ type: 'MEETING_ENDED', at: '', occurredAt: body.endTime }])
    expect(body.createdAt).not.toBe(body.endTime)
  })

  it('read a wrapped MEETING_ENDED too, as newer versions of the source send it', () => {
    const createdAt = '2026-11-24T11:00:05.000Z'
    expect(read({ triggerEvent: 'MEETING_ENDED', createdAt, payload: fixture('MEETING_ENDED') })).toEqual([
      { type: 'MEETING_ENDED', at: '/payload', occurredAt: createdAt },
    ])
  })

  it('name an unknown event, so that it is kept as unmatched', () => {
    expect(
      read({ triggerEvent: 'OOO_CREATED', createdAt: '2026-11-22T09:00:00.000Z', payload: {} }),
    ).toMatchObject([{ type: 'OOO_CREATED', at: '/payload' }])
  })

  it('say what to change when a custom template hides the event', () => {
    expect(() => read({ content: 'A new event has been scheduled' })).toThrow(/Custom payload template/)
    expect(() => read([])).toThrow(/triggerEvent/)
    expect(() => read(null)).toThrow(/triggerEvent/)
  })

  it('are not sent again by the twin, since Cal.com documents no retry', async () => {
    const subject = await startSubject(conformance)
    subject.twin.subscribe('http://127.0.0.1:1/nobody')
    await subject.twin.bookingCreated({ attendee: ada })
    await subject.clock.advance(DAY)
    expect(subject.twin.deliveries()).toMatchObject([{ state: 'given_up', attempts: [{ number: 1 }] }])
    await subject.stop()
  })
})

function fixture(type: string): JsonValue {
  return parseJson(readFileSync(new URL(`fixtures/events/${type}.json`, import.meta.url)))
}
