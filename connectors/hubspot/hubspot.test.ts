import { describeConnector, type Subject } from '../../tests/conformance/suite.ts'
import { hubspot } from './index.ts'
import { createHubspotTwin, type HubspotTwin } from './twin.ts'

const ADA = { email: 'ada@example.com', firstname: 'Ada', lastname: 'Lovelace' }

const makeContact = async ({ twin }: Subject<HubspotTwin>) => (await twin.contactCreated(ADA)).id
const makeDeal = async ({ twin }: Subject<HubspotTwin>) =>
  (await twin.dealCreated({ dealname: 'Spring treatment', dealstage: 'appointmentscheduled' })).id

describeConnector({
  connector: hubspot,
  folder: new URL('.', import.meta.url),
  twin: (clock) => createHubspotTwin({ clock }),
  authorize: () => ({ authorization: 'Bearer pat-twin' }),
  samples: {
    'contacts.upsert': {
      input: async (subject) => {
        await makeContact(subject)
        return { email: ADA.email, properties: { firstname: 'Augusta' } }
      },
    },
    'contacts.update': {
      input: async (subject) => ({ id: await makeContact(subject), properties: { phone: '+4930123456' } }),
    },
    'contacts.retrieve': { input: async (subject) => ({ id: await makeContact(subject) }) },
    'contacts.find': {
      input: async (subject) => {
        await makeContact(subject)
        return { email: ADA.email, properties: ['website'] }
      },
    },
    'contacts.list': {
      input: async (subject) => {
        await makeContact(subject)
        return { limit: 1 }
      },
    },
    'contacts.search': {
      effects: 0,
      input: async (subject) => {
        await makeContact(subject)
        await subject.clock.advance(10_000)
        return {
          filterGroups: [{ filters: [{ propertyName: 'lastname', operator: 'EQ', value: 'Lovelace' }] }],
        }
      },
    },
    'notes.create': {
      input: async (subject) => ({ contact: await makeContact(subject), text: 'Paid $19.99\n<thanks>' }),
    },
    'notes.list': {
      effects: 0,
      input: async (subject) => {
        const contact = await makeContact(subject)
        await subject.call('notes.create', { contact, text: 'First' })
        await subject.clock.advance(10_000)
        return { contact }
      },
    },
    'deals.create': {
      input: async (subject) => ({
        name: 'Spring treatment',
        stage: 'appointmentscheduled',
        amount: '1500.00',
        contact: await makeContact(subject),
        properties: { dealtype: 'newbusiness' },
      }),
    },
    'deals.update': {
      input: async (subject) => ({ id: await makeDeal(subject), properties: { dealstage: 'closedwon' } }),
    },
  },
  webhooks: {
    secrets: ['hubspot-client-secret'],
    send: async (twin, url) => {
      twin.subscribe(url)
      const name = `${twin.requestCount()}-${twin.deliveries().length}`
      const { id } = await twin.contactCreated({ email: `${name}@example.com` })
      const other = await twin.contactCreated({ email: `${name}-other@example.com` })
      const deal = await twin.dealCreated({ dealname: name, dealstage: 'appointmentscheduled' })
      await twin.contactChanged({ id, properties: { lifecyclestage: 'customer', phone: '1' } })
      await twin.contactAssociated({ contact: id, deal: deal.id })
      await twin.contactsMerged({ primary: id, merged: other.id })
      await twin.contactDeleted({ id })
      await twin.contactRestored({ id })
      await twin.contactPrivacyDeleted({ id })
      await twin.dealChanged({ id: deal.id, properties: { dealstage: 'closedwon' } })
      await twin.dealDeleted({ id: deal.id })
    },
  },
})
