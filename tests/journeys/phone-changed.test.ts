import { createHmac } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { ApiEvent } from '../../examples/business-day/api.ts'
import { CUSTOMERS, customersOf } from '../../examples/business-day/people.ts'
import { startJourney, type Journey } from './support.ts'

const known = customersOf('known')

let journey: Journey
beforeAll(async () => {
  journey = await startJourney('phone-changed')
})
afterAll(() => journey.stop())

it('carries every number of one delivery with many events into the app', async () => {
  const { salon, twins, done } = journey
  const customers = CUSTOMERS.filter(({ standing }) => standing !== 'new')
  await done(...(await salon.correctsPhones(customers)))
  expect(twins.hubspot.deliveries()).toHaveLength(1)
  const numbers = [...twins.app.state.records.values()].map(
    ({ id, fields }) => [id, fields['phone']] as const,
  )
  expect(new Map(numbers)).toEqual(
    new Map(customers.map(({ email, phone }) => [email, phone.replace('010', '011')])),
  )
})

it('lets one bad event of a delivery fail no other', async () => {
  const { twins, api, until } = journey
  const change = {
    eventId: 7,
    subscriptionId: 1,
    portalId: 62_515,
    appId: 54_321,
    occurredAt: twins.hubspot.clock.now(),
    subscriptionType: 'contact.propertyChange',
    attemptNumber: 0,
    objectId: 101,
    propertyName: 'phone',
    propertyValue: '+15550990000',
  }
  const url = twins.hubspotWebhooks()
  await twins.hubspot.contactChanged({ id: '101', properties: { phone: '+15550990000' } })
  await twins.hubspot.webhooks.send({
    url,
    body: JSON.stringify([{ ...change, eventId: 8, objectId: undefined }, change]),
    sign: (body, now) => ({
      headers: {
        'x-hubspot-request-timestamp': String(now),
        'x-hubspot-signature-v3': createHmac('sha256', twins.environment['HUBSPOT_CLIENT_SECRET']!)
          .update(`POST${url}${body}${now}`)
          .digest('base64'),
      },
    }),
  })
  expect(twins.hubspot.deliveries().at(-1)).toMatchObject({ state: 'delivered' })
  await until(
    () => twins.app.state.records.get(`customers/${known[0]!.email}`)?.fields['phone'] === '+15550990000',
  )
  const lastTwo = async () =>
    (await api.all<ApiEvent>('/events')).slice(-2).map(({ state, reasonPath }) => [state, reasonPath])
  // Shown once no older transaction is under way, of another test file either.
  await expect.poll(lastTwo).toEqual([
    ['quarantined', '/0/objectId'],
    ['dispatched', null],
  ])
})
