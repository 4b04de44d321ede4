import { afterAll, beforeAll, expect, it } from 'vitest'
import { customersOf } from '../../examples/business-day/people.ts'
import { startJourney, type Journey } from './support.ts'

const [ada, alan] = customersOf('known')

let journey: Journey
beforeAll(async () => {
  journey = await startJourney('appointment-no-show')
})
afterAll(() => journey.stop())

it('follows up differently than after a visit: a record, a note, an invitation, and no invoice', async () => {
  const { salon, twins, done } = journey
  await done(salon.misses(ada!))
  expect([...twins.app.state.records.values()].at(-1)).toMatchObject({ fields: { outcome: 'no-show' } })
  expect([...twins.twilio.state.messages.values()].at(-1)?.body).toMatch(/^We missed you today, Ada\./)
  expect(twins.quickbooks.effects()).toEqual([])
})

it('texts once though Twilio first asks for patience', async () => {
  const { salon, twins, done } = journey
  twins.twilio.faults.rateLimit(1, 1, { only: 'POST /2010-04-01/Accounts/:sid/Messages.json' })
  await done(salon.misses(alan!))
  const [refused, again] = twins.twilio.requests().slice(-2)
  expect(refused).toMatchObject({ status: 429 })
  expect(again).toMatchObject({ status: 201, body: refused!.body })
})
