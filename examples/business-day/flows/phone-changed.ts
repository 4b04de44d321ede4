import { defineFlow } from 'trestle'
import { businessApp } from 'trestle/connectors/business-app'
import { hubspot } from 'trestle/connectors/hubspot'

export const phoneChanged = defineFlow({
  name: 'phone-changed',
  summary: 'Carries a telephone number that was corrected in the CRM into the app',
  on: hubspot.on('contact.propertyChange'),
  key: (event) => String(event.data.objectId),
  async run({ event, use }) {
    if (event.data.propertyName !== 'phone') return 'another property'
    // Events come in any order, so the newest value is read, not taken from the event.
    const contact = await use(hubspot).contacts.retrieve({ id: String(event.data.objectId) })
    const { email, phone } = contact.properties
    if (!email) return 'a contact without an address'
    await use(businessApp).records.put({
      collection: 'customers',
      id: email,
      fields: { phone: phone ?? null },
    })
  },
})
