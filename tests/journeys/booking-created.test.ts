import { afterAll, beforeAll, expect, it } from 'vitest'
import { customersOf } from '../../examples/business-day/people.ts'
import { startJourney, type Journey } from './support.ts'

const [ada, alan, katherine] = customersOf('known')
const [barbara] = customersOf('new')
const TELL = 'POST /events'

let journey: Journey
beforeAll(async () => {
  journey = await startJourney('booking-created')
})
afterAll(() => journey.stop())

const told = () => journey.twins.app.state.events.at(-1)!

it("tells the app of a booking, with the customer's payments and visits so far", async () => {
  const { salon, twins, done } = journey
  await done(await salon.books(ada!))
  const [payment] = [...twins.stripe.state.paymentIntents.values()]
  expect(told()).toMatchObject({
    type: 'appointment.booked',
    data: {
      customer: { name: ada!.name, email: ada!.email, phone: ada!.phone },
      history: {
        payments: [{ id: payment!.id, amount: 4500, currency: 'usd' }],
        visits: [{ title: `Treatment between Grace Hopper and ${ada!.name}`, came: true }],
      },
    },
  })
})

it('has an empty history for somebody new', async () => {
  await journey.done(await journey.salon.books(barbara!))
  expect(told().data).toMatchObject({ history: { payments: [], visits: [] } })
})

it('tells the app once of a booking that is delivered twice', async () => {
  const { salon, twins, done } = journey
  twins.calcom.webhooks.duplicateNext(1)
  await done(await salon.books(alan!))
  expect(twins.calcom.deliveries().at(-1)).toMatchObject({
    duplicateOf: expect.any(Number),
    state: 'delivered',
  })
})

it('tells the app once that acts and loses the connection', async () => {
  const { salon, twins, done } = journey
  twins.app.faults.resetAfterActing(1, { only: TELL })
  await done(await salon.books(katherine!))
  const [cut, again] = twins.app
    .requests()
    .filter(({ path }) => path === '/events')
    .slice(-2)
  expect(cut!.status).toBe('reset')
  expect(again!.headers['webhook-id']).toBe(cut!.headers['webhook-id'])
})

it('asks Stripe again that did not answer', async () => {
  const { salon, twins, done } = journey
  twins.stripe.faults.failNext(1, 500, { only: 'GET /v1/payment_intents' })
  await done(await salon.books(ada!))
  expect(told().data).toMatchObject({ history: { payments: [{ amount: 4500 }] } })
})

it('waits for an app that is down', async () => {
  const { salon, twins, until, done } = journey
  twins.app.faults.down(true)
  const booking = await salon.books(alan!)
  await until(() => twins.app.requests().some(({ fault }) => fault === 'down'))
  twins.app.faults.down(false)
  await done(booking)
})
