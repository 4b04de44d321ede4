import { z } from 'zod'

/**
 * Shapes that Twilio's API 2010-04-01 and its webhooks promise. Unknown fields are kept and unknown enum values pass.
 * Dates are RFC 2822 with whole seconds; `price` and the counts are text, as Twilio sends them.
 */

/** A message, sent or received. */
export const message = z.looseObject({
  sid: z.string(),
  account_sid: z.string(),
  /** `accepted`, `scheduled`, `queued`, `sending`, `sent`, `delivered`, `undelivered`, `failed`, `canceled`, `read`, `receiving`, `received`. */
  status: z.string(),
  /** `outbound-api`, `outbound-call`, `outbound-reply` or `inbound`. */
  direction: z.string(),
  to: z.string(),
  /** `null` until a messaging service has chosen the sender. */
  from: z.string().nullable(),
  /** Empty once it was redacted. */
  body: z.string().nullable(),
  messaging_service_sid: z.string().nullish(),
  num_segments: z.string().nullish(),
  num_media: z.string().nullish(),
  /** `null` until it was sent. */
  date_sent: z.string().nullish(),
  date_created: z.string(),
  date_updated: z.string().nullish(),
  price: z.string().nullish(),
  price_unit: z.string().nullish(),
  error_code: z.number().nullish(),
  error_message: z.string().nullish(),
  uri: z.string().nullish(),
})
export type Message = z.infer<typeof message>

/** One page of messages. `next_page_uri` is `null` on the last one. */
export const messagePage = z.looseObject({
  messages: z.array(message),
  next_page_uri: z.string().nullable(),
  page_size: z.number().optional(),
})

/** The account. Twilio answers its auth token along with it, which the connector takes out before anybody sees it. */
export const account = z.looseObject({
  sid: z.string(),
  friendly_name: z.string(),
  /** `active`, `suspended` or `closed`. */
  status: z.string(),
  /** `Trial` or `Full`. */
  type: z.string(),
})

/** A change of a message's status. All fields are text, as forms have nothing else. */
export const messageStatus = z.looseObject({
  MessageSid: z.string(),
  MessageStatus: z.string(),
  To: z.string(),
  From: z.string().optional(),
  AccountSid: z.string(),
  MessagingServiceSid: z.string().optional(),
  /** Why it was not delivered: https://www.twilio.com/docs/api/errors. */
  ErrorCode: z.string().optional(),
  ErrorMessage: z.string().optional(),
})

/** A message that somebody sent to one of the account's numbers. */
export const messageReceived = z.looseObject({
  MessageSid: z.string(),
  AccountSid: z.string(),
  From: z.string(),
  To: z.string(),
  Body: z.string(),
  NumMedia: z.string().optional(),
  NumSegments: z.string().optional(),
  MessagingServiceSid: z.string().optional(),
  FromCountry: z.string().optional(),
  /** `STOP`, `START` or `HELP` where Twilio itself handled an opt-out. */
  OptOutType: z.string().optional(),
})
