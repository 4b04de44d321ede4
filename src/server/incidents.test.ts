import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { acme } from '../../tests/support/engine.ts'
import { settled } from '../../tests/support/settled.ts'
import { systemClock } from '../base/index.ts'
import { beginConservation, countOnce } from '../conservation/check.ts'
import { defineFlow } from '../define/index.ts'
import { detectors } from '../incidents/detectors/index.ts'
import { lookOnce, READER } from '../incidents/look.ts'
import { beginReading } from '../ledger/index.ts'
import { openServer, type ServerFixture } from './server.fixture.ts'

let server: ServerFixture
const flow = defineFlow({
  name: 'thing-happened',
  on: acme.on('thing.happened'),
  run() {
    throw new Error('the author made a mistake')
  },
})
const tenant = 'default'

beforeAll(async () => {
  server = await openServer({ flows: [flow] })
  const { database } = server.engine
  await beginReading(database.pool, { tenant, name: READER }, systemClock.now())
  await beginConservation({ database, clock: systemClock, tenant })
  const { runs } = await server.engine.deliver('thing.happened', { n: 1 })
  await server.engine.reached(runs[0]!, 'dead_lettered')
  await settled(database.pool)
  await look()
  await countOnce({ database, clock: systemClock, tenant }, 0)
})
afterAll(() => server.close())

const look = () =>
  lookOnce(
    {
      database: server.engine.database,
      clock: systemClock,
      tenant,
      detectors: detectors(() => []),
      channels: ['email'],
    },
    0,
  )

describe('the API of incidents', () => {
  it('lists them in sentences, by state and kind, and only those of the tenant', async () => {
    const { status, json } = await server.get('/api/v1/incidents?state=open&state=acknowledged')
    expect(status).toBe(200)
    expect(json.items).toEqual([
      expect.objectContaining({
        kind: 'dead_letters',
        state: 'open',
        title: 'Runs of thing-happened gave up',
        what: expect.stringMatching(/^1 run of thing-happened gave up and is a dead letter since/) as string,
        todo: expect.stringContaining('trestle runs retry run_') as string,
        flow: 'thing-happened',
        connection: null,
      }),
    ])
    expect((await server.get('/api/v1/incidents?state=resolved')).json.items).toEqual([])
    expect((await server.get('/api/v1/incidents?kind=outage')).json.items).toEqual([])
    expect((await server.get('/api/v1/incidents?kind=weather')).status).toBe(400)
    const foreign = { authorization: `Bearer ${server.foreignToken}` }
    expect((await server.get('/api/v1/incidents', foreign)).json.items).toEqual([])
    const { id } = json.items[0] as { id: string }
    expect((await server.get(`/api/v1/incidents/${id}`, foreign)).status).toBe(404)
    expect((await server.post(`/api/v1/incidents/${id}/acknowledge`, {}, foreign)).status).toBe(404)
  })

  it('shows one with its alerts and its ledger entries, and takes an acknowledgement once', async () => {
    const { id } = (await server.get('/api/v1/incidents')).json.items[0] as { id: string }
    const acknowledged = await server.post(`/api/v1/incidents/${id}/acknowledge`)
    expect(acknowledged.status).toBe(200)
    expect(acknowledged.json).toMatchObject({
      state: 'acknowledged',
      acknowledgedBy: expect.stringMatching(/^token:tok_/) as string,
    })
    expect((await server.post(`/api/v1/incidents/${id}/acknowledge`)).status).toBe(409)
    const { json } = await server.get(`/api/v1/incidents/${id}`)
    expect(json.alerts).toEqual([
      expect.objectContaining({ channel: 'email', change: 'opened', state: 'waiting', attempts: 0 }),
    ])
    expect((json.entries as { action: string }[]).map((entry) => entry.action)).toEqual([
      'incident.opened',
      'incident.acknowledged',
    ])
  })

  it('leaves one that is acknowledged until it is over', async () => {
    await look()
    expect((await server.get('/api/v1/incidents')).json.items).toMatchObject([{ state: 'acknowledged' }])
    await server.engine.database.pool.query(`update runs set state = 'cancelled'`)
    await look()
    const [over] = (await server.get('/api/v1/incidents')).json.items as { id: string }[]
    expect(over).toMatchObject({ state: 'resolved', resolution: 'No dead letter of the flow is left.' })
    expect((await server.post(`/api/v1/incidents/${over!.id}/acknowledge`)).json.detail).toContain(
      'is over already',
    )
  })
})

describe('the API of conservation', () => {
  it('gives the counts per day, connection and flow', async () => {
    const { json } = await server.get('/api/v1/conservation')
    expect(json).toMatchObject({
      balanced: true,
      items: [
        { connection: 'acme', flow: null, expected: 1, counted: 1, balanced: true },
        { connection: 'acme', flow: 'thing-happened', expected: 1, counted: 1, states: { dead_lettered: 1 } },
      ],
    })
    expect((await server.get('/api/v1/conservation?to=2020-01-01')).json).toEqual({
      balanced: true,
      items: [],
    })
    const foreign = { authorization: `Bearer ${server.foreignToken}` }
    expect((await server.get('/api/v1/conservation', foreign)).json.items).toEqual([])
  })
})
