/** The official client, @easypost/api 8.9.0, against our twin: it must see what our connector sees. */
import EasyPostModule from '@easypost/api'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { signatureSchemes } from '../../src/define/index.ts'
import { createFakeClock } from '../../src/testing/index.ts'
import { verifySignature } from '../../src/webhooks/index.ts'
import { startReceiver } from '../../tests/conformance/receiver.ts'
import { startSubject, type Subject } from '../../tests/conformance/suite.ts'
import { easypost } from './index.ts'
import { createEasypostTwin, type EasypostTwin } from './twin.ts'

const salon = {
  street1: '417 Montgomery St',
  city: 'San Francisco',
  state: 'CA',
  zip: '94104',
  country: 'US',
}
const ada = { ...salon, name: 'Ada Lovelace', street1: '179 N Harbor Dr' }
const parcel = { weight: 15.4, length: 9, width: 6, height: 2 }

type Seen = Record<string, unknown>

/** Its types are of a CommonJS module, whose default Node gives as it is. */
const EasyPostClient = EasyPostModule as unknown as typeof EasyPostModule.default

describe('@easypost/api 8.9.0 against the twin', () => {
  let subject: Subject<EasypostTwin>
  let client: InstanceType<typeof EasyPostClient>

  beforeEach(async () => {
    subject = await startSubject({
      connector: easypost,
      folder: new URL('.', import.meta.url),
      twin: (clock) => createEasypostTwin({ clock }),
      authorize: ({ apiKey }) => ({ authorization: `Basic ${Buffer.from(`${apiKey}:`).toString('base64')}` }),
      samples: {},
    })
    client = new EasyPostClient(subject.twin.apiKey, { baseUrl: `${subject.twin.url}/v2/` })
  })
  afterEach(async () => {
    await subject.stop()
    if (subject.twin.ownErrors().length > 0) throw new Error(subject.twin.ownErrors().join('; '))
  })

  const output = async (operation: string, input: object): Promise<Seen> =>
    (await (await subject.call(operation, input)).output()) as Seen
  const lastRequest = () => {
    const { method, path, query, headers, body } = subject.twin.requests().at(-1)!
    return {
      method,
      path,
      query,
      authorization: headers['authorization'],
      body: body === '' ? {} : (JSON.parse(body) as Seen),
    }
  }
  /** As plain JSON, without what the client adds. */
  const plain = (value: unknown): Seen =>
    JSON.parse(
      JSON.stringify(value, (name, inner: unknown) => (name === '_params' ? undefined : inner)),
    ) as Seen

  it('writes an address down with the same request, and reads the same answer', async () => {
    const theirs = plain(await client.Address.create({ ...ada, verify: true }))
    const asked = lastRequest()
    const ours = await output('addresses.create', { ...ada, verify: 'report' })
    expect(lastRequest()).toEqual(asked)
    expect({ ...plain(ours), id: theirs['id'] }).toEqual(theirs)
    const verified = plain(await client.Address.verifyAddress(String(theirs['id'])))
    const verifying = lastRequest()
    expect(plain(await output('addresses.verify', { id: theirs['id'] }))).toEqual(verified)
    expect(lastRequest()).toEqual(verifying)
    expect(plain(await client.Address.retrieve(String(theirs['id'])))).toEqual(
      plain(await output('addresses.retrieve', { id: theirs['id'] })),
    )
  })

  it('asks for rates, buys a label and gives it back with the same requests', async () => {
    const theirs = await client.Shipment.create({ to_address: ada, from_address: salon, parcel })
    const asked = lastRequest()
    const ours = await output('shipments.create', { to: ada, from: salon, parcel })
    const mine = lastRequest()
    expect({
      ...mine,
      body: { shipment: { ...(mine.body['shipment'] as Seen), reference: undefined } },
    }).toEqual({
      ...asked,
      body: { shipment: { ...(asked.body['shipment'] as Seen), reference: undefined } },
    })
    expect(Object.keys(ours).sort()).toEqual(Object.keys(plain(theirs)).sort())

    const bought = await client.Shipment.buy(theirs.id, theirs.lowestRate())
    const buying = lastRequest()
    const rate = (ours['rates'] as { id: string; rate: string }[])[0]!
    const label = await output('shipments.buy', { id: ours['id'], rate: rate.id })
    expect(lastRequest().path.replace(String(ours['id']), theirs.id)).toBe(buying.path)
    expect(lastRequest().body).toEqual({ rate: { id: rate.id } })
    expect(buying.body).toEqual({ rate: { id: bought.selected_rate.id } })
    expect(bought.selected_rate.rate).toBe((label['selected_rate'] as { rate: string }).rate)
    expect(plain(await client.Shipment.retrieve(theirs.id))).toEqual(
      plain(await output('shipments.retrieve', { id: theirs.id })),
    )

    const returned = await client.Shipment.refund(theirs.id)
    const returning = lastRequest()
    const ourReturn = await output('shipments.refund', { id: ours['id'] })
    expect(lastRequest().path.replace(String(ours['id']), theirs.id)).toBe(returning.path)
    expect(ourReturn['refund_status']).toBe(returned.refund_status)
  })

  it('follows a parcel with the same request, and gets the first tracker again', async () => {
    const theirs = plain(await client.Tracker.create({ tracking_code: 'EZ1000000001', carrier: 'USPS' }))
    const asked = lastRequest()
    const ours = await output('trackers.create', { trackingCode: 'EZ1000000001', carrier: 'USPS' })
    expect(lastRequest()).toEqual(asked)
    expect(plain(ours)).toEqual(theirs)
    expect(plain(await client.Tracker.retrieve(String(theirs['id'])))).toEqual(
      plain(await output('trackers.retrieve', { id: theirs['id'] })),
    )
  })

  it('pages as our connector does, each entry once', async () => {
    for (let i = 1; i <= 5; i++) subject.twin.parcelFollowed({ trackingCode: `EZ${i}` })
    const theirs: string[] = []
    let page = await client.Tracker.all({ page_size: 2 })
    theirs.push(...page.trackers.map((one) => one.tracking_code))
    while (page.has_more) {
      page = await client.Tracker.getNextPage(page)
      theirs.push(...page.trackers.map((one) => one.tracking_code))
    }
    const ours: string[] = []
    let input: object | undefined = { pageSize: 2 }
    while (input) {
      const { trackers, has_more: more } = (await output('trackers.list', input)) as unknown as {
        trackers: { id: string; tracking_code: string }[]
        has_more: boolean
      }
      ours.push(...trackers.map(({ tracking_code: code }) => code))
      input = more ? { pageSize: 2, beforeId: trackers.at(-1)!.id } : undefined
    }
    expect(theirs).toEqual(['EZ5', 'EZ4', 'EZ3', 'EZ2', 'EZ1'])
    expect(ours).toEqual(theirs)
  })

  it('reads refusals with their codes, as our connector does', async () => {
    const error: unknown = await client.Tracker.retrieve('trk_none').catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ statusCode: 404, code: 'NOT_FOUND' })
    const { classification } = await subject.call('trackers.retrieve', { id: 'trk_none' })
    expect(classification).toMatchObject({ as: 'failed', code: 'not_found' })
    const stranger = new EasyPostClient('EZTK_other', { baseUrl: `${subject.twin.url}/v2/` })
    await expect(stranger.Tracker.all({})).rejects.toMatchObject({ statusCode: 401 })
    subject.twin.faults.failNext(1, 429)
    await expect(client.Tracker.all({})).rejects.toMatchObject({ statusCode: 429 })
  })
})

describe('webhooks of the twin', () => {
  const SECRET = 'ﬁt for a wébhook'

  it('are verified by @easypost/api 8.9.0 and by us, and by neither when anything is changed', async () => {
    const receiver = await startReceiver()
    const twin = createEasypostTwin({ clock: createFakeClock() })
    await twin.start()
    twin.subscribe(receiver.url, SECRET)
    twin.parcelFollowed({ trackingCode: 'EZ1' })
    await twin.settled()
    const { body, headers, rawHeaders } = receiver.received[0]!
    const { Utils } = new EasyPostClient('EZTK_any')
    const utils = Utils as unknown as {
      validateWebhook(body: Buffer, headers: object, secret: string): object
    }
    const theirs = (given: Buffer, secret: string): boolean => {
      try {
        return utils.validateWebhook(given, headers, secret) !== undefined
      } catch {
        return false
      }
    }
    const ours = (given: Buffer, secret: string): boolean =>
      verifySignature(
        signatureSchemes.easypost,
        { method: 'POST', url: receiver.url, headers: rawHeaders, body: given },
        [secret],
        0,
      ).ok
    expect(body.toString()).toContain('"weight":12.0')
    const changed = Buffer.from(body.toString().replace('EZ1', 'EZ2'))
    for (const verify of [theirs, ours]) {
      expect(verify(body, SECRET)).toBe(true)
      expect(verify(body, SECRET.normalize('NFKD'))).toBe(true)
      expect(verify(body, 'another')).toBe(false)
      expect(verify(changed, SECRET)).toBe(false)
    }
    await receiver.stop()
    await twin.stop()
  })
})
