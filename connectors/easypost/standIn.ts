/** EasyPost, as `trestle prove` plays it: the twin, and how each event comes about. */
import type { CreateStandIn, Person } from 'trestle/testing'
import { createEasypostTwin } from './twin.ts'

const WEBHOOK_SECRET = 'secret-of-the-proof'

export const createStandIn: CreateStandIn = async ({ clock, seed }) => {
  const twin = createEasypostTwin({ clock, seed })
  await twin.start()
  const codeOf = ({ phone }: Person, turn: number): string => `EZ${phone.replaceAll(/\D/g, '')}${turn}`
  return {
    twin,
    connection: {
      baseUrl: twin.url,
      secrets: { apiKey: twin.apiKey },
      webhookSecrets: [WEBHOOK_SECRET],
    },
    know(people) {
      for (const person of people) twin.parcelFollowed({ trackingCode: codeOf(person, -1) })
    },
    sendWebhooksTo: (url) => twin.subscribe(url, WEBHOOK_SECRET),
    // `refund.successful` needs a label that a flow bought and gave back.
    happenings: {
      'tracker.created': (person, turn) => twin.parcelFollowed({ trackingCode: codeOf(person, turn) }),
      'tracker.updated': (person, turn) =>
        twin.parcelMoved({
          trackingCode: codeOf(person, -1),
          status: turn % 2 === 0 ? 'in_transit' : 'delivered',
        }),
    },
  }
}
