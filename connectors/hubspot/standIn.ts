/** HubSpot, as `trestle prove` plays it: the twin, and how each event comes about. */
import type { CreateStandIn, Person } from 'trestle/testing'
import { createHubspotTwin } from './twin.ts'

const CLIENT = { id: 'proof-app', secret: 'secret-of-the-proof-app' }
const TOKEN = 'pat-proof'

export interface HubspotStandInOptions {
  /** Custom properties of the portal, besides HubSpot's own. */
  readonly properties?: readonly string[]
}

export const createStandIn: CreateStandIn = (options) => createHubspotStandIn(options, {})

/** For a project whose flows write custom properties: the portal must have them. */
export async function createHubspotStandIn(
  { clock, seed }: Parameters<CreateStandIn>[0],
  { properties = [] }: HubspotStandInOptions,
): ReturnType<CreateStandIn> {
  const twin = createHubspotTwin({ clock, seed, client: CLIENT, privateAppToken: TOKEN, properties })
  await twin.start()
  const contactOf = ({ email }: Person): string =>
    [...twin.state.objects.contacts.values()].find(({ properties: { email: found } }) => found === email)
      ?.id ?? ''
  const newcomer = ({ email, name }: Person, turn: number) => {
    const [firstname = '', lastname = ''] = name.split(' ')
    return twin.contactCreated({ email: email.replace('@', `+${turn}@`), firstname, lastname })
  }
  const newDeal = ({ name }: Person, turn: number) =>
    twin.dealCreated({ dealname: `${name} ${turn}`, dealstage: 'appointmentscheduled' })
  return {
    twin,
    connection: { baseUrl: twin.url, secrets: { token: TOKEN }, webhookSecrets: [CLIENT.secret] },
    async know(people) {
      for (const { email, name, phone } of people) {
        const [firstname = '', lastname = ''] = name.split(' ')
        await twin.contactCreated({ email, firstname, lastname, phone, lifecyclestage: 'customer' })
      }
    },
    sendWebhooksTo: (url) => twin.subscribe(url),
    happenings: {
      'contact.creation': newcomer,
      'contact.propertyChange': (person, turn) =>
        twin.contactChanged({
          id: contactOf(person),
          properties: { phone: `${person.phone.slice(0, -2)}${10 + turn}` },
        }),
      'contact.deletion': async (person, turn) => twin.contactDeleted(await newcomer(person, turn)),
      'contact.privacyDeletion': async (person, turn) =>
        twin.contactPrivacyDeleted(await newcomer(person, turn)),
      'contact.restore': async (person, turn) => {
        const { id } = await newcomer(person, turn)
        await twin.contactDeleted({ id })
        return twin.contactRestored({ id })
      },
      'contact.merge': async (person, turn) =>
        twin.contactsMerged({ primary: contactOf(person), merged: (await newcomer(person, turn)).id }),
      'contact.associationChange': async (person, turn) =>
        twin.contactAssociated({ contact: contactOf(person), deal: (await newDeal(person, turn)).id }),
      'deal.creation': newDeal,
      'deal.propertyChange': async (person, turn) =>
        twin.dealChanged({
          id: (await newDeal(person, turn)).id,
          properties: { dealstage: 'closedwon' },
        }),
      'deal.deletion': async (person, turn) => twin.dealDeleted({ id: (await newDeal(person, turn)).id }),
    },
  }
}
