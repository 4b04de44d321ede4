import { afterAll, beforeAll, expect, it } from 'vitest'
import type { ApiQuarantined } from '../../examples/business-day/api.ts'
import { customersOf } from '../../examples/business-day/people.ts'
import { MINUTE } from '../../src/base/index.ts'
import { startJourney, type Journey } from './support.ts'

const [ada, alan, katherine] = customersOf('known')
const [mary, tony, frances] = customersOf('lead')
const [barbara, donald] = customersOf('new')
const NEW_PAYMENT = 'POST /v3/company/:realmId/payment'
const NEW_NOTE = 'POST /crm/v3/objects/notes'

let journey: Journey
beforeAll(async () => {
  journey = await startJourney('payment-received')
})
afterAll(() => journey.stop())

it('enters a payment of a new customer in the CRM and in the books', async () => {
  const { salon, twins, done } = journey
  await done(salon.pays(barbara!, 4550))
  const contact = [...twins.hubspot.state.objects.contacts.values()].at(-1)!
  expect(contact.properties).toMatchObject({ email: barbara!.email, lifecyclestage: 'customer' })
  const note = [...twins.hubspot.state.objects.notes.values()].at(-1)!
  expect(note.properties['hs_note_body']).toContain('Paid $45.50 by card')
  expect([...twins.quickbooks.state.entities.Payment.values()].at(-1)).toMatchObject({
    TotalAmt: 45.5,
    CustomerRef: { name: `${barbara!.name} (${barbara!.email})` },
  })
})

it('enters a payment once that is delivered three times over', async () => {
  const { salon, twins, done } = journey
  twins.stripe.webhooks.duplicateNext(1, 2)
  await done(salon.pays(mary!, 1000))
  expect(twins.stripe.deliveries().slice(-3)).toMatchObject([
    { state: 'delivered' },
    { state: 'delivered', duplicateOf: expect.any(Number) },
    { state: 'delivered', duplicateOf: expect.any(Number) },
  ])
})

it('enters payments once each that are delivered in the wrong order', async () => {
  const { salon, twins, done } = journey
  twins.stripe.webhooks.reverseNext(3)
  const before = twins.quickbooks.effects().length
  await done(salon.pays(ada!, 100), salon.pays(ada!, 200), salon.pays(ada!, 300))
  const entered = twins.quickbooks.effects().slice(before)
  // One lane: in the order in which they came.
  expect(entered.map(({ summary }) => /over (\d+)/.exec(summary)?.[1])).toEqual(['3', '2', '1'])
})

it('turns a forged payment away, and takes the true one', async () => {
  const { salon, twins, done } = journey
  twins.stripe.webhooks.forgeBeforeNext(1)
  await done(salon.pays(alan!, 6000))
  const [forged, genuine] = twins.stripe.deliveries().slice(-2)
  expect(forged).toMatchObject({ forged: true, attempts: [{ status: 401 }] })
  expect(genuine).toMatchObject({ forged: false, state: 'delivered' })
})

it('waits while QuickBooks is down, and enters the payment when it is back', async () => {
  const { salon, twins, until, done } = journey
  twins.quickbooks.faults.down(true)
  const payment = salon.pays(tony!, 7000)
  await until(() => twins.quickbooks.requests().some(({ fault }) => fault === 'down'))
  twins.quickbooks.faults.down(false)
  await done(payment)
})

it('makes no second payment where the connection was cut after the first was made', async () => {
  const { salon, twins, done } = journey
  twins.quickbooks.faults.resetAfterActing(1, { only: NEW_PAYMENT })
  await done(salon.pays(frances!, 8000))
  const sent = twins.quickbooks.requests().filter(({ path }) => path.endsWith('/payment'))
  const [cut, again] = sent.slice(-2)
  expect(cut).toMatchObject({ status: 'reset', fault: 'reset_after_acting' })
  expect(again).toMatchObject({ status: 200, query: cut!.query, body: cut!.body })
})

it('looks for a note whose answer was lost before it would make another', async () => {
  const { salon, twins, waitsAfter, later, done } = journey
  twins.hubspot.faults.resetAfterActing(1, { only: NEW_NOTE })
  const payment = salon.pays(katherine!, 2500)
  await waitsAfter('reset_after_acting', twins.hubspot, 'payment-received')
  // HubSpot's search is sure to know the note by then.
  later(6 * MINUTE)
  await done(payment)
  expect(twins.hubspot.requests().at(-1)).toMatchObject({ path: '/crm/v3/objects/notes/search', status: 200 })
})

it('makes the note that was not made, where the connection was cut before', async () => {
  const { salon, twins, waitsAfter, later, done } = journey
  twins.hubspot.faults.resetBeforeActing(1, { only: NEW_NOTE })
  const payment = salon.pays(katherine!, 2600)
  await waitsAfter('reset_before_acting', twins.hubspot, 'payment-received')
  later(6 * MINUTE)
  await done(payment)
})

it('holds a payment whose answer lacks a field, until a person lets it pass', async () => {
  const { salon, twins, api, run, done } = journey
  twins.quickbooks.faults.dropField('Payment.SyncToken', 1, { only: NEW_PAYMENT })
  const payment = salon.pays(donald!, 5500)
  const held = await run('payment-received', 'held')
  const { items } = await api.get<{ items: ApiQuarantined[] }>('/quarantine')
  expect(items).toMatchObject([{ kind: 'answer', runId: held.id, path: '/SyncToken' }])
  await api.post(`/quarantine/${items[0]!.id}/release`)
  await done(payment)
  const { steps } = await api.get<{ steps: { name: string; result: unknown }[] }>(`/runs/${held.id}`)
  // The flow was given what the operation gives, not the whole answer.
  expect(steps.find(({ name }) => name === 'quickbooks.payments.create')?.result).toMatchObject({
    Id: expect.any(String),
    TotalAmt: 55,
  })
})

it('lets a payment pass for which QuickBooks answered a page, once a person has looked', async () => {
  const { salon, twins, api, run, done } = journey
  twins.quickbooks.faults.garbage(1, { only: NEW_PAYMENT })
  const payment = salon.pays(donald!, 5600)
  const held = await run('payment-received', 'held')
  const { items } = await api.get<{ items: ApiQuarantined[] }>('/quarantine')
  expect(items).toMatchObject([{ kind: 'answer', runId: held.id, path: '' }])
  await api.post(`/quarantine/${items[0]!.id}/release`)
  await done(payment)
})
