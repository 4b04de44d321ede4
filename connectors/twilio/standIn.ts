/** Twilio, as `trestle prove` plays it: the twin, and how a message comes in. */
import type { CreateStandIn } from 'trestle/testing'
import { createTwilioTwin } from './twin.ts'

export const createStandIn: CreateStandIn = async ({ clock, seed }) => {
  const twin = createTwilioTwin({ clock, seed })
  await twin.start()
  return {
    twin,
    connection: {
      baseUrl: twin.url,
      settings: { accountSid: twin.accountSid },
      secrets: { username: twin.accountSid, password: twin.authToken },
      webhookSecrets: [twin.authToken],
    },
    sendWebhooksTo: (url) => twin.listenAt(url),
    happenings: {
      // `message.status` comes by itself, after a message was sent with a status callback.
      'message.received': ({ name, phone }, turn) =>
        twin.messageReceived({ from: phone, body: `Hello, this is ${name}, message ${turn + 1}` }),
    },
  }
}
