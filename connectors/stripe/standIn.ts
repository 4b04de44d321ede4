/** Stripe, as `trestle prove` plays it: the twin, and how each event comes about. */
import type { CreateStandIn, Person } from 'trestle/testing'
import { createStripeTwin } from './twin.ts'

const WEBHOOK_SECRET = 'whsec_of_the_proof'

export const createStandIn: CreateStandIn = async ({ clock, seed }) => {
  const twin = createStripeTwin({ clock, seed })
  await twin.start()
  const subscriptions = new Map<string, string>()
  const customerOf = ({ email }: Person): string =>
    [...twin.state.customers.values()].find((one) => !('deleted' in one) && one.email === email)?.id ?? ''
  /** A payment from before, of which no webhook tells any more. */
  const earlier = new Map<string, string[]>()
  const paidBefore = ({ email }: Person, turn: number): string => earlier.get(email)?.[turn] ?? ''
  const subscriptionOf = ({ email }: Person): string => subscriptions.get(email) ?? ''
  const amountOf = (turn: number): number => 4500 + turn * 500
  return {
    twin,
    connection: { baseUrl: twin.url, secrets: { token: twin.apiKey }, webhookSecrets: [WEBHOOK_SECRET] },
    know(people) {
      for (const person of people) {
        const { email, name, phone } = person
        const { id: customer } = twin.customerSignsUp({ email, name, phone })
        earlier.set(
          email,
          Array.from({ length: 8 }, (_, i) => twin.paymentSucceeds({ customer, amount: amountOf(i) }).id),
        )
        subscriptions.set(email, twin.subscriptionStarts({ customer, amount: 2900 }).id)
      }
    },
    sendWebhooksTo: (url) => twin.addEndpoint({ url, secret: WEBHOOK_SECRET }),
    happenings: {
      'payment_intent.succeeded': ({ email, name }, turn) =>
        twin.paymentSucceeds({ email, name, amount: amountOf(turn) }),
      'payment_intent.payment_failed': ({ email, name }, turn) =>
        twin.paymentFails({ email, name, amount: amountOf(turn) }),
      'charge.refunded': (person, turn) => twin.chargeRefunded({ paymentIntent: paidBefore(person, turn) }),
      'charge.dispute.created': (person, turn) =>
        twin.disputeOpened({ paymentIntent: paidBefore(person, turn) }),
      'charge.dispute.closed': (person, turn) => {
        const { id } = twin.disputeOpened({ paymentIntent: paidBefore(person, turn) })
        return twin.disputeCloses({ dispute: id, status: 'won' })
      },
      'invoice.paid': (person) => twin.subscriptionRenews({ subscription: subscriptionOf(person) }),
      'customer.subscription.updated': (person, turn) =>
        twin.subscriptionChanges({
          subscription: subscriptionOf(person),
          cancelAtPeriodEnd: turn % 2 === 0,
        }),
      'customer.subscription.deleted': (person) => {
        const { id } = twin.subscriptionStarts({ customer: customerOf(person), amount: 1900 })
        return twin.subscriptionEnds({ subscription: id })
      },
      'customer.created': ({ email, name }, turn) =>
        twin.customerSignsUp({ email: email.replace('@', `+${turn}@`), name }),
      'customer.updated': (person, turn) =>
        twin.customerChanges({ customer: customerOf(person), phone: `+1555020${turn}` }),
    },
  }
}
