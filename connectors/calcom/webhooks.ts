import { defineEvent, signatureSchemes, type IncomingEvent, type WebhookDefinition } from 'trestle'
import {
  absencePayload,
  bookingPayload,
  meetingPayload,
  noShowPayload,
  type BookingPayload,
} from './contracts.ts'

/**
 * Cal.com's webhooks (https://cal.com/docs/developing/guides/automation/webhooks, payload version 2021-10-20, read
 * 2026-11-22). All but two are `{ triggerEvent, createdAt, payload }`. MEETING_STARTED and MEETING_ENDED are sent by a
 * scheduler and stand flat in the body, where `createdAt` is the time of the *booking*.
 */

const who = (data: BookingPayload): string => data.attendees[0]?.name ?? 'somebody'

function bookingEvent(summary: string, match: readonly string[] = []) {
  return defineEvent({
    schema: bookingPayload,
    summary,
    match: ['data.uid', ...match],
    describe: (data) => `"${data.title}" for ${who(data)}: ${summary}`,
  })
}

function meetingEvent(summary: string) {
  return defineEvent({
    schema: meetingPayload,
    summary,
    match: ['data.uid'],
    describe: (data) => `"${data.title}": ${summary}`,
  })
}

function absenceEvent(summary: string) {
  return defineEvent({
    schema: absencePayload,
    summary,
    match: ['data.bookingUid'],
    describe: (data) => `"${data.title ?? data.bookingUid}": ${summary}`,
  })
}

export const events = {
  BOOKING_CREATED: bookingEvent('appointment booked'),
  BOOKING_REQUESTED: bookingEvent('appointment requested'),
  /** A moved booking has a new `uid`; `rescheduleUid` is the old one. */
  BOOKING_RESCHEDULED: bookingEvent('appointment moved', ['data.rescheduleUid']),
  BOOKING_CANCELLED: bookingEvent('appointment cancelled'),
  BOOKING_REJECTED: bookingEvent('appointment declined'),
  BOOKING_PAID: bookingEvent('appointment paid'),
  MEETING_STARTED: meetingEvent('appointment began'),
  MEETING_ENDED: meetingEvent('appointment ended'),
  BOOKING_NO_SHOW_UPDATED: defineEvent({
    schema: noShowPayload,
    summary: 'no-show marked or taken back',
    match: ['data.bookingUid'],
    describe: ({ attendees }) =>
      attendees
        .map(({ email, noShow }) => `${email} ${noShow ? 'did not come' : 'did come after all'}`)
        .join(', '),
  }),
  AFTER_HOSTS_CAL_VIDEO_NO_SHOW: absenceEvent('host did not join the call'),
  AFTER_GUESTS_CAL_VIDEO_NO_SHOW: absenceEvent('guest did not join the call'),
}

/** The one event in a delivery. `payload` tells the envelope from the flat bodies of the scheduler. */
function readEvents({ body }: { readonly body: unknown }): readonly IncomingEvent[] {
  const type = textAt(body, 'triggerEvent')
  if (type === undefined)
    throw new Error(
      'The body has no "triggerEvent". Leave "Custom payload template" empty in the settings of the Cal.com webhook.',
    )
  const flat = !isObject(body) || !isObject(body['payload'])
  const occurredAt = flat ? timeOfMeeting(type, body) : textAt(body, 'createdAt')
  return [{ type, at: flat ? '' : '/payload', ...(occurredAt === undefined ? {} : { occurredAt }) }]
}

function timeOfMeeting(type: string, body: unknown): string | undefined {
  return textAt(body, type === 'MEETING_STARTED' ? 'startTime' : 'endTime')
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
}

function textAt(value: unknown, name: string): string | undefined {
  const found = isObject(value) ? value[name] : undefined
  return typeof found === 'string' ? found : undefined
}

export const webhooks: WebhookDefinition = {
  signature: signatureSchemes.calcom,
  events: readEvents,
  // There is no event id at all: the signed body is recognised by its content, which `createdAt` makes unique.
  idIsSigned: false,
  contentUniqueBy: 'createdAt',
  secret: ['payload.videoCallData.password', 'payload.oneTimePassword', 'oneTimePassword'],
}
