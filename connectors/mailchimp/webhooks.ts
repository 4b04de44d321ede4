import { defineEvent, textAt, type IncomingEvent, type WebhookDefinition } from 'trestle'
import { z } from 'zod'
import { unpacked } from './form.ts'

/**
 * What an audience's webhook says. Its form has names such as `data[merges][FNAME]`; a flow sees what stands under
 * `data`, and `fired_at`.
 *
 * Source: https://mailchimp.com/developer/marketing/guides/sync-audience-data-webhooks/ (subscribe, unsubscribe), read
 * 2026-11-23. The other forms are those of the older documentation, as they are quoted in
 * https://github.com/apache/predictionio (webhooks/mailchimp); a merge field may be a text or a group of them.
 */
const common = {
  /** As it came: `2026-11-22 09:00:00`. */
  fired_at: z.string(),
  list_id: z.string(),
}
const person = {
  ...common,
  /** Mailchimp's id of the address, not the hash that the API's paths have. */
  id: z.string().optional(),
  email: z.string(),
  email_type: z.string().optional(),
  merges: z.record(z.string(), z.unknown()).optional(),
  ip_opt: z.string().optional(),
}

/** Times are whole seconds: events of one second are taken in the order of arrival. */
const aboutPerson = {
  match: ['data.list_id', 'data.email'],
  datedBy: 'occurredAt',
  subject: ['data.list_id', 'data.email'],
}

export const events = {
  subscribe: defineEvent({
    schema: z.preprocess(unpacked, z.looseObject({ ...person, ip_signup: z.string().optional() })),
    summary: 'somebody subscribed',
    ...aboutPerson,
    describe: ({ email }) => `${email} subscribed`,
  }),
  unsubscribe: defineEvent({
    schema: z.preprocess(
      unpacked,
      z.looseObject({
        ...person,
        /** `unsub`, or `delete` where the member was archived or deleted. */
        action: z.string(),
        /** `manual`, or `abuse` after a complaint. */
        reason: z.string().optional(),
        campaign_id: z.string().optional(),
      }),
    ),
    summary: 'somebody unsubscribed',
    ...aboutPerson,
    describe: ({ email, action }) => `${email} ${action === 'delete' ? 'was removed' : 'unsubscribed'}`,
  }),
  profile: defineEvent({
    schema: z.preprocess(unpacked, z.looseObject(person)),
    summary: 'what is known of a member changed',
    ...aboutPerson,
    describe: ({ email }) => `${email} changed`,
  }),
  /** The address of a member changed. Mailchimp sends `profile` with it. */
  upemail: defineEvent({
    schema: z.preprocess(
      unpacked,
      z.looseObject({
        ...common,
        new_id: z.string().optional(),
        new_email: z.string(),
        old_email: z.string(),
      }),
    ),
    summary: 'the address of a member changed',
    match: ['data.list_id', 'data.old_email', 'data.new_email'],
    describe: ({ old_email: before, new_email: now }) => `${before} is now ${now}`,
  }),
  /** The address does not work, or its owner complained: it gets no e-mails any more. */
  cleaned: defineEvent({
    schema: z.preprocess(
      unpacked,
      z.looseObject({
        ...common,
        email: z.string(),
        /** `hard` (a bounce) or `abuse`. */
        reason: z.string(),
        campaign_id: z.string().optional(),
      }),
    ),
    summary: 'an address was cleaned',
    ...aboutPerson,
    describe: ({ email, reason }) => `${email} cleaned (${reason})`,
  }),
  campaign: defineEvent({
    schema: z.preprocess(
      unpacked,
      z.looseObject({
        ...common,
        id: z.string(),
        subject: z.string(),
        /** `sent` or `canceled`. */
        status: z.string(),
        reason: z.string().optional(),
      }),
    ),
    summary: 'a campaign was sent or cancelled',
    match: ['data.id', 'data.list_id'],
    datedBy: 'occurredAt',
    subject: 'data.id',
    describe: ({ subject, status }) => `campaign ${subject}: ${status}`,
  }),
}

function readEvents({ body }: { readonly body: unknown }): readonly IncomingEvent[] {
  const type = textAt(body, 'type')
  const firedAt = textAt(body, 'fired_at')
  if (type === undefined || firedAt === undefined)
    throw new Error('The body is no webhook of a Mailchimp audience: it needs a type and fired_at.')
  const occurredAt = timeOf(firedAt)
  return [{ type, at: '', ...(occurredAt === undefined ? {} : { occurredAt }) }]
}

/** `2009-03-26 21:35:57`. No zone is documented; we take it for UTC, as the API's times are. */
function timeOf(firedAt: string): string | undefined {
  const at = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/.test(firedAt)
    ? new Date(`${firedAt.replace(' ', 'T')}Z`)
    : undefined
  return at === undefined || Number.isNaN(at.getTime()) ? undefined : at.toISOString()
}

export const webhooks: WebhookDefinition = {
  signature: {
    kind: 'url_secret',
    name: 'mailchimp',
    query: 'secret',
    source:
      'Nothing is signed; "include a secret in the URL": https://mailchimp.com/developer/marketing/guides/sync-audience-data-webhooks/, 2026-11-23',
  },
  setUpByGet: true,
  contentTypes: ['application/x-www-form-urlencoded'],
  events: readEvents,
  // There is no id. An event is known by its whole body, which says when it was fired.
  idIsSigned: false,
  contentUniqueBy: 'fired_at',
}
