import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { acme, doubted, failedFor, made } from '../../tests/support/engine.ts'
import type { RunId } from '../base/index.ts'
import type { CallOutcome, CallRequest } from '../calls/index.ts'
import { defineFlow, type AnyFlow, type FlowContext } from '../define/index.ts'
import { openServer, type ServerFixture } from './server.fixture.ts'

const flow = defineFlow({
  name: 'thing-flow',
  on: acme.on('thing.happened'),
  async run({ event, use, sleep }: FlowContext) {
    const { what } = event.data as { what: string }
    const { things } = use(acme)
    await things.create({ n: 1 }, { undo: () => things.remove({ n: 1 }) })
    if (what === 'sleep') await sleep('1 day')
    if (what === 'hold') return things.post({})
    return 'done'
  },
})
const odd = defineFlow({
  name: 'odd-flow',
  on: acme.on('thing.answered'),
  run: ({ use }: FlowContext) => use(acme).things.create({ odd: true }),
})

let broken = true
const calls: string[] = []
function call({ operationName, input }: CallRequest): CallOutcome {
  calls.push(operationName)
  if (operationName === 'things.post') return doubted()
  return (input as { odd?: boolean }).odd && broken ? failedFor('refused', false) : made()
}

let server: ServerFixture
beforeAll(async () => {
  server = await openServer({ flows: [flow as AnyFlow, odd as AnyFlow], call })
})
afterAll(() => server.close())

const start = async (what: string, type = 'thing.happened'): Promise<{ event: string; run: RunId }> => {
  const { event, runs } = await server.engine.deliver(type, { n: 1, what })
  return { event, run: runs[0]! }
}
const actorOf = async (action: string, target: string): Promise<string> =>
  (await server.get(`/api/v1/ledger?action=${action}&target=${target}`)).json.items[0].actor

describe('a run', () => {
  it('that gave up is retried as the same run, on the record of the token', async () => {
    const { run } = await start('x', 'thing.answered')
    await server.engine.reached(run, 'dead_lettered')
    broken = false
    expect((await server.post(`/api/v1/runs/${run}/retry`)).json).toEqual({ run })
    await server.engine.reached(run, 'succeeded')
    expect(await actorOf('run.retried', run)).toMatch(/^token:tok_/)
  })

  it('is not retried in a state that does not allow it, and the answer says what would fit', async () => {
    const { run } = await start('x')
    await server.engine.reached(run, 'succeeded')
    expect((await server.post(`/api/v1/runs/${run}/retry`)).json).toMatchObject({
      status: 409,
      code: 'state_conflict',
      detail: expect.stringContaining('replay it'),
    })
  })

  it('is cancelled, and what it did is undone', async () => {
    const { run } = await start('sleep')
    await server.engine.reached(run, 'waiting')
    expect((await server.post(`/api/v1/runs/${run}/cancel`)).status).toBe(200)
    await server.engine.reached(run, 'cancelled')
    const shown = (await server.get(`/api/v1/runs/${run}`)).json
    expect(shown.steps.map((step: { kind: string }) => step.kind)).toContain('undo')
    expect(shown.inWords).toMatch(/^It was cancelled: Cancelled by token:tok_/)
  })

  it('is replayed only with consent to the effects', async () => {
    const { run } = await start('x')
    await server.engine.reached(run, 'succeeded')
    const refused = await server.post(`/api/v1/runs/${run}/replay`)
    expect(refused.json).toMatchObject({ status: 409, code: 'effects_repeated' })
    const { json } = await server.post(`/api/v1/runs/${run}/replay`, { repeatEffects: true })
    expect(json).toMatchObject({
      runs: [expect.stringMatching(/^run_/)],
      effects: [{ run, operation: 'acme.things.create', summary: 'made' }],
    })
    expect((await server.get(`/api/v1/runs/${json.runs[0]}`)).json.replayOf).toBe(run)
    expect((await server.get(`/api/v1/runs/${run}`)).json.replays).toEqual(json.runs)
  })

  it('goes on by a person’s word on its step', async () => {
    const { run } = await start('hold')
    await server.engine.reached(run, 'held')
    const settle = (body: unknown): ReturnType<ServerFixture['post']> =>
      server.post(`/api/v1/runs/${run}/settle`, body)
    expect((await settle({ as: 'maybe' })).json).toMatchObject({ status: 400, code: 'body_invalid' })
    expect((await settle({ as: 'done' })).json.errors[0].at).toBe('/step')
    expect((await settle({ as: 'done', step: 'nope' })).json).toMatchObject({
      status: 422,
      code: 'step_unknown',
    })
    const done = '{"as":"done","step":"acme.things.post","result":{"id":9007199254740993}}'
    expect((await settle(JSON.parse(done))).status).toBe(200)
    await server.engine.reached(run, 'succeeded')
  })

  it('keeps what a person says losslessly', async () => {
    const { run } = await start('hold')
    await server.engine.reached(run, 'held')
    await server.post(
      `/api/v1/runs/${run}/settle`,
      '{"as":"done","step":"acme.things.post","result":{"id":9007199254740993}}',
    )
    await server.engine.reached(run, 'succeeded')
    expect((await server.get(`/api/v1/runs/${run}`)).json.result).toEqual({ id: 9007199254740993n })
  })
})

describe('an event', () => {
  it('is replayed for one flow, or refused where none starts on it', async () => {
    const { event, run } = await start('x')
    await server.engine.reached(run, 'succeeded')
    const replay = (body: unknown): ReturnType<ServerFixture['post']> =>
      server.post(`/api/v1/events/${event}/replay`, body)
    expect((await replay({ flow: 'odd-flow' })).json).toMatchObject({ status: 422, code: 'no_flow' })
    expect((await replay({ flow: 'thing-flow' })).json).toMatchObject({ status: 409 })
    expect((await replay({ flow: 'thing-flow', repeatEffects: true })).json.runs).toHaveLength(1)
  })
})

describe('a quarantined event', () => {
  it('is discarded once, and released only if it can pass', async () => {
    for (const id of ['ev_q1', 'ev_q2'])
      await server.engine.deliver('thing.happened', { n: 'one' }, id).catch(() => {})
    const { items } = (await server.get('/api/v1/quarantine')).json
    const [first, second] = items as { id: string; eventId: string }[]
    expect((await server.post(`/api/v1/quarantine/${first!.id}/release`)).json).toMatchObject({
      status: 422,
      code: 'still_quarantined',
    })
    expect((await server.post(`/api/v1/quarantine/${second!.id}/discard`)).json).toEqual({ id: second!.id })
    expect((await server.post(`/api/v1/quarantine/${second!.id}/discard`)).json).toMatchObject({
      status: 409,
    })
    expect((await server.get(`/api/v1/events/${second!.eventId}`)).json.state).toBe('discarded')
    expect((await server.get('/api/v1/quarantine?state=discarded')).json.items).toMatchObject([
      { id: second!.id, settledBy: expect.stringMatching(/^token:tok_/) },
    ])
  })
})
