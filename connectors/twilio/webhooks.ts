import { defineEvent, signatureSchemes, textAt, type IncomingEvent, type WebhookDefinition } from 'trestle'
import { messageReceived, messageStatus } from './contracts.ts'

/**
 * Twilio's webhooks are forms with no type and no event id. A status callback has `MessageStatus`; an incoming message
 * has `SmsStatus=received` instead. Both stand inside the signed form, so the message with its status is a stable id:
 * a callback that Twilio repeats has the same.
 *
 * https://www.twilio.com/docs/messaging/guides/track-outbound-message-status and
 * https://www.twilio.com/docs/messaging/guides/webhook-request, read 2026-11-22.
 */
export const events = {
  'message.status': defineEvent({
    schema: messageStatus,
    summary: 'message status changed',
    match: ['data.MessageSid', 'data.To'],
    describe: (data) =>
      `message to ${data.To} ${data.MessageStatus}${data.ErrorCode === undefined ? '' : ` (error ${data.ErrorCode})`}`,
  }),
  'message.received': defineEvent({
    schema: messageReceived,
    summary: 'message received',
    match: ['data.MessageSid', 'data.From'],
    describe: (data) => `message from ${data.From}`,
  }),
}

function readEvents({ body }: { readonly body: unknown }): readonly IncomingEvent[] {
  const sid = textAt(body, 'MessageSid')
  const status = textAt(body, 'MessageStatus')
  if (sid !== undefined && status !== undefined)
    return [{ id: `${sid} ${status}`, type: 'message.status', at: '' }]
  if (sid !== undefined && textAt(body, 'SmsStatus') === 'received')
    return [{ id: `${sid} received`, type: 'message.received', at: '' }]
  throw new Error(
    'This is neither a message status callback nor an incoming message. Point only messaging webhooks at this endpoint.',
  )
}

export const webhooks: WebhookDefinition = {
  signature: signatureSchemes.twilio,
  contentTypes: ['application/x-www-form-urlencoded'],
  events: readEvents,
  idIsSigned: true,
}
