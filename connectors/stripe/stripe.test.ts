import Stripe from 'stripe'
import { createFakeClock } from 'trestle/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { describeConnector, startSubject, type Subject } from '../../tests/conformance/suite.ts'
import { startReceiver } from '../../tests/conformance/receiver.ts'
import { toForm } from './form.ts'
import { stripe, STRIPE_VERSION } from './index.ts'
import { createStripeTwin, type StripeTwin } from './twin.ts'

const SECRET = 'whsec_twin_secret'

const options: Parameters<typeof describeConnector<StripeTwin>>[0] = {
  connector: stripe,
  folder: new URL('.', import.meta.url),
  twin: (clock) => createStripeTwin({ clock }),
  authorize: (twin) => ({ authorization: `Bearer ${twin.apiKey}` }),
  samples: {
    'customers.retrieve': {
      input: ({ twin }) => ({ id: twin.customerSignsUp({ email: 'ada@example.com' }).id }),
    },
    'customers.create': {
      input: () => ({ email: 'ada@example.com', name: 'Ada Lovelace', metadata: { branch: 'north' } }),
    },
    'customers.update': {
      input: ({ twin }) => ({
        id: twin.customerSignsUp({ email: 'ada@example.com', phone: '+15550100' }).id,
        name: 'Ada King',
        phone: null,
      }),
    },
    'customers.list': { input: listable },
    'customers.search': {
      input: async ({ twin, clock }) => {
        twin.customerSignsUp({ email: 'ada@example.com' })
        await clock.advance(60_000)
        return { query: "email:'ada@example.com'" }
      },
    },
    'paymentIntents.retrieve': { input: ({ twin }) => ({ id: paid(twin).id }) },
    'paymentIntents.list': { input: ({ twin }) => ({ customer: paid(twin).customer!, limit: 5 }) },
    'charges.retrieve': { input: ({ twin }) => ({ id: paid(twin).latest_charge }) },
    'refunds.create': { input: ({ twin }) => ({ payment_intent: paid(twin).id, amount: 500 }) },
    'refunds.retrieve': {
      input: ({ twin }) => ({ id: twin.chargeRefunded({ paymentIntent: paid(twin).id }).id }),
    },
    'subscriptions.retrieve': { input: ({ twin }) => ({ id: subscribed(twin).id }) },
    'invoices.retrieve': { input: ({ twin }) => ({ id: subscribed(twin).latest_invoice }) },
    'disputes.retrieve': { input: ({ twin }) => ({ id: disputed(twin).id }) },
    'disputes.update': {
      input: ({ twin }) => ({
        id: disputed(twin).id,
        evidence: { uncategorized_text: 'She came and was happy.' },
        submit: true,
      }),
    },
  },
  webhooks: {
    secrets: [SECRET],
    send: async (twin, url) => {
      twin.addEndpoint({ url, secret: SECRET })
      const { id: customer } = twin.customerSignsUp({ email: 'ada@example.com', name: 'Ada' })
      twin.customerChanges({ customer, phone: '+15550100' })
      const intent = twin.paymentSucceeds({ amount: 1999, email: 'ada@example.com' })
      twin.paymentFails({ amount: 1999, customer })
      twin.chargeRefunded({ paymentIntent: intent.id, amount: 500 })
      const { id: dispute } = twin.disputeOpened({ paymentIntent: intent.id })
      twin.disputeCloses({ dispute, status: 'won' })
      const { id: subscription } = twin.subscriptionStarts({ customer, amount: 2900 })
      twin.subscriptionRenews({ subscription })
      twin.subscriptionEnds({ subscription })
      await twin.settled()
    },
  },
}

function listable({ twin }: Subject<StripeTwin>) {
  twin.customerSignsUp({ email: 'ada@example.com' })
  twin.customerSignsUp({ email: 'grace@example.com' })
  return { email: 'ada@example.com' }
}
const paid = (twin: StripeTwin) => twin.paymentSucceeds({ amount: 1999, email: 'ada@example.com' })
const disputed = (twin: StripeTwin) => twin.disputeOpened({ paymentIntent: paid(twin).id })
const subscribed = (twin: StripeTwin) =>
  twin.subscriptionStarts({
    customer: twin.customerSignsUp({ email: 'ada@example.com' }).id,
    amount: 2900,
  })

describeConnector(options)
