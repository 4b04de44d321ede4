import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { z } from 'zod'
import { acme, doubted, failedFor, made } from '../../tests/support/engine.ts'
import { settled } from '../../tests/support/settled.ts'
import type { RunId } from '../base/index.ts'
import type { CallOutcome, CallRequest } from '../calls/index.ts'
import { defineFlow, type AnyFlow, type FlowContext } from '../define/index.ts'
import { apiRoutes } from './index.ts'
import { readStepContents } from './reading/runs.ts'
import { openServer, type Answer, type ServerFixture } from './server.fixture.ts'

type Data = { n: number; customer?: string; what: string }

const flow = defineFlow({
  name: 'thing-flow',
  on: acme.on('thing.happened'),
  key: (event) => (event.data as Data).customer,
  async run({ event, use, sleep, waitFor }: FlowContext) {
    const { what, customer } = event.data as Data
    const { things } = use(acme)
    const first = await things.create({ n: 1 }, { undo: () => things.remove({ n: 1 }) })
    if (what === 'sleep') await sleep('2 days')
    if (what === 'wait')
      await waitFor(acme.on('thing.answered'), {
        on: 'data.customer',
        equals: customer ?? '',
        timeout: '30 days',
      })
    if (what === 'hold') await things.post({})
    if (what === 'retry')
      await things.upsert({ retry: true }, { retry: { first: '9 days', cap: '9 days', horizon: '90 days' } })
    if (what === 'big') return { big: 9007199254740993n, exact: first }
    return { done: what }
  },
})

const failing = defineFlow({
  name: 'failing-flow',
  on: acme.on('thing.answered'),
  run({ use }: FlowContext) {
    return use(acme).things.create({})
  },
})

function call({ operationName, input }: CallRequest): CallOutcome {
  if (operationName === 'things.post') return doubted()
  if ((input as { retry?: boolean }).retry) return failedFor('rate_limited', true)
  return made({ id: 'thing_1' })
}

let server: ServerFixture
beforeAll(async () => {
  server = await openServer({ flows: [flow as AnyFlow, failing as AnyFlow], call })
})
afterAll(() => server.close())

async function happened(data: Partial<Data>): Promise<{ event: string; run: RunId }> {
  const { event, runs } = await server.engine.deliver('thing.happened', { n: 1, what: 'nothing', ...data })
  return { event, run: runs[0]! }
}

/** The answer, held against the schema that the document gives for it. */
async function get(path: string, pattern = path.split('?', 1)[0]!): Promise<Answer['json']> {
  const answer = await server.get(`/api/v1${path}`)
  expect([answer.status, answer.json]).toEqual([200, expect.anything()])
  const route = apiRoutes(server.deps).find((one) => one.method === 'get' && one.path === pattern)
  const fits = (route!.result as z.ZodType).safeParse(JSON.parse(answer.text))
  expect(fits.error?.issues).toBeUndefined()
  return answer.json
}

describe('runs', () => {
  it('are shown with steps, attempts, result and where they stand', async () => {
    const { run, event } = await happened({ what: 'big', customer: 'cus_big' })
    await server.engine.reached(run, 'succeeded')
    const shown = await get(`/runs/${run}`, '/runs/{id}')
    expect(shown).toMatchObject({
      id: run,
      flow: 'thing-flow',
      state: 'succeeded',
      event: { id: event, type: 'thing.happened', summary: 'a thing happened', connection: 'acme' },
      laneKey: 'cus_big',
      lane: null,
      inWords: expect.stringMatching(/^It succeeded .* after its event\.$/),
      steps: [
        {
          name: 'acme.things.create',
          ordinal: 1,
          kind: 'operation',
          state: 'succeeded',
          connection: 'acme',
          operation: 'acme.things.create',
          summary: 'made',
          result: { id: 'thing_1' },
          undo: { operation: 'things.remove', input: { n: 1 } },
          attempts: [{ number: 1, state: 'succeeded', status: 200 }],
        },
      ],
      // A whole number beyond 2^53, as it was.
      result: { big: 9007199254740993n, exact: { id: 'thing_1' } },
    })
  })

  it.each([
    ['sleep', 'waiting', /^Sleeps, and goes on in 1 day 23 h, at \d{4}-.* UTC\.$/, 'sleep'],
    [
      'wait',
      'waiting',
      /^Waits for acme "thing\.answered" with data\.customer = cus_wait; gives up waiting in 29 days/,
      'wait',
    ],
    [
      'hold',
      'held',
      /^It waits for a person\. A person must say whether acme\.things\.post was done/,
      'operation',
    ],
    [
      'retry',
      'waiting',
      /^Attempt 1 of acme\.things\.upsert failed \(it failed: rate_limited\); the next/,
      'operation',
    ],
  ] as const)('that %s say what they wait for, in words and as data', async (what, state, words, kind) => {
    const { run } = await happened({ what, customer: `cus_${what}` })
    await server.engine.reached(run, state)
    const shown = await get(`/runs/${run}`, '/runs/{id}')
    expect(shown.inWords).toMatch(words)
    const waiting = shown.steps.find((step: { waits: unknown }) => step.waits !== null)
    expect(waiting).toMatchObject({ state: 'waiting', kind, waits: { details: { kind } } })
  })

  it('say their place in the lane and what they are queued behind', async () => {
    const first = await happened({ what: 'sleep', customer: 'cus_lane' })
    await server.engine.reached(first.run, 'waiting')
    const second = await happened({ customer: 'cus_lane' })
    const third = await happened({ customer: 'cus_lane' })
    expect(await get(`/runs/${first.run}`, '/runs/{id}')).toMatchObject({
      lane: { key: 'cus_lane', position: 1, behind: null },
    })
    expect(await get(`/runs/${third.run}`, '/runs/{id}')).toMatchObject({
      state: 'queued',
      lane: {
        position: 3,
        behind: { id: first.run, state: 'waiting', inWords: expect.stringContaining('Sleeps, and goes on') },
      },
      inWords: expect.stringMatching(
        new RegExp(`^2 runs of its lane go first: ${first.run} is waiting. Sleeps, and goes on in .*UTC.$`),
      ),
    })
    expect((await get(`/runs/${second.run}`, '/runs/{id}')).inWords).toContain('One run of its lane')
  })

  it('are listed by flow, state, event and connection', async () => {
    const { run, event } = await happened({ what: 'hold', customer: 'cus_listed' })
    await server.engine.reached(run, 'held')
    const ids = async (query: string): Promise<string[]> =>
      (await get(`/runs${query}`)).items.map((item: { id: string }) => item.id)
    expect(await ids(`?event=${event}`)).toEqual([run])
    expect(await ids('?state=held&state=parked')).toContain(run)
    expect(await ids('?state=parked')).not.toContain(run)
    expect(await ids('?connection=acme&flow=thing-flow')).toContain(run)
    expect(await ids('?connection=app')).toEqual([])
    expect(await ids('?flow=failing-flow')).not.toContain(run)
    expect((await get('/held-runs')).items.map((item: { id: string }) => item.id)).toContain(run)
    expect((await server.get('/api/v1/runs?connection=nope')).status).toBe(404)
  })

  it('that gave up are the dead letters', async () => {
    const failed = await openServer({
      flows: [failing as AnyFlow],
      call: () => ({ ...failedFor('refused', false), exchange: refusal }) as never,
    })
    try {
      const { runs } = await failed.engine.deliver('thing.answered', {})
      await failed.engine.reached(runs[0]!, 'dead_lettered')
      const { json } = await failed.get('/api/v1/dead-letters')
      expect(json.items).toMatchObject([
        {
          id: runs[0],
          reasonCode: 'refused',
          reason: 'it failed: refused',
          lastAnswer: { status: 422, excerpt: '{"error":"no such plan"}', attempts: 1, code: 'refused' },
        },
      ])
      expect((await failed.get(`/api/v1/runs/${runs[0]}`)).json.inWords).toMatch(
        /^It gave up: it failed: refused\. The last answer to acme\.[\w.]+ was 422 at [-\d]+ [:\d]+ UTC, to attempt 1: "\{"error":"no such plan"\}"\. Retry it \(the same run goes on\), replay its event \(a new run\), or cancel it\.$/,
      )
    } finally {
      await failed.close()
    }
  })
})

/** What the ledger keeps of an exchange that was refused. */
const refusal = {
  request: { method: 'POST', url: 'https://acme.example/plans', headers: {} },
  answer: { status: 422, headers: {}, body: { kind: 'text', text: '{"error":"no such plan"}', bytes: 24 } },
  status: 422,
  ms: 12,
}

describe('events and deliveries', () => {
  it('are shown with data and bodies as they came', async () => {
    const body =
      '{"id":"ev_big","type":"thing.happened","data":{"n":1,"what":"x","amount":12345678901234567890,"price":0.10}}'
    const { parsed, delivered } = await deliverRaw(Buffer.from(body), 'ev_big')
    expect(parsed).toBeDefined()
    const { items } = await get(`/events?type=thing.happened&connection=acme&limit=200`)
    const event = items.find((item: { deliveryId: string }) => item.deliveryId === delivered)
    const shown = await get(`/events/${event.id}`, '/events/{id}')
    expect(shown).toMatchObject({
      state: 'dispatched',
      providerEventId: 'ev_big',
      data: { n: 1, what: 'x', amount: 12345678901234567890n },
      delivery: { id: delivered, bytes: body.length },
      runs: [{ flow: 'thing-flow' }],
    })
    // What it writes is not to come between the pages of a later test.
    await server.engine.reached(shown.runs[0].id, 'succeeded')
    expect(await get(`/deliveries/${delivered}`, '/deliveries/{id}')).toMatchObject({
      state: 'accepted',
      headers: [
        ['X-Twice', 'a'],
        ['x-twice', 'b'],
      ],
      body: { text: body },
      events: [{ id: event.id }],
    })
  })

  it('give bytes that are no text in base64', async () => {
    const { delivered } = await deliverRaw(Buffer.from([0xff, 0xfe, 0x00]), undefined)
    expect((await get(`/deliveries/${delivered}`, '/deliveries/{id}')).body).toEqual({ base64: '//4A' })
  })

  it('list what was quarantined, and why', async () => {
    const { delivered } = await deliverRaw(Buffer.from('{"data":{"n":"one"}}'), 'ev_bad')
    const { items } = await get('/events?state=quarantined')
    expect(items.find((item: { deliveryId: string }) => item.deliveryId === delivered)).toMatchObject({
      reasonPath: '/data/n',
    })
    const quarantined = (await get('/quarantine')).items[0]
    expect(quarantined).toMatchObject({ kind: 'event', state: 'quarantined', path: '/data/n' })
    expect(await get(`/quarantine/${quarantined.id}`, '/quarantine/{id}')).toMatchObject({
      payload: { text: '{"data":{"n":"one"}}' },
    })
  })

  it('count what was rejected, with samples', async () => {
    const { pool } = server.engine.database
    await pool.query(
      `insert into endpoints (tenant, id, path, connection_id) values ('default', 'ep_acme', 'acme', 'con_acme')`,
    )
    await pool.query(
      `insert into rejected_counts values ('default', 'ep_acme', date_trunc('minute', now()), 'signature_invalid', 9007199254740)`,
    )
    await pool.query(
      `insert into rejected_samples values ('default', 'ep_acme', 0, 'signature_invalid', $1, $2, now())`,
      [Buffer.from('[["x-signature","forged"]]'), Buffer.from('{}')],
    )
    expect((await get('/deliveries/rejected')).items).toMatchObject([
      { connection: 'acme', endpoint: 'ep_acme', reason: 'signature_invalid', count: 9007199254740 },
    ])
    expect((await get('/deliveries/rejected/samples?reason=signature_invalid')).items).toMatchObject([
      { headers: [['x-signature', 'forged']], body: { text: '{}' } },
    ])
    expect((await get('/deliveries/rejected?since=2999-01-01T00:00:00Z')).items).toEqual([])
  })

  async function deliverRaw(
    body: Buffer,
    id: string | undefined,
  ): Promise<{ parsed: unknown; delivered: string }> {
    const { parseJson } = await import('../base/index.ts')
    const parsed = id === undefined ? undefined : parseJson(body)
    const accepted = await server.engine.inbox.accept({
      tenant: 'default',
      connectionId: 'con_acme',
      connectionName: 'acme',
      connector: acme,
      headers: [
        ['X-Twice', 'a'],
        ['x-twice', 'b'],
      ],
      contentType: 'application/json',
      body,
      receivedAt: server.deps.clock.now(),
      contentUnique: false,
      ...(id === undefined
        ? { events: [], quarantine: { code: 'json_not_utf8', path: '', reason: 'not text' } }
        : { parsed, events: [{ id, type: 'thing.happened', at: '/data' }] }),
    } as never)
    return { parsed, delivered: accepted.deliveryId }
  }
})

describe('a listing', () => {
  it('that is followed oldest first misses nothing that commits late', async () => {
    const { pool } = server.engine.database
    const insert = `insert into events (tenant, id, connection_id, delivery_id, type, state, data_at) values ('default', $1, 'con_acme', 'dlv_late', $2, 'unmatched', '')`
    let cursor = ''
    const follow = async (): Promise<string[]> => {
      const seen: string[] = []
      for (;;) {
        const page = await get(
          `/events?type=late&order=oldest_first&limit=1${cursor === '' ? '' : `&cursor=${cursor}`}`,
        )
        seen.push(...page.items.map((item: { id: string }) => item.id))
        cursor = page.next ?? cursor
        if (!page.more) return seen
      }
    }
    await pool.query(insert, ['evt_1', 'late'])
    await settled(pool)
    expect(await follow()).toEqual(['evt_1'])
    const open = await pool.connect()
    try {
      await open.query('begin')
      await open.query(insert, ['evt_2', 'late'])
      await pool.query(insert, ['evt_3', 'late'])
      expect(await follow()).toEqual([])
      // Control: by id the younger row is there already, and who passes it never sees the older one.
      const { rows } = await pool.query(`select id from events where type = 'late' and id > 'evt_1'`)
      expect(rows).toEqual([{ id: 'evt_3' }])
      await open.query('commit')
    } finally {
      open.release()
    }
    await settled(pool)
    expect(await follow()).toEqual(['evt_2', 'evt_3'])
    expect(await follow()).toEqual([])
  })

  it('pages newest first through all there is, once each', async () => {
    const all = (await get('/runs?limit=200')).items.map((item: { id: string }) => item.id)
    const paged: string[] = []
    let query = '?limit=3'
    for (;;) {
      const page = await get(`/runs${query}`)
      paged.push(...page.items.map((item: { id: string }) => item.id))
      if (page.next === null) break
      query = `?limit=3&cursor=${page.next}`
    }
    expect(paged).toEqual(all)
    expect(new Set(paged).size).toBe(all.length)
  })

  it('of deliveries and the ledger is paged too', async () => {
    for (const path of ['/deliveries', '/ledger']) {
      const first = await get(`${path}?limit=2`)
      const second = await get(`${path}?limit=2&cursor=${first.next}`)
      const both = [...first.items, ...second.items].map((item: { id: string }) => item.id)
      expect(both).toEqual((await get(`${path}?limit=4`)).items.map((item: { id: string }) => item.id))
    }
  })
})

describe('a parameter', () => {
  it.each([
    '/runs/%00',
    '/runs?flow=%00',
    '/runs?event=%00',
    '/events?type=a%00b',
    '/events?connection=%00',
    '/deliveries?cursor=%00',
    '/deliveries/rejected/samples?reason=%00',
    '/ledger?target=%00',
    '/ledger?run=%00',
    '/quarantine?cursor=%00',
  ])('that the database cannot take is refused: %s', async (path) => {
    expect((await server.get(`/api/v1${path}`)).json).toMatchObject({
      status: 400,
      code: 'parameter_invalid',
    })
  })
})

describe('the results of a run', () => {
  it('are left out from the newest back, once they are too large together', async () => {
    const { pool } = server.engine.database
    for (const [seq, bytes] of [30, 40, 50].entries())
      await pool.query(
        `insert into journal (tenant, run_id, seq, kind, name, ordinal, outcome, result) values ('default', 'run_large', $1, 'local', 'x', $1, 'succeeded', $2)`,
        [seq + 1, Buffer.from(JSON.stringify('x'.repeat(bytes - 2)))],
      )
    const read = await readStepContents(pool, 'default', 'run_large', 90)
    expect([1, 2, 3].map((seq) => [read.get(seq)!.omitted, read.get(seq)!.result?.length])).toEqual([
      [true, undefined],
      [false, 40],
      [false, 50],
    ])
  })
})

describe('the ledger', () => {
  it('is listed by run, target and action', async () => {
    const { run } = await happened({ customer: 'cus_ledger' })
    await server.engine.reached(run, 'succeeded')
    await settled(server.engine.database.pool)
    const of = async (query: string): Promise<{ action: string; target: string; runId: string }[]> =>
      (await get(`/ledger?${query}`)).items
    expect((await of(`run=${run}&order=oldest_first`)).map((entry) => entry.action)).toEqual([
      'call.succeeded',
      'run.succeeded',
    ])
    expect(await of(`target=${run}`)).toMatchObject([{ action: 'run.succeeded' }])
    expect((await of('action=call.succeeded&connection=acme'))[0]).toMatchObject({
      target: 'acme.things.create',
    })
  })
})

describe('connections', () => {
  it('are listed and shown without secrets, and tested on the record', async () => {
    expect((await get('/connections')).items).toMatchObject([{ name: 'acme' }, { name: 'app' }])
    expect(await get('/connections/app', '/connections/{name}')).toMatchObject({
      connector: 'business-app',
      title: "The business's own app",
      secrets: [],
    })
    expect((await server.post('/api/v1/connections/app/test')).json).toEqual({
      ok: true,
      outcome: 'succeeded',
      code: null,
      reason: null,
      summary: 'pinged',
      status: 200,
      ms: 3,
    })
    expect((await get('/ledger?action=connection.tested')).items).toMatchObject([
      { target: 'con_app', outcome: 'succeeded', actor: expect.stringMatching(/^token:tok_/) },
    ])
    expect((await server.post('/api/v1/connections/nope/test')).status).toBe(404)
  })
})

describe('a token of another tenant', () => {
  it('sees and reaches nothing', async () => {
    const { run, event } = await happened({ what: 'hold', customer: 'cus_foreign' })
    await server.engine.reached(run, 'held')
    const { items: deliveries } = await get('/deliveries')
    const { items: quarantined } = await get('/quarantine')
    const foreign = { authorization: `Bearer ${server.foreignToken}` }
    for (const list of [
      'events',
      'runs',
      'deliveries',
      'deliveries/rejected',
      'deliveries/rejected/samples',
      'dead-letters',
      'held-runs',
      'quarantine',
      'connections',
    ])
      expect([list, (await server.get(`/api/v1/${list}`, foreign)).json.items]).toEqual([list, []])
    // Its own token's making is all that the ledger has for it.
    expect((await server.get('/api/v1/ledger', foreign)).json.items).toMatchObject([
      { action: 'token.created' },
    ])
    for (const one of [
      `runs/${run}`,
      `events/${event}`,
      `deliveries/${deliveries[0].id}`,
      `quarantine/${quarantined[0].id}`,
      'connections/acme',
    ])
      expect([one, (await server.get(`/api/v1/${one}`, foreign)).status]).toEqual([one, 404])
    for (const act of [
      `runs/${run}/retry`,
      `runs/${run}/cancel`,
      `runs/${run}/replay`,
      `events/${event}/replay`,
      `quarantine/${quarantined[0].id}/release`,
      `quarantine/${quarantined[0].id}/discard`,
      'connections/app/test',
    ])
      expect([act, (await server.post(`/api/v1/${act}`, undefined, foreign)).status]).toEqual([act, 404])
    const settled = await server.post(`/api/v1/runs/${run}/settle`, { as: 'undone' }, foreign)
    expect(settled.status).toBe(404)
    expect((await get(`/runs/${run}`, '/runs/{id}')).state).toBe('held')
  })
})
