import { describe, expect, it } from 'vitest'
import { pause, SECOND, type Clock } from '../base/index.ts'
import type { EgressResult } from '../egress/index.ts'
import { busiestWindow, type Used } from '../resilience/busiestWindow.fixture.ts'
import { createFakeClock } from '../testing/index.ts'
import { createMemoryAuthority } from './budgets/authority.ts'
import { Budgets, createCalls, type CallsOptions } from './index.ts'
import { callOf, connectionTo, connectorOf, createThing } from './calls.fixture.ts'

const LIMIT = { name: 'second', allowed: 10, windowMs: SECOND, source: 'test' }
const OPERATION = createThing('natural')
const CONNECTION = connectionTo('http://127.0.0.1:1', connectorOf(OPERATION, { limits: [LIMIT] }))

const answered = (status: number): EgressResult => ({
  as: 'answered',
  status,
  headers: { 'content-type': 'application/json' },
  body: Buffer.from('{"id":"t_1","amount":1}'),
  ms: 5,
})

/** A node that makes fifteen calls in each of some seconds: when each request left, and what became of the calls. */
async function left(
  over: (clock: Clock) => Partial<CallsOptions>,
): Promise<{ times: readonly Used[]; succeeded: number }> {
  const clock = createFakeClock()
  const times: Used[] = []
  const budgets = new Budgets({ clock, authority: createMemoryAuthority(clock), patienceMs: 500 })
  budgets.start()
  const { send, ...parts } = over(clock)
  const calls = createCalls({
    clock,
    budgets,
    async send(request) {
      if (request.mayLeave?.() === false) return { as: 'not_sent', code: 'withdrawn', reason: 'withdrawn' }
      times.push([clock.now(), 1])
      return send === undefined ? answered(200) : send(request)
    },
    mail: () => Promise.reject(new Error('no mail')),
    authorize: (_, request) => Promise.resolve({ ...request, secretHeaders: [], credentialVersion: '1' }),
    refreshAfterUnauthorized: () => Promise.resolve({ as: 'refreshed' }),
    secretValuesOf: () => Promise.resolve([]),
    ...parts,
  })
  const outcomes: string[] = []
  for (let n = 0; n < 90; n++) {
    void calls
      .call({
        ...callOf(CONNECTION, OPERATION),
        idempotencyKey: `key_${n}`,
        flow: 'f',
        priority: 'interactive',
      })
      .then(({ as }) => outcomes.push(as))
    await clock.advance(SECOND / 15)
  }
  await clock.advance(20 * SECOND)
  expect(outcomes).toHaveLength(90)
  await budgets.stop()
  return { times, succeeded: outcomes.filter((as) => as === 'succeeded').length }
}

describe('the points of a call', () => {
  it('count from when it leaves, however long it waits for its credential', async () => {
    let n = 0
    const { times } = await left((clock) => ({
      // Now and then the credential takes long, and those who wait for it leave together.
      async authorize(_, request) {
        if (n++ % 20 < 10) await pause(clock, 900 - (clock.now() % 900))
        return { ...request, secretHeaders: [], credentialVersion: '1' }
      },
    }))
    expect(times.length).toBeGreaterThan(30)
    expect(busiestWindow(times, SECOND)).toBeLessThanOrEqual(LIMIT.allowed)
  })

  it('are waited for before its credential is taken: none ends while a call is in line', async () => {
    const taken: number[] = []
    const { times } = await left((clock) => ({
      async authorize(_, request) {
        taken.push(clock.now())
        return { ...request, secretHeaders: [], credentialVersion: '1' }
      },
    }))
    expect(times.length).toBeGreaterThan(30)
    expect(times.map(([at]) => at)).toEqual(taken)
  })

  it('are taken twice where it is sent twice: the second time with another credential', async () => {
    const tries = new Map<string, number>()
    const { times, succeeded } = await left(() => ({
      async authorize(_, request, { idempotencyKey }) {
        const attempt = (tries.get(idempotencyKey) ?? 0) + 1
        tries.set(idempotencyKey, attempt)
        const headers = { ...request.headers, 'x-try': String(attempt) }
        return { ...request, headers, secretHeaders: [], credentialVersion: '1' }
      },
      send: ({ headers }) =>
        Promise.resolve(answered(Object.fromEntries(Object.entries(headers))['x-try'] === '1' ? 401 : 200)),
    }))
    expect(succeeded).toBeGreaterThan(15)
    expect(busiestWindow(times, SECOND)).toBeLessThanOrEqual(LIMIT.allowed)
  })
})
