/**
 * Shapes that Mailchimp's Marketing API 3.0 promises. Loose: unknown fields are kept, and what Mailchimp lists as
 * possible values is text, so that a new one passes.
 *
 * Source: https://mailchimp.com/developer/marketing/api/ and the requests of @mailchimp/mailchimp_marketing 3.0.80, read
 * 2026-11-23; answers as they were recorded in the tests of https://github.com/grouparoo/grouparoo, 2021 and 2022.
 */
import { z } from 'zod'

/** `GET /ping`: that the key is good. */
export const health = z.looseObject({ health_status: z.string() })

/** An audience. Mailchimp's API calls it a list. */
export const list = z.looseObject({
  id: z.string(),
  name: z.string(),
  date_created: z.string(),
  double_optin: z.boolean().optional(),
  stats: z
    .looseObject({ member_count: z.number(), unsubscribe_count: z.number(), cleaned_count: z.number() })
    .optional(),
})
export type List = z.infer<typeof list>

/** A field that an audience keeps of its members; `tag` is its name in `merge_fields`. */
export const mergeField = z.looseObject({
  merge_id: z.number(),
  tag: z.string(),
  name: z.string(),
  /** `text`, `number`, `address`, `phone`, `date`, `url`, `imageurl`, `radio`, `dropdown`, `birthday`, `zip`. */
  type: z.string(),
  required: z.boolean(),
  default_value: z.string().optional(),
})

export const tag = z.looseObject({ id: z.number(), name: z.string() })

/** A member of an audience. */
export const member = z.looseObject({
  /** MD5 of the address in lower case. */
  id: z.string(),
  email_address: z.string(),
  unique_email_id: z.string().optional(),
  contact_id: z.string().optional(),
  /** `subscribed`, `unsubscribed`, `cleaned`, `pending`, `transactional` or `archived`. */
  status: z.string(),
  email_type: z.string().optional(),
  /** By the tag of the field. An address is an object, everything else text or a number; empty is `''`. */
  merge_fields: z.record(z.string(), z.unknown()).optional(),
  tags: z.array(tag).optional(),
  vip: z.boolean().optional(),
  language: z.string().optional(),
  /** ISO 8601. */
  last_changed: z.string().optional(),
  list_id: z.string(),
})
export type Member = z.infer<typeof member>

/** Something that a member did outside of e-mails. */
export const memberEvent = z.looseObject({
  /** ISO 8601. */
  occurred_at: z.string(),
  name: z.string(),
  properties: z.record(z.string(), z.unknown()).optional(),
})

export const campaign = z.looseObject({
  id: z.string(),
  /** `regular`, `plaintext`, `absplit`, `rss` or `variate`. */
  type: z.string(),
  /** `save`, `paused`, `schedule`, `sending`, `sent`, … */
  status: z.string(),
  create_time: z.string(),
  /** Empty until it was sent. */
  send_time: z.string().optional(),
  emails_sent: z.number(),
  recipients: z.looseObject({ list_id: z.string().optional() }).optional(),
  settings: z.looseObject({ subject_line: z.string().optional(), title: z.string().optional() }).optional(),
})
export type Campaign = z.infer<typeof campaign>

/** Pages: go on with `offset` raised by what came, until `total_items`. */
export const listPage = z.looseObject({ lists: z.array(list), total_items: z.number() })
export const memberPage = z.looseObject({
  members: z.array(member),
  list_id: z.string(),
  total_items: z.number(),
})
export const mergeFieldPage = z.looseObject({ merge_fields: z.array(mergeField), total_items: z.number() })
export const tagPage = z.looseObject({
  tags: z.array(z.looseObject({ id: z.number(), name: z.string(), date_added: z.string().optional() })),
  total_items: z.number(),
})
export const memberEventPage = z.looseObject({ events: z.array(memberEvent), total_items: z.number() })
export const campaignPage = z.looseObject({ campaigns: z.array(campaign), total_items: z.number() })
