import { defineOperation, PermanentError, textAt, type ProviderAnswer } from 'trestle'
import { z } from 'zod'
import { memberEventPage } from './contracts.ts'
import { doneTo, doneToMember, memberOf, memberPath, page, TIMEOUT_MS } from './requests.ts'

/** The property by which an event is found again. */
const KEY = 'trestle_key'
const MOST_EVENTS = 1000

/**
 * Notes something that a member did outside of e-mails, which automations may start on. Every request is a further
 * event, so our key goes with it as the property `trestle_key`, and after a lost answer the member's events are asked
 * for it.
 * Source: https://mailchimp.com/developer/marketing/api/list-member-events/add-event/, read 2026-11-23.
 */
export const addMemberEvent = defineOperation({
  summary: 'note what a member did',
  input: z.object({
    ...memberOf,
    /** A verb and a noun, such as `booked_appointment`: 2 to 30 characters. */
    name: z.string().min(2).max(30),
    properties: z
      .record(z.string(), z.string())
      .refine((given) => !Object.hasOwn(given, KEY), `${KEY} is ours`)
      .optional(),
    /** ISO 8601. Default: when the step began. */
    occurredAt: z.iso.datetime({ offset: true }).optional(),
    /** Starts no automation. Default: it does. */
    silently: z.boolean().optional(),
  }),
  output: doneToMember,
  idempotency: {
    kind: 'lookup',
    // An event may take a moment until it is listed; nothing is documented.
    settleAfterMs: 60_000,
    request: (input) => ({
      method: 'GET',
      path: `${memberPath(input)}/events`,
      query: { count: MOST_EVENTS },
    }),
    found: (answer, { email }, { idempotencyKey }) =>
      hasEvent(answer, idempotencyKey) ? { email } : undefined,
  },
  timeoutMs: TIMEOUT_MS,
  request: ({ name, properties, occurredAt, silently, ...member }, { idempotencyKey, begunAt }) => ({
    method: 'POST',
    path: `${memberPath(member)}/events`,
    body: {
      json: {
        name,
        properties: { ...properties, [KEY]: idempotencyKey },
        occurred_at: occurredAt ?? new Date(begunAt).toISOString(),
        ...(silently === undefined ? {} : { is_syncing: silently }),
      },
    },
  }),
  answer: doneTo,
  describe: ({ email, name }) => `${email} ${name}`,
})

/** Whether the key stands among the events. "No" counts only where all of them were read. */
function hasEvent({ json }: ProviderAnswer, key: string): boolean {
  const read = memberEventPage.parse(json)
  if (read.events.some(({ properties }) => textAt(properties, KEY) === key)) return true
  if (read.total_items <= read.events.length) return false
  throw new PermanentError(
    'too_many_events',
    `The member has ${read.total_items} events, of which Mailchimp shows ${read.events.length} at once, in no documented order. Look in Mailchimp whether the event is there.`,
  )
}

export const listMemberEvents = defineOperation({
  summary: 'list what a member did',
  input: z.object({ ...memberOf, ...page }),
  output: memberEventPage,
  idempotency: { kind: 'natural' },
  timeoutMs: TIMEOUT_MS,
  request: ({ count, offset, ...member }) => ({
    method: 'GET',
    path: `${memberPath(member)}/events`,
    query: { count, offset },
  }),
  describe: (_input, { events }) => `${events.length} event(s)`,
})
