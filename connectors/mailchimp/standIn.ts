/** Mailchimp, as `trestle prove` plays it: the twin, and how each event comes about. */
import type { CreateStandIn, Person } from 'trestle/testing'
import { createMailchimpTwin } from './twin.ts'

const WEBHOOK_SECRET = 'secret-of-the-proof'

export const createStandIn: CreateStandIn = async ({ clock, seed }) => {
  const twin = createMailchimpTwin({ clock, seed })
  await twin.start()
  const newcomer = ({ email, name }: Person, turn: number, what: string) => {
    const [FNAME = '', LNAME = ''] = name.split(' ')
    return twin.signedUp({ email: email.replace('@', `+${what}${turn}@`), mergeFields: { FNAME, LNAME } })
  }
  return {
    twin,
    connection: {
      baseUrl: twin.url,
      settings: { server: 'us1' },
      secrets: { token: twin.apiKey },
      webhookSecrets: [WEBHOOK_SECRET],
    },
    async know(people) {
      for (const { email, name } of people) {
        const [FNAME = '', LNAME = ''] = name.split(' ')
        await twin.signedUp({ email, mergeFields: { FNAME, LNAME } })
      }
    },
    sendWebhooksTo: (url) => twin.subscribe(url, WEBHOOK_SECRET),
    happenings: {
      subscribe: (person, turn) => newcomer(person, turn, 'new'),
      unsubscribe: async (person, turn) =>
        twin.left({ email: (await newcomer(person, turn, 'left')).email_address }),
      profile: ({ email, phone }, turn) =>
        twin.profileChanged({ email, mergeFields: { PHONE: `${phone.slice(0, -2)}${10 + turn}` } }),
      upemail: async (person, turn) => {
        const { email_address: email } = await newcomer(person, turn, 'old')
        return twin.addressChanged({ email, newEmail: email.replace('+old', '+moved') })
      },
      cleaned: async (person, turn) =>
        twin.bounced({ email: (await newcomer(person, turn, 'gone')).email_address }),
      campaign: ({ name }, turn) => twin.campaignSent({ subject: `News for ${name} ${turn}` }),
    },
  }
}
