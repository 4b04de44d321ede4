import { describe, expect, it } from 'vitest'
import { describeConnector, startSubject, type ConformanceOptions } from '../../tests/conformance/suite.ts'
import { easypost } from './index.ts'
import { referenceOf } from './shipments.ts'
import { createEasypostTwin, type EasypostTwin } from './twin.ts'

const SECRET = 'secret ﬁt for a webhook'
const salon = {
  street1: '417 Montgomery St',
  city: 'San Francisco',
  state: 'CA',
  zip: '94104',
  country: 'US',
}
const ada = { ...salon, name: 'Ada Lovelace', street1: '179 N Harbor Dr' }
const parcel = { weight: 15.4, length: 9, width: 6, height: 2 }
const sending = { to: ada, from: salon, parcel }

interface Made {
  readonly id: string
  readonly rates: readonly { readonly id: string }[]
  readonly tracking_code: string
}
type Calls = Parameters<ConformanceOptions<EasypostTwin>['samples'][string]['input']>[0]

const made = async (subject: Calls): Promise<Made> =>
  (await (await subject.call('shipments.create', sending)).output()) as Made
const bought = async (subject: Calls): Promise<Made> => {
  const { id, rates } = await made(subject)
  return (await (await subject.call('shipments.buy', { id, rate: rates[1]!.id })).output()) as Made
}
const written = async (subject: Calls): Promise<Made> =>
  (await (await subject.call('addresses.create', ada)).output()) as Made

const options: ConformanceOptions<EasypostTwin> = {
  connector: easypost,
  folder: new URL('.', import.meta.url),
  twin: (clock) => createEasypostTwin({ clock }),
  authorize: ({ apiKey }) => ({ authorization: `Basic ${Buffer.from(`${apiKey}:`).toString('base64')}` }),
  samples: {
    'addresses.create': {
      input: () => ({ ...ada, verify: 'report' }),
      mayDiffer: 'an address is a value: a second one with another id harms nobody',
    },
    'addresses.verify': { input: async (subject) => ({ id: (await written(subject)).id }) },
    'addresses.retrieve': { input: async (subject) => ({ id: (await written(subject)).id }) },
    'addresses.list': {
      input: async (subject) => {
        await written(subject)
        return { pageSize: 5 }
      },
    },
    'shipments.create': { input: () => sending },
    'shipments.buy': {
      input: async (subject) => {
        const { id, rates } = await made(subject)
        return { id, rate: rates[0]!.id, insurance: '100.00' }
      },
      lookupTakesOthers: 'a shipment has one label at most: at this rate nothing is left to do',
    },
    'shipments.refund': {
      input: async (subject) => ({ id: (await bought(subject)).id }),
      lookupTakesOthers: 'the label was given back, whoever did it: nothing is left to do',
    },
    'shipments.retrieve': { input: async (subject) => ({ id: (await bought(subject)).id }) },
    'shipments.list': {
      input: async (subject) => {
        await bought(subject)
        return { pageSize: 5 }
      },
    },
    'trackers.create': { input: () => ({ trackingCode: 'EZ1000000001', carrier: 'USPS' }) },
    'trackers.retrieve': {
      input: ({ twin }) => ({ id: twin.parcelFollowed({ trackingCode: 'EZ2000000002' }).id }),
    },
    'trackers.list': {
      input: ({ twin }) => {
        twin.parcelFollowed({ trackingCode: 'EZ2000000002' })
        return { trackingCode: 'EZ2000000002' }
      },
    },
  },
  webhooks: {
    secrets: [SECRET],
    async send(twin, url) {
      twin.subscribe(url, SECRET)
      const subject = await startSubject({ ...options, twin: () => running(twin) })
      const { id, tracking_code: trackingCode } = await bought(subject)
      await subject.call('shipments.refund', { id })
      twin.parcelMoved({ trackingCode, status: 'in_transit' })
      twin.refundDecided({ trackingCode })
      await twin.settled()
    },
  },
}

/** The same twin, which is started already. */
function running(twin: EasypostTwin): EasypostTwin {
  return { ...twin, start: async () => twin.url, url: twin.url }
}

describeConnector(options)

describe('easypost', () => {
  const subjectOf = () => startSubject(options)

  it('writes the idempotency key as the reference of a shipment, by which alone it is found again', async () => {
    const subject = await subjectOf()
    await subject.call('shipments.create', sending, { key: 'first' })
    await subject.call('shipments.create', sending, { key: 'second' })
    expect([...subject.twin.state.shipments.values()].map(({ reference }) => reference)).toEqual([
      referenceOf('first'),
      referenceOf('second'),
    ])
    const found = (await subject.lookUp('shipments.create', sending, { key: 'first' })) as {
      reference: string
    }
    expect(found.reference).toBe('trestle-first')
    await subject.stop()
  })

  it('does not say "not made" where the list does not hold all that were made since', async () => {
    const subject = await subjectOf()
    for (let i = 0; i < 100; i++) await subject.call('shipments.create', sending)
    expect(await subject.lookUp('shipments.create', sending, { key: 'lost' })).toBeUndefined()
    await subject.call('shipments.create', sending)
    await expect(subject.lookUp('shipments.create', sending, { key: 'lost' })).rejects.toThrow(
      /more than 100/,
    )
    await subject.stop()
  })

  it('leaves a label at another rate to a person, and buys none a second time', async () => {
    const subject = await subjectOf()
    const { id, rates } = await made(subject)
    await subject.call('shipments.buy', { id, rate: rates[0]!.id })
    await expect(subject.lookUp('shipments.buy', { id, rate: rates[1]!.id }, { key: 'k' })).rejects.toThrow(
      /has a label already/,
    )
    expect((await subject.call('shipments.buy', { id, rate: rates[0]!.id })).classification).toMatchObject({
      as: 'failed',
      code: 'shipment_postage_exists',
    })
    expect(subject.twin.effects().filter(({ kind }) => kind === 'label.bought')).toHaveLength(1)
    await subject.stop()
  })

  it('a 5xx of a purchase is doubt; a 429 is not', async () => {
    const subject = await subjectOf()
    const { id, rates } = await made(subject)
    for (const [status, as] of [
      [500, 'in_doubt'],
      [503, 'in_doubt'],
      [429, 'retry'],
    ] as const) {
      subject.twin.faults.failNext(1, status)
      const { classification } = await subject.call('shipments.buy', { id, rate: rates[0]!.id })
      expect(classification.as).toBe(as)
    }
    await subject.stop()
  })

  it('leaves a rejected refund to a person, and takes one that is not applicable for done', async () => {
    const subject = await subjectOf()
    const { id, tracking_code: trackingCode } = await bought(subject)
    subject.twin.refundDecided({ trackingCode, status: 'rejected' })
    await expect(subject.lookUp('shipments.refund', { id }, { key: 'k' })).rejects.toThrow(/was rejected/)
    const shipment = subject.twin.state.shipments.get(id)!
    subject.twin.state.shipments.set(id, { ...shipment, refund_status: 'not_applicable' })
    expect(await subject.lookUp('shipments.refund', { id }, { key: 'k' })).toMatchObject({ id })
    await subject.stop()
  })

  it('says in words what is wrong with an address, which strict verification refuses', async () => {
    const subject = await subjectOf()
    const nowhere = { ...ada, street1: 'Harbor Dr' }
    const { classification } = await subject.call('addresses.create', { ...nowhere, verify: 'strict' })
    expect(classification).toEqual({
      as: 'failed',
      code: 'address_verify_failure',
      reason:
        'Unable to verify address.; address: Address not found; street1: House number is missing (ADDRESS.VERIFY.FAILURE)',
    })
    const reported = (await (
      await subject.call('addresses.create', { ...nowhere, verify: 'report' })
    ).output()) as {
      verifications: unknown
    }
    expect(reported.verifications).toMatchObject({ delivery: { success: false } })
    await subject.stop()
  })

  it.each([undefined, null, [], 'text', { error: 'text' }, { error: { message: ['a', { message: 'b' }] } }])(
    'takes an error body of any shape: %j',
    (json) => {
      const answer = { status: 422, headers: {}, json: json as never, text: '' }
      expect(easypost.classify?.(answer, 0)).toMatchObject({ as: 'failed', code: 'status_422' })
    },
  )
})
