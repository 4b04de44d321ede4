import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { businessApp } from '../../connectors/business-app/index.ts'
import { createBusinessAppTwin } from '../../connectors/business-app/twin.ts'
import { RetryableError } from '../base/index.ts'
import { defineFlow, type AnyFlow } from '../define/index.ts'
import { createFakeClock } from '../testing/fakeClock.ts'
import { within } from './http/deadline.ts'
import { BATCH, STRUCTURED } from './http/cloudEvents.ts'
import { openServer, type Answer, type ServerFixture } from './server.fixture.ts'

const completed = defineFlow({
  name: 'completed',
  on: businessApp.on('appointment.completed'),
  run: () => 'seen',
})

let server: ServerFixture
beforeAll(async () => {
  server = await openServer({ flows: [completed as AnyFlow], idle: true })
})
afterAll(() => server.close())

const appointment = {
  id: 'apt_1',
  customer: { name: 'Ada', email: 'ada@example.com' },
  service: 'Haircut',
  startsAt: '2026-11-22T09:00:00+01:00',
  endsAt: '2026-11-22T10:00:00+01:00',
  price: { amount: 4500, currency: 'usd' },
}
const cloudEvent = (id: string, more: object = {}): Record<string, unknown> => ({
  specversion: '1.0',
  id,
  source: 'https://example.com/appointments',
  type: 'com.example.appointment.completed',
  time: '2026-11-22T09:00:00Z',
  data: appointment,
  ...more,
})
const emit = (
  body: unknown,
  contentType = STRUCTURED,
  query = '',
  headers: Record<string, string> = {},
): Promise<Answer> => server.post(`/api/v1/events${query}`, body, { 'content-type': contentType, ...headers })
const eventsOf = async (delivery: string): Promise<Record<string, unknown>[]> =>
  (await server.get(`/api/v1/deliveries/${delivery}`)).json.events

describe('an emitted event', () => {
  it.each([STRUCTURED, 'application/json', `${STRUCTURED}; charset=utf-8`])(
    'is accepted as %s, starts its flow, and is a duplicate by source and id',
    async (contentType) => {
      const event = cloudEvent(`ev ${contentType}`)
      const first = await emit(event, contentType)
      expect(first.status).toBe(202)
      expect(first.json).toEqual({
        deliveryId: expect.stringMatching(/^dlv_/),
        state: 'accepted',
        quarantined: [],
      })
      const [stored] = await eventsOf(first.json.deliveryId)
      expect(stored).toMatchObject({
        type: 'appointment.completed',
        state: 'dispatched',
        connection: 'app',
        summary: 'Haircut for Ada done, $45.00',
        occurredAt: '2026-11-22T09:00:00.000Z',
      })
      expect((await server.get(`/api/v1/runs?event=${stored!['id'] as string}`)).json.items).toMatchObject([
        { flow: 'completed', state: 'queued' },
      ])
      expect((await emit(event, contentType)).json).toMatchObject({ state: 'duplicate' })
      const elsewhere = { ...event, source: 'https://example.com/other' }
      expect((await emit(elsewhere, contentType)).json).toMatchObject({ state: 'accepted' })
    },
  )

  it('is committed when 202 is answered, and on the record of its token, whose text is stored nowhere', async () => {
    const { json } = await emit(cloudEvent('committed'))
    const { rows } = await server.engine.database.pool.query<{
      headers: Buffer
      actor: string
      entry: Buffer
    }>(
      `select d.headers, l.actor, l.entry from deliveries d join ledger l on l.target = d.id where d.id = $1`,
      [json.deliveryId],
    )
    expect(rows[0]!.actor).toMatch(/^token:tok_/)
    expect(rows[0]!.headers.toString() + rows[0]!.entry.toString()).not.toContain(server.token)
  })

  it('comes in binary mode, with its data as it was', async () => {
    const data = JSON.stringify({ ...appointment, big: 1 }).replace('"big":1', '"big":9007199254740993')
    const { status, json } = await emit(data, 'application/json', '', {
      'ce-specversion': '1.0',
      'ce-id': 'binary',
      'ce-source': '/caf%C3%A9',
      'ce-type': 'com.example.appointment.completed',
    })
    expect(status).toBe(202)
    const [event] = await eventsOf(json.deliveryId)
    const shown = (await server.get(`/api/v1/events/${event!['id'] as string}`)).json
    expect(shown).toMatchObject({
      providerEventId: '/café binary',
      data: { id: 'apt_1', big: 9007199254740993n },
    })
  })

  it('that breaks its contract is quarantined with its path', async () => {
    const { json } = await emit(cloudEvent('broken', { data: { ...appointment, price: 'free' } }))
    expect(await eventsOf(json.deliveryId)).toMatchObject([
      { state: 'quarantined', reasonPath: expect.stringContaining('/data/price') },
    ])
  })

  it('that no flow starts on is kept as unmatched', async () => {
    const { json } = await emit(cloudEvent('odd', { type: 'com.example.odd' }))
    expect(await eventsOf(json.deliveryId)).toMatchObject([{ state: 'unmatched', type: 'com.example.odd' }])
  })
})

describe('a batch', () => {
  it('is one delivery', async () => {
    const { status, json } = await emit([cloudEvent('b1'), cloudEvent('b2')], BATCH)
    expect(status).toBe(202)
    expect(await eventsOf(json.deliveryId)).toHaveLength(2)
    expect((await emit([cloudEvent('b2'), cloudEvent('b3')], 'application/json')).json.state).toBe('accepted')
  })

  it('is not failed by a bad neighbour, which is quarantined by itself', async () => {
    const bad = { specversion: '1.0', source: '/x', type: 'y', amount: 1 }
    const body = JSON.stringify([cloudEvent('n1'), bad, cloudEvent('n2'), 'no object']).replace(
      '"amount":1',
      '"amount":9007199254740993',
    )
    const { status, json } = await emit(body, BATCH)
    expect(status).toBe(202)
    expect(json).toMatchObject({
      state: 'accepted',
      quarantined: [
        { index: 1, path: '/id' },
        { index: 3, path: '' },
      ],
    })
    expect(await eventsOf(json.deliveryId)).toMatchObject([{ state: 'dispatched' }, { state: 'dispatched' }])
    const kept = (await server.get(`/api/v1/deliveries/${json.quarantined[0].deliveryId}`)).json
    expect(kept.body.text).toContain('9007199254740993')
    expect(kept.events).toMatchObject([{ state: 'quarantined', reasonPath: '/id' }])
    // What was good is known now; that it came with something bad does not matter.
    expect((await emit(cloudEvent('n1'))).json.state).toBe('duplicate')
  })

  it('of more than 1,000 is 413', async () => {
    const batch = Array.from({ length: 1001 }, () => 1)
    expect((await emit(batch, BATCH)).json).toMatchObject({ status: 413, code: 'batch_too_large' })
  })
})

describe('what is no event', () => {
  it.each([
    ['{"specversion":', STRUCTURED, 400, 'json_malformed'],
    ['{"id":1,"id":1}', STRUCTURED, 400, 'json_duplicate_key'],
    ['{"__proto__":{}}', STRUCTURED, 400, 'json_proto_key'],
    ['', STRUCTURED, 400, 'json_malformed'],
    ['[]', STRUCTURED, 422, 'cloud_event_invalid'],
    ['{}', BATCH, 422, 'cloud_event_invalid'],
    ['{"specversion":"0.3","id":"","type":7}', STRUCTURED, 422, 'cloud_event_invalid'],
    ['<event/>', 'application/xml', 415, 'content_type_unsupported'],
  ])('%s as %s is %i with its reason', async (body, contentType, status, code) => {
    expect((await emit(body, contentType)).json).toMatchObject({ status, code })
  })

  it('says every mistake with its place', async () => {
    const { json } = await emit('{"specversion":"0.3","id":"","type":7,"time":"yesterday"}')
    expect(json.errors.map(({ at }: { at: string }) => at)).toEqual([
      '/specversion',
      '/id',
      '/source',
      '/type',
      '/time',
    ])
  })
})

describe('the connection that takes events', () => {
  it('is named, or the only one', async () => {
    expect((await emit(cloudEvent('named'), STRUCTURED, '?connection=app')).status).toBe(202)
    expect((await emit(cloudEvent('x'), STRUCTURED, '?connection=acme')).json).toMatchObject({
      status: 422,
      code: 'connection_takes_no_events',
    })
    expect((await emit(cloudEvent('x'), STRUCTURED, '?connection=nope')).status).toBe(404)
  })

  it('is missing, or must be said where there are several', async () => {
    const two = await openServer({ idle: true })
    try {
      const foreign = { authorization: `Bearer ${two.foreignToken}`, 'content-type': STRUCTURED }
      expect((await two.post('/api/v1/events', cloudEvent('x'), foreign)).json).toMatchObject({
        status: 422,
        code: 'connection_missing',
      })
      await two.engine.database.pool.query(
        `insert into connections (tenant, id, name, connector, base_url) values ('default', 'con_app2', 'app2', 'business-app', '')`,
      )
      expect((await two.post('/api/v1/events', cloudEvent('x'))).json).toMatchObject({
        status: 422,
        code: 'connection_ambiguous',
        detail: expect.stringContaining('app, app2'),
      })
      expect((await two.post('/api/v1/events?connection=app2', cloudEvent('x'))).status).toBe(202)
    } finally {
      await two.close()
    }
  })
})

describe('a database that is away', () => {
  it('is 503 with Retry-After, and never 2xx', async () => {
    const refusing = await openServer({
      idle: true,
      over: {
        inbox: {
          accept: () => Promise.reject(new RetryableError('database_unavailable', 'gone')),
          acceptWithin: () => Promise.reject(new Error('nobody asks for it')),
        },
      },
    })
    try {
      const answer = await refusing.post('/api/v1/events', cloudEvent('x'))
      expect(answer.status).toBe(503)
      expect(answer.headers.get('retry-after')).toBe('5')
    } finally {
      await refusing.close()
    }
  })

  it('is 503 500 ms after the last byte where the commit hangs', async () => {
    const clock = createFakeClock()
    let reached = (): void => {}
    const accepting = new Promise<void>((resolve) => (reached = resolve))
    const hanging = await openServer({
      idle: true,
      over: {
        clock,
        inbox: {
          accept() {
            reached()
            return new Promise(() => {})
          },
          acceptWithin: () => Promise.reject(new Error('nobody asks for it')),
        },
      },
    })
    try {
      const asked = hanging.post('/api/v1/events', cloudEvent('x'))
      await accepting
      await clock.advance(500)
      expect(await asked).toMatchObject({ status: 503, json: { code: 'deadline_exceeded' } })
    } finally {
      await hanging.close()
    }
  })

  it('control: a deadline lets pass what is in time, and only that', async () => {
    const clock = createFakeClock()
    expect(await within(clock, 500, 'It', Promise.resolve(1))).toBe(1)
    const late = within(clock, 500, 'It', new Promise(() => {}))
    late.catch(() => {})
    await clock.advance(499)
    expect(clock.pending()).toBe(1)
    await clock.advance(1)
    await expect(late).rejects.toMatchObject({ code: 'deadline_exceeded' })
  })
})

describe('the business’s own app', () => {
  it('emits what arrives', async () => {
    const twin = createBusinessAppTwin({
      emitTo: { url: `${server.url}/api/v1/events`, token: server.token },
    })
    try {
      twin.emitAppointment('appointment.completed', { id: 'apt_twin' })
      twin.emitBatch([
        { type: 'appointment.booked', appointment: { id: 'apt_twin' } },
        { type: 'appointment.no_show', appointment: { id: 'apt_twin' } },
      ])
      await twin.settled()
      const { items } = (await server.get('/api/v1/events?connection=app&limit=3')).json
      expect(items.map(({ type }: { type: string }) => type).toSorted()).toEqual([
        'appointment.booked',
        'appointment.completed',
        'appointment.no_show',
      ])
    } finally {
      await twin.stop()
    }
  })
})
