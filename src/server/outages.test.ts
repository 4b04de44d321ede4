import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { acme, CONNECTION, made } from '../../tests/support/engine.ts'
import { defineFlow, type AnyFlow, type FlowContext } from '../define/index.ts'
import { openServer, type ServerFixture } from './server.fixture.ts'

const flowOf = (
  name: string,
  on: 'thing.happened' | 'thing.answered',
  waitsAs?: AnyFlow['waitsAs'],
): AnyFlow =>
  defineFlow({
    name,
    on: acme.on(on),
    key: (event) => (event.data as { customer?: string }).customer,
    ...(waitsAs === undefined ? {} : { waitsAs }),
    run: ({ use }: FlowContext) => use(acme).things.create({}),
  }) as AnyFlow

let outageId: string | undefined
let server: ServerFixture
beforeAll(async () => {
  server = await openServer({
    flows: [
      flowOf('bill', 'thing.happened', 'invoice'),
      flowOf('refund', 'thing.answered', { one: 'refund', many: 'refunds' }),
    ],
    call: () =>
      outageId === undefined
        ? made()
        : {
            as: 'parked',
            code: 'circuit_open',
            reason: 'Connection "acme" is held back by hand',
            outage: { id: outageId, connectionId: CONNECTION, group: '' },
          },
  })
})
afterAll(() => server.close())

describe('outages', () => {
  it('are none at first', async () => {
    expect((await server.get('/api/v1/outages')).json).toEqual({ items: [] })
  })

  it('begin by hand, say what waits in the words of the flows, and are let go', async () => {
    const isolated = await server.post('/api/v1/connections/acme/isolate', { reason: 'closed until Monday' })
    expect(isolated.status).toBe(200)
    outageId = (isolated.json as { outage: string }).outage
    // Twice is once.
    expect((await server.post('/api/v1/connections/acme/isolate')).json).toEqual({ outage: outageId })

    const first = await server.engine.deliver('thing.happened', { n: 1, customer: 'ada' })
    await server.engine.reached(first.runs[0]!, 'parked')
    // Behind the first of their lane they wait, too.
    await server.engine.deliver('thing.happened', { n: 2, customer: 'ada' })
    await server.engine.deliver('thing.happened', { n: 3, customer: 'ada' })
    const refund = await server.engine.deliver('thing.answered', { customer: 'bob' })
    await server.engine.reached(refund.runs[0]!, 'parked')

    const { items } = (await server.get('/api/v1/outages')).json as { items: readonly unknown[] }
    expect(items).toMatchObject([
      {
        id: outageId,
        connection: 'acme',
        group: null,
        state: 'isolated',
        cause: 'isolated',
        reason: 'closed until Monday',
        endedAt: null,
        waiting: {
          inWords: '3 invoices, 1 refund',
          byFlow: [{ flow: 'bill' }, { flow: 'refund' }],
          oldestAt: expect.any(String),
        },
      },
    ])
    expect((items[0] as { inWords: string }).inWords).toMatch(
      /^"acme" has been held back by hand for .*\. 3 invoices, 1 refund wait, /,
    )
    const run = (await server.get(`/api/v1/runs/${first.runs[0]}`)).json as { inWords: string; state: string }
    expect(run.state).toBe('parked')
    expect(run.inWords).toMatch(/waits for the end of an outage .*held back by hand.*goes on by itself/)

    expect((await server.post('/api/v1/connections/acme/release', {})).json).toEqual({ outage: outageId })
    expect((await server.get('/api/v1/outages')).json).toMatchObject({ items: [{ state: 'half_open' }] })
    const again = await server.post('/api/v1/connections/acme/release', {})
    expect(again.status).toBe(409)
    const { items: entries } = (await server.get('/api/v1/ledger?connection=acme')).json as {
      items: readonly { action: string; actor: string }[]
    }
    const byHand = entries.filter(({ action }) => action.startsWith('breaker.'))
    expect(byHand.map(({ action }) => action).sort()).toEqual(['breaker.isolated', 'breaker.released'])
    expect(byHand.every(({ actor }) => actor.startsWith('token:'))).toBe(true)
  })

  it('of a connection or a group that is not there are refused', async () => {
    expect((await server.post('/api/v1/connections/nothing/isolate', {})).status).toBe(404)
    const wrong = await server.post('/api/v1/connections/acme/isolate', { group: 'nonsense' })
    expect(wrong.status).toBe(400)
    expect(wrong.text).toMatch(/Its groups are: things/)
  })

  it('are the tenant’s own', async () => {
    const foreign = { authorization: `Bearer ${server.foreignToken}` }
    expect((await server.get('/api/v1/outages', foreign)).json).toEqual({ items: [] })
    expect((await server.post('/api/v1/connections/acme/isolate', {}, foreign)).status).toBe(404)
  })
})
