import { afterAll, beforeAll, expect, it } from 'vitest'
import { customersOf } from '../../examples/business-day/people.ts'
import { startJourney, type Journey } from './support.ts'

const [ada, alan] = customersOf('known')

let journey: Journey
beforeAll(async () => {
  journey = await startJourney('dispute-opened')
})
afterAll(() => journey.stop())

const payments = () => [...journey.twins.stripe.state.paymentIntents.keys()]

it('drafts what is known of the customer, and tells the app until when to answer', async () => {
  const { salon, twins, done } = journey
  await done(salon.completes(ada!))
  await done(salon.disputes(ada!, payments()[0]!))
  const [dispute] = [...twins.stripe.state.disputes.values()]
  expect(dispute).toMatchObject({
    status: 'needs_response',
    evidence: {
      customer_email_address: ada!.email,
      uncategorized_text: 'The customer had 1 appointments with us.',
    },
  })
  expect(twins.app.state.events).toMatchObject([
    {
      type: 'dispute.opened',
      data: { amount: 4500, answerBy: new Date(dispute!.evidence_details.due_by! * 1000).toISOString() },
    },
  ])
})

it('drafts it once where Stripe acted and the answer was lost', async () => {
  const { salon, twins, done } = journey
  twins.stripe.faults.resetAfterActing(1, { only: 'POST /v1/disputes/:id' })
  await done(salon.disputes(alan!, payments()[1]!))
  const [cut, again] = twins.stripe
    .requests()
    .filter(({ method }) => method === 'POST')
    .slice(-2)
  expect(cut).toMatchObject({ status: 'reset' })
  expect(again).toMatchObject({ status: 200, body: cut!.body })
  expect(again!.headers['idempotency-key']).toBe(cut!.headers['idempotency-key'])
})

it('drafts it once where Stripe asks for a second of patience', async () => {
  const { salon, twins, done } = journey
  twins.stripe.faults.rateLimit(1, 1, { only: 'POST /v1/disputes/:id' })
  await done(salon.disputes(alan!, payments()[2]!))
})
