/** A lane that stands still: what it waits for is said, and no other lane stands with it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openServer, type ServerFixture } from '../../src/server/server.fixture.ts'
import { MOST_LANES } from '../../src/server/routes/lanes.ts'
import { defineFlow, type AnyFlow } from '../../src/define/index.ts'
import { acme, failedFor, made } from '../support/engine.ts'

const LANES = 20
const RUNS_OF_A_LANE = 5
const POISONED = 'cus_0'

const flow = defineFlow({
  name: 'in-lanes',
  on: acme.on('thing.happened'),
  key: (event) => event.data['customer'] as string,
  // Attempts are apart by anything from nothing to this: the second is not made while the first is looked at.
  retry: { first: '9 days', cap: '9 days', horizon: '90 days' },
  run: ({ event, use }) => use(acme).things.create({ ...event.data }),
}) as AnyFlow

let server: ServerFixture
let poison = true
const inLane = new Map<string, number[]>()
beforeAll(async () => {
  server = await openServer({
    flows: [flow],
    call: (request) => {
      const { customer, n } = request.input as { customer: string; n: number }
      if (poison && customer === POISONED) return failedFor('provider_unavailable', true)
      inLane.set(customer, [...(inLane.get(customer) ?? []), n])
      return made()
    },
  })
})
afterAll(() => server.close())

interface LaneAnswer {
  readonly items: readonly {
    key: string
    waiting: number
    head: { id: string; state: string; inWords: string }
  }[]
}
const lanes = async (query = ''): Promise<LaneAnswer['items']> =>
  ((await server.get(`/api/v1/lanes${query}`)).json as LaneAnswer).items

describe('a poisoned lane', () => {
  const runs: { id: string; customer: string }[] = []
  it('holds up nobody else: every other lane is done, in order', async () => {
    for (let n = 0; n < RUNS_OF_A_LANE; n++)
      for (let lane = 0; lane < LANES; lane++) {
        const customer = `cus_${lane}`
        const delivered = await server.engine.deliver('thing.happened', { n, customer })
        runs.push({ id: delivered.runs[0]!, customer })
      }
    for (const { id, customer } of runs)
      if (customer !== POISONED) await server.engine.reached(id as never, 'succeeded')
    expect(inLane.size).toBe(LANES - 1)
    for (const order of inLane.values()) expect(order).toEqual([0, 1, 2, 3, 4])
  })

  it('says what it waits for, and how many wait behind', async () => {
    const [first] = runs.filter(({ customer }) => customer === POISONED)
    await server.engine.reached(first!.id as never, 'waiting')
    expect(await lanes()).toEqual([
      {
        flow: 'in-lanes',
        key: POISONED,
        waiting: RUNS_OF_A_LANE - 1,
        head: {
          id: first!.id,
          state: 'waiting',
          since: expect.any(String),
          inWords: expect.stringMatching(
            new RegExp(
              `^${first!.id} is waiting\\. Attempt 1 of acme\\.things\\.create failed \\(it failed: provider_unavailable\\); the next one is made in .* UTC\\.$`,
            ),
          ),
        },
      },
    ])
    expect(await lanes('?flow=other')).toEqual([])
    const behind = runs.filter(({ customer }) => customer === POISONED)[1]!
    const { json } = await server.get(`/api/v1/runs/${behind.id}`)
    expect(json.inWords).toContain(`One run of its lane goes first: ${first!.id} is waiting. Attempt 1 of`)
    expect(json.lane.behind.inWords).toContain('Attempt 1 of acme.things.create failed')
  })

  it('goes on in order when the poison is gone', async () => {
    poison = false
    await server.engine.database.pool.query(`update runs set due_at = now() where state = 'waiting'`)
    for (const { id, customer } of runs)
      if (customer === POISONED) {
        // The retry itself is due in days: a person's patience is not tried here.
        await server.engine.database.pool.query(
          `update runs set waits = regexp_replace(waits, '"until":[0-9]+', '"until":0'), due_at = now() where id = $1 and waits is not null`,
          [id],
        )
        await server.engine.reached(id as never, 'succeeded')
      }
    expect(inLane.get(POISONED)).toEqual([0, 1, 2, 3, 4])
    expect(await lanes()).toEqual([])
  })
})

it('more lanes than can be listed are refused', async () => {
  expect((await server.get(`/api/v1/lanes?limit=${MOST_LANES}`)).status).toBe(200)
  expect((await server.get(`/api/v1/lanes?limit=${MOST_LANES + 1}`)).json).toMatchObject({
    status: 400,
    code: 'parameter_invalid',
  })
})
