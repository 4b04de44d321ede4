import { Stripe } from 'stripe'
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

describe('the form encoding', () => {
  it('writes nested names in brackets, unsets with an empty value and leaves undefined out', () => {
    expect(
      toForm({ a: { b: 'x', c: null }, list: [{ id: 1 }, { id: 2n }], on: true, off: undefined }),
    ).toEqual([
      ['a[b]', 'x'],
      ['a[c]', ''],
      ['list[0][id]', '1'],
      ['list[1][id]', '2'],
      ['on', 'true'],
    ])
  })
})

describe('what answers mean', () => {
  let subject: Subject<StripeTwin>
  beforeEach(async () => {
    subject = await startSubject(options)
  })
  afterEach(() => subject.stop())

  const meaning = async (operation: string, input: unknown, key?: string) =>
    (await subject.call(operation, input, key === undefined ? {} : { key })).classification

  it('is final for a declined card, a missing object and wrong parameters', async () => {
    subject.twin.faults.failNext(1, 402, {
      body: {
        error: { type: 'card_error', code: 'card_declined', decline_code: 'lost_card', message: 'No.' },
      },
    })
    expect(await meaning('customers.list', {})).toMatchObject({ as: 'failed', code: 'lost_card' })
    expect(await meaning('customers.retrieve', { id: 'cus_none' })).toMatchObject({
      as: 'failed',
      code: 'resource_missing',
      reason: expect.stringContaining("No such customer: 'cus_none'"),
    })
    expect(await meaning('customers.create', { email: 'no address' })).toMatchObject({
      as: 'failed',
      code: 'email_invalid',
    })
  })

  it('is in doubt for a write and to be asked again for a read when Stripe fails', async () => {
    subject.twin.faults.failNext(2, 503)
    expect(await meaning('customers.create', {})).toMatchObject({ as: 'in_doubt', code: 'outcome_unknown' })
    expect(await meaning('customers.list', {})).toMatchObject({ as: 'retry', code: 'outcome_unknown' })
  })

  it('tells a stored error from a new one', async () => {
    subject.twin.faults.failNext(1, 500, { inside: true })
    expect(await meaning('customers.create', {}, 'k')).toMatchObject({ code: 'outcome_unknown' })
    expect(await meaning('customers.create', {}, 'k')).toMatchObject({ as: 'in_doubt', code: 'stored_error' })
    expect(subject.twin.effects()).toHaveLength(0)
    expect(await meaning('customers.create', {}, 'k2')).toEqual({ as: 'succeeded' })
  })

  it('is in doubt when the same key comes with other parameters, since something was done', async () => {
    expect(await meaning('customers.create', { name: 'Ada' }, 'k')).toEqual({ as: 'succeeded' })
    expect(await meaning('customers.create', { name: 'Grace' }, 'k')).toMatchObject({
      as: 'in_doubt',
      code: 'idempotency_error',
    })
    expect(subject.twin.effects()).toHaveLength(1)
  })

  it('is in doubt while another request with the key is running', async () => {
    subject.twin.faults.failNext(1, 409, {
      body: { error: { type: 'idempotency_error', code: 'idempotency_key_in_use', message: 'Wait.' } },
    })
    expect(await meaning('customers.create', {}, 'k')).toMatchObject({
      as: 'in_doubt',
      code: 'idempotency_key_in_use',
    })
  })

  it('is to be tried again at the time that Stripe names when it is limited', async () => {
    subject.twin.faults.rateLimit(1, 7)
    expect(await meaning('customers.create', {})).toMatchObject({
      as: 'retry',
      code: 'rate_limit',
      retryAt: subject.clock.now() + 7000,
    })
  })
})

describe('after Stripe forgot a key', () => {
  it('the same key acts again, so the look-up must be asked first, and it finds what was done', async () => {
    const subject = await startSubject(options)
    const input = { payment_intent: paid(subject.twin).id, amount: 500 }
    const begunAt = subject.clock.now()
    const first = (await (await subject.call('refunds.create', input, { key: 'k' })).output()) as {
      id: string
    }
    await subject.clock.advance(24 * 3600 * 1000)
    expect(await subject.lookUp('refunds.create', input, { key: 'k', begunAt })).toMatchObject({
      id: first.id,
    })
    await subject.call('refunds.create', input, { key: 'k' })
    expect(subject.twin.effects().filter(({ kind }) => kind === 'refund.created')).toHaveLength(2)
    await subject.stop()
  })
})

describe('a deleted customer', () => {
  it('is read as deleted, not as a customer with fields missing', async () => {
    const subject = await startSubject(options)
    const { id } = subject.twin.customerSignsUp({ email: 'ada@example.com' })
    subject.twin.customerDeleted({ customer: id })
    const called = await subject.call('customers.retrieve', { id })
    expect(await called.output()).toMatchObject({ id, deleted: true })
    await subject.stop()
  })
})

describe('the official client, stripe 23.1.0', () => {
  let twin: StripeTwin
  let client: Stripe
  let subject: Subject<StripeTwin>
  beforeEach(async () => {
    subject = await startSubject(options)
    twin = subject.twin
    const { hostname, port } = new URL(twin.url)
    client = new Stripe(twin.apiKey, {
      host: hostname,
      port,
      protocol: 'http',
      maxNetworkRetries: 0,
      telemetry: false,
    })
  })
  afterEach(() => subject.stop())

  /** What our connector gives for the same. */
  const ours = async (operation: string, input: unknown) => (await subject.call(operation, input)).output()
  /** What the client gives, without its own additions. */
  const plain = (value: object): unknown => {
    const { lastResponse: _, ...rest } = value as { lastResponse?: unknown }
    return JSON.parse(JSON.stringify(rest)) as unknown
  }

  it('uses the API version that the connector pins', async () => {
    await client.customers.list()
    expect(twin.requests().at(-1)?.headers['stripe-version']).toBe(STRIPE_VERSION)
    expect(Stripe.API_VERSION).toBe(STRIPE_VERSION)
  })

  it('reads the same objects', async () => {
    const { id: customer } = twin.customerSignsUp({ email: 'ada@example.com', name: 'Ada' })
    const intent = twin.paymentSucceeds({ amount: 1999, customer })
    const subscription = twin.subscriptionStarts({ customer, amount: 2900 })
    const dispute = twin.disputeOpened({ paymentIntent: intent.id })
    const refund = twin.chargeRefunded({ paymentIntent: intent.id, amount: 100 })
    const pairs: [string, unknown, Promise<object>][] = [
      ['customers.retrieve', { id: customer }, client.customers.retrieve(customer)],
      ['paymentIntents.retrieve', { id: intent.id }, client.paymentIntents.retrieve(intent.id)],
      ['charges.retrieve', { id: intent.latest_charge }, client.charges.retrieve(intent.latest_charge!)],
      ['subscriptions.retrieve', { id: subscription.id }, client.subscriptions.retrieve(subscription.id)],
      [
        'invoices.retrieve',
        { id: subscription.latest_invoice },
        client.invoices.retrieve(subscription.latest_invoice!),
      ],
      ['disputes.retrieve', { id: dispute.id }, client.disputes.retrieve(dispute.id)],
      ['refunds.retrieve', { id: refund.id }, client.refunds.retrieve(refund.id)],
      ['customers.list', { email: 'ada@example.com' }, client.customers.list({ email: 'ada@example.com' })],
      ['paymentIntents.list', { customer, limit: 1 }, client.paymentIntents.list({ customer, limit: 1 })],
    ]
    for (const [operation, input, theirs] of pairs)
      expect({ operation, object: plain(await theirs) }).toEqual({
        operation,
        object: await ours(operation, input),
      })
  })

  it('writes the same bytes in the body, but for our marker', async () => {
    const input = {
      email: 'ada@example.com',
      name: 'Ada & Co',
      metadata: { 'branch name': 'north', plus: 'a+b' },
    }
    await client.customers.create(input)
    await subject.call('customers.create', input)
    const [theirs, our] = twin.requests().map(({ body }) => [...new URLSearchParams(body)])
    expect(our!.filter(([name]) => name !== 'metadata[trestle_key]')).toEqual(theirs)
  })

  it('pages through a list that our connector pages through', async () => {
    for (let i = 0; i < 25; i++) twin.customerSignsUp({ email: `c${i}@example.com` })
    const theirs: string[] = []
    for await (const one of client.customers.list({ limit: 10 })) theirs.push(one.id)
    const our: string[] = []
    let more = true
    while (more) {
      const page = (await ours('customers.list', { limit: 10, starting_after: our.at(-1) })) as {
        data: { id: string }[]
        has_more: boolean
      }
      our.push(...page.data.map(({ id }) => id))
      more = page.has_more
    }
    expect(our).toHaveLength(25)
    expect(our).toEqual(theirs)
  })

  it('gets its own errors for what our connector classifies', async () => {
    await expect(client.customers.retrieve('cus_none')).rejects.toBeInstanceOf(
      Stripe.errors.StripeInvalidRequestError,
    )
    twin.faults.rateLimit(1, 1)
    await expect(client.customers.list()).rejects.toBeInstanceOf(Stripe.errors.StripeRateLimitError)
    await client.customers.create({ name: 'Ada' }, { idempotencyKey: 'k' })
    await expect(client.customers.create({ name: 'Eve' }, { idempotencyKey: 'k' })).rejects.toBeInstanceOf(
      Stripe.errors.StripeIdempotencyError,
    )
    const stranger = new Stripe('sk_test_other', {
      host: '127.0.0.1',
      port: new URL(twin.url).port,
      protocol: 'http',
      maxNetworkRetries: 0,
      telemetry: false,
    })
    await expect(stranger.customers.list()).rejects.toBeInstanceOf(Stripe.errors.StripeAuthenticationError)
  })

  it('refunds once when it retries after a lost answer, as ours does', async () => {
    const { id } = twin.paymentSucceeds({ amount: 1999, email: 'ada@example.com' })
    const patient = new Stripe(twin.apiKey, {
      host: '127.0.0.1',
      port: new URL(twin.url).port,
      protocol: 'http',
      maxNetworkRetries: 2,
      telemetry: false,
    })
    twin.faults.resetAfterActing(1)
    const refund = await patient.refunds.create({ payment_intent: id, amount: 500 })
    expect(refund.amount).toBe(500)
    expect(twin.effects().filter(({ kind }) => kind === 'refund.created')).toHaveLength(1)
  })

  it('accepts the webhooks that the twin signs, and refuses forged ones', async () => {
    const receiver = await startReceiver()
    twin.addEndpoint({ url: receiver.url, secret: SECRET, enabledEvents: ['customer.created'] })
    twin.webhooks.forgeBeforeNext(1)
    twin.customerSignsUp({ email: 'ada@example.com' })
    twin.customerSignsUp({ email: 'grace@example.com' })
    await twin.settled()
    const verdicts = receiver.received.map(({ body, headers }) => {
      try {
        const event = client.webhooks.constructEvent(
          body,
          headers['stripe-signature']!,
          SECRET,
          300,
          undefined,
          twin.clock.now(),
        )
        return event.type
      } catch (error) {
        return error instanceof Stripe.errors.StripeSignatureVerificationError ? 'refused' : String(error)
      }
    })
    expect(verdicts.sort()).toEqual(['customer.created', 'customer.created', 'refused'])
    await receiver.stop()
  })
})

/** Held against the official types when this file is type-checked: what the twin makes is what Stripe declares. */
export function twinMakesWhatStripeDeclares(twin: StripeTwin, intent: string): unknown[] {
  const payment: Stripe.PaymentIntent = twin.paymentSucceeds({ amount: 1 })
  const charge: Stripe.Charge | undefined = twin.state.charges.get(intent)
  const refund: Stripe.Refund = twin.chargeRefunded({ paymentIntent: intent })
  const dispute: Stripe.Dispute = twin.disputeOpened({ paymentIntent: intent })
  const customer: Omit<Stripe.Customer, 'deleted'> = twin.customerSignsUp({})
  const subscription: Omit<Stripe.Subscription, 'items'> = twin.subscriptionStarts({
    customer: '',
    amount: 1,
  })
  const invoice: Omit<Stripe.Invoice, 'lines' | 'deleted'> = twin.subscriptionRenews({ subscription: '' })
  return [payment, charge, refund, dispute, customer, subscription, invoice]
}
