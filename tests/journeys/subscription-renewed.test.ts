import { afterAll, beforeAll, expect, it } from 'vitest'
import type { ApiRun } from '../../examples/business-day/api.ts'
import { makeMembers } from '../../examples/business-day/day.ts'
import { customersOf } from '../../examples/business-day/people.ts'
import { startJourney, type Journey } from './support.ts'

const [ada, alan] = customersOf('known')

let journey: Journey
beforeAll(async () => {
  journey = await startJourney('subscription-renewed')
})
afterAll(() => journey.stop())

it('takes the first invoice of a membership for a payment, but for no renewal', async () => {
  const { twins, api, until } = journey
  makeMembers(twins)
  await until(async () => {
    const runs = await api.all<ApiRun>('/runs')
    return runs.length === 6 && runs.every(({ state }) => state === 'succeeded')
  })
  expect(twins.app.effects()).toEqual([])
  expect(twins.quickbooks.effects()).toHaveLength(3)
})

it('extends the membership and enters the payment behind it once', async () => {
  const { twins, salon, witness, until } = journey
  const known = new Set(witness.verdict().unasked)
  const [first] = twins.stripe.state.subscriptions.keys()
  const renewal = salon.renews(first!, ada!)
  await until(() => {
    witness.look()
    return witness.doneAt(renewal) !== undefined
  })
  expect(twins.app.state.events).toMatchObject([{ type: 'membership.renewed', data: { email: ada!.email } }])
  const contact = [...twins.hubspot.state.objects.contacts.values()].find(
    ({ properties }) => properties['email'] === ada!.email,
  )
  expect(contact!.properties['membership_paid_until']).toMatch(/^\d{4}-\d\d-\d\d$/)
  expect(witness.verdict()).toMatchObject({ missing: [], doubled: [] })
  expect(witness.verdict().unasked.filter((id) => !known.has(id))).toEqual([])
})

it('extends it once where HubSpot acts and the renewal comes again meanwhile', async () => {
  const { twins, salon, witness, until } = journey
  const subscription = [...twins.stripe.state.subscriptions.keys()][1]!
  twins.stripe.webhooks.duplicateNext(2)
  twins.hubspot.faults.resetAfterActing(1, { only: 'POST /crm/v3/objects/contacts/batch/upsert' })
  const renewal = salon.renews(subscription, alan!)
  await until(() => {
    witness.look()
    return witness.doneAt(renewal) !== undefined
  })
  await twins.stripe.webhooks.idle()
  expect(witness.verdict()).toMatchObject({ missing: [], doubled: [] })
})
