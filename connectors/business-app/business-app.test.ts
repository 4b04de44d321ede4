import { createHmac } from 'node:crypto'
import { signatureSchemes } from 'trestle'
import { createFakeClock, signPayload } from 'trestle/testing'
import { Webhook } from 'standardwebhooks'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { describeConnector, startSubject, type Subject } from '../../tests/conformance/suite.ts'
import { startReceiver } from '../../tests/conformance/receiver.ts'
import { businessApp } from './index.ts'
import { refusalOf } from './twin/signature.ts'
import { createBusinessAppTwin, type BusinessAppTwin } from './twin.ts'

const INCOMING_SECRET = `whsec_${Buffer.from('the app signs with this secret').toString('base64')}`

const options: Parameters<typeof describeConnector<BusinessAppTwin>>[0] = {
  connector: businessApp,
  folder: new URL('.', import.meta.url),
  twin: (clock) => createBusinessAppTwin({ clock }),
  // By hand, not by the code under test.
  authorize: (twin, { headers, body }) => {
    const id = headers['webhook-id']!
    const timestamp = String(Math.floor(twin.clock.now() / 1000))
    const key = Buffer.from(twin.signingSecret.replace('whsec_', ''), 'base64')
    const signature = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')
    return { 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${signature}` }
  },
  samples: {
    'events.send': {
      input: () => ({ type: 'appointment.booked', data: { id: 'apt_1', visits: 3 } }),
      anyBody: 'Standard Webhooks: any 2xx is acceptance',
    },
    'records.create': {
      input: () => ({ collection: 'visits', fields: { appointment: 'apt_1', paid: 4500 } }),
    },
    'records.put': { input: () => ({ collection: 'visits', id: 'apt_1', fields: { paid: 4500 } }) },
    'records.retrieve': { input: stored },
    'records.list': {
      input: async (subject) => {
        await stored(subject)
        return { collection: 'visits', field: 'email', equals: 'ada@example.com' }
      },
    },
    'records.delete': { input: stored, anyBody: 'a 204 has none' },
    ping: { input: () => ({}) },
  },
  webhooks: {
    secrets: [INCOMING_SECRET],
    send: async (twin, url) => {
      twin.emitsTo({ url, secret: INCOMING_SECRET })
      twin.emitAppointment('appointment.booked', {})
      twin.emitAppointment('appointment.no_show', {})
      twin.emitBatch([
        { type: 'appointment.completed', appointment: { service: 'Colour' } },
        { type: 'appointment.cancelled', appointment: {} },
      ])
      await twin.settled()
    },
  },
}

async function stored(subject: Subject<BusinessAppTwin>) {
  await subject.call('records.put', {
    collection: 'visits',
    id: 'apt_1',
    fields: { email: 'ada@example.com' },
  })
  return { collection: 'visits', id: 'apt_1' }
}

describeConnector(options)

describe('what goes out', () => {
  let subject: Subject<BusinessAppTwin>
  beforeEach(async () => {
    subject = await startSubject(options)
  })
  afterEach(() => subject.stop())

  it('is the same bytes in every attempt, with the time of the first', async () => {
    const operation = businessApp.operationsByName.get('events.send')!
    const context = { idempotencyKey: 'k', begunAt: 1_795_338_000_000, settings: {} }
    expect(operation.request({ type: 'a.b', data: {} }, context).body).toEqual({
      json: { type: 'a.b', timestamp: '2026-11-22T09:00:00.000Z', data: {} },
    })
  })

  it('is done once by the app although its answer was lost', async () => {
    const { twin } = subject
    twin.faults.resetAfterActing(1)
    const event = { type: 'appointment.booked', data: { id: 'apt_1' } }
    await expect(subject.call('events.send', event, { key: 'k' })).rejects.toMatchObject({
      code: 'ECONNRESET',
    })
    expect((await subject.call('events.send', event, { key: 'k' })).classification).toEqual({
      as: 'succeeded',
    })
    expect(twin.state.events).toEqual([{ id: 'k', ...event }])
  })

  it('is in doubt when the app knows the id with another body', async () => {
    await subject.call('events.send', { type: 'a.b', data: { n: 1 } }, { key: 'k' })
    const { classification } = await subject.call(
      'events.send',
      { type: 'a.b', data: { n: 2 } },
      { key: 'k' },
    )
    expect(classification).toMatchObject({ as: 'in_doubt', code: 'key_reused' })
    expect(subject.twin.effects()).toHaveLength(1)
  })

  it('is tried again after a failure, which the app does not remember', async () => {
    subject.twin.faults.failNext(1, 503, { inside: true, headers: { 'retry-after': '30' } })
    const event = { type: 'a.b', data: {} }
    expect((await subject.call('events.send', event, { key: 'k' })).classification).toMatchObject({
      as: 'retry',
      code: 'unavailable',
      retryAt: subject.clock.now() + 30_000,
    })
    expect((await subject.call('events.send', event, { key: 'k' })).classification).toEqual({
      as: 'succeeded',
    })
  })

  it('is refused when the body was changed on the way', async () => {
    const { twin } = subject
    const changed = await startSubject({
      ...options,
      twin: () => ({ ...twin, start: async () => twin.url }),
      authorize: (given, wire) =>
        options.authorize(given, { ...wire, body: wire.body.replace('4500', '45') }),
    })
    const called = await changed.call('records.put', {
      collection: 'visits',
      id: 'x',
      fields: { paid: 4500 },
    })
    expect(called.classification).toMatchObject({ as: 'unauthorized', code: 'signature_refused' })
    expect(twin.effects()).toEqual([])
  })

  it('is no failure when what is to be deleted is gone already', async () => {
    const called = await subject.call('records.delete', { collection: 'visits', id: 'never' })
    expect(called.classification).toEqual({ as: 'succeeded' })
    expect(await called.output()).toEqual({ id: 'never' })
  })
})

describe('the official package, standardwebhooks 1.1.1', () => {
  const { signingSecret } = createBusinessAppTwin()
  const clock = createFakeClock()
  const body = '{"type":"appointment.booked","timestamp":"2026-11-22T09:00:00.000Z","data":{}}'
  const scheme = signatureSchemes.standardWebhooks

  it('signs what the twin verifies', () => {
    const at = new Date(clock.now())
    const headers = {
      'webhook-id': 'msg_1',
      'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
      'webhook-signature': new Webhook(signingSecret).sign('msg_1', at, body),
    }
    const request = { headers, body: Buffer.from(body), now: clock.now() }
    expect(refusalOf(request, signingSecret)).toBeUndefined()
    expect(refusalOf({ ...request, body: Buffer.from(`${body} `) }, signingSecret)).toBe(
      'no signature matches',
    )
    expect(refusalOf({ ...request, now: clock.now() + 301_000 }, signingSecret)).toMatch(/five minutes/)
    expect(refusalOf({ ...request, now: clock.now() - 301_000 }, signingSecret)).toMatch(/five minutes/)
    expect(refusalOf({ ...request, headers: {} }, signingSecret)).toMatch(/missing/)
  })

  it('verifies what the twin signs when it emits', async () => {
    const receiver = await startReceiver()
    // The package reads the machine's clock, so the twin must sign by it too.
    const twin = createBusinessAppTwin({ emitTo: { url: receiver.url, secret: INCOMING_SECRET } })
    twin.webhooks.forgeBeforeNext(1)
    twin.emitAppointment('appointment.completed', {})
    await twin.settled()
    const verifier = new Webhook(INCOMING_SECRET)
    const [forged, genuine] = receiver.received
    expect(() => verifier.verify(forged!.body, forged!.headers)).toThrow(/signature/i)
    expect(verifier.verify(genuine!.body, genuine!.headers)).toMatchObject({ specversion: '1.0' })
    expect(forged!.headers['webhook-id']).toBe(genuine!.headers['webhook-id'])
    await receiver.stop()
  })

  it('signs as the platform signs', () => {
    const at = clock.now()
    const ours = signPayload(scheme, { url: 'https://x', body, at, id: 'msg_1' }, [signingSecret])
    const theirs = new Webhook(signingSecret).sign('msg_1', new Date(at), body)
    expect(ours.headers['webhook-signature']).toBe(theirs)
  })
})

describe('CloudEvents', () => {
  const eventsOf = (body: unknown) =>
    businessApp.webhooks!.events({ body: body as never, headers: {}, settings: {} })
  const cloudEvent = { specversion: '1.0', id: '1', source: '/a', type: 'com.example.appointment.no_show' }

  it('are the same event by source and id together', () => {
    const id = (change: object) => eventsOf({ ...cloudEvent, ...change })[0]!.id
    expect(id({})).toBe(id({ time: '2026-11-22T09:00:00Z' }))
    expect(new Set([id({}), id({ id: '2' }), id({ source: '/b' }), id({ source: '/a1' })]).size).toBe(4)
  })

  it('have our own type where they end with it, and theirs otherwise', () => {
    expect(eventsOf(cloudEvent)[0]).toMatchObject({ type: 'appointment.no_show', at: '/data' })
    expect(eventsOf({ ...cloudEvent, type: 'com.example.stock.low' })[0]!.type).toBe('com.example.stock.low')
    expect(eventsOf({ ...cloudEvent, type: 'reappointment.no_show' })[0]!.type).toBe('reappointment.no_show')
  })

  it('come in batches, and an empty batch has none', () => {
    expect(eventsOf([cloudEvent, { ...cloudEvent, id: '2' }]).map(({ at }) => at)).toEqual([
      '/0/data',
      '/1/data',
    ])
    expect(eventsOf([])).toEqual([])
  })

  it.each([
    ['another version', { ...cloudEvent, specversion: '0.3' }],
    ['no id', { ...cloudEvent, id: '' }],
    ['no object', 'text'],
    ['a time that is none', { ...cloudEvent, time: 'yesterday' }],
  ])('are refused with %s', (_what, body) => {
    expect(() => eventsOf(body)).toThrow(/./)
  })

  it('go to the API with a token, and forged ones with another', async () => {
    const receiver = await startReceiver()
    const twin = createBusinessAppTwin({
      clock: createFakeClock(),
      emitTo: { url: receiver.url, token: 'tok' },
    })
    twin.webhooks.forgeBeforeNext(1)
    twin.emitAppointment('appointment.completed', { id: 'apt_7' })
    await twin.settled()
    expect(receiver.received.map(({ headers }) => headers['authorization'])).toEqual([
      'Bearer forged',
      'Bearer tok',
    ])
    expect(receiver.received[1]!.headers['content-type']).toBe('application/cloudevents+json')
    await receiver.stop()
  })
})
