import { afterEach, describe, expect, it } from 'vitest'
import { DAY, HOUR, MINUTE, SECOND } from '../../base/index.ts'
import type { LimitDefinition } from '../../define/index.ts'
import { createFakeClock } from '../../testing/index.ts'
import {
  BEGUN,
  callOf,
  connectionTo,
  connectorOf,
  createThing,
  json,
  openCalls,
  openProvider,
  type Reply,
} from '../calls.fixture.ts'
import type { CallOutcome, CallRequest, CallsOptions, OutageBoard } from '../index.ts'
import { Budgets, createMemoryAuthority } from './index.ts'

const open: { close(): Promise<unknown> }[] = []
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close()
})

const limit = (over: Partial<LimitDefinition> = {}): LimitDefinition => ({
  name: 'second',
  allowed: 3,
  windowMs: SECOND,
  source: 'test',
  ...over,
})

async function set(
  reply: Reply,
  limits: readonly LimitDefinition[] = [],
  options: Partial<CallsOptions> = {},
  operationLimits?: readonly string[],
) {
  const provider = await openProvider(reply)
  const clock = createFakeClock(BEGUN)
  const calls = openCalls(clock, options)
  open.push(provider, calls)
  const operation = createThing('natural', operationLimits === undefined ? {} : { limits: operationLimits })
  const connector = connectorOf(operation, { limits })
  const connection = connectionTo(provider.url, connector)
  const call = (over: Partial<CallRequest> = {}): Promise<CallOutcome> =>
    calls.call(callOf(connection, operation, over))
  const many = async (count: number): Promise<string[]> => {
    const outcomes: string[] = []
    for (let i = 0; i < count; i++) outcomes.push((await call()).as)
    return outcomes
  }
  return { provider, clock, calls, connection, connector, operation, call, many }
}

const fine: Reply = (response) => json(response, 200, { id: 't', amount: 1 })

describe('budgets', () => {
  it('defer what is over the limit, without sending it, and say until when', async () => {
    const { call, many, provider, clock } = await set(fine, [limit()])
    expect(await many(3)).toEqual(['succeeded', 'succeeded', 'succeeded'])
    const deferred = await call()
    expect(deferred).toMatchObject({
      as: 'deferred',
      code: 'rate_limited',
      reason: expect.stringContaining('"second"'),
    })
    expect(provider.received).toHaveLength(3)
    await clock.advance((deferred as { until: number }).until - clock.now())
    expect((await call()).as).toBe('succeeded')
  })

  it('hold several limits at once; an operation counts against those that it names', async () => {
    const limits = [limit({ name: 'second', allowed: 100 }), limit({ name: 'search', allowed: 1 })]
    const named = await set(fine, limits, {}, ['second'])
    expect(await named.many(5)).toEqual(Array(5).fill('succeeded'))
    const all = await set(fine, limits)
    expect(await all.many(2)).toEqual(['succeeded', 'deferred'])
  })

  it('bring forward who was deferred while the pace was slow, once it has risen', async () => {
    const clock = createFakeClock(BEGUN)
    const brought: string[] = []
    const budgets = new Budgets({
      clock,
      authority: createMemoryAuthority(clock),
      bringForward: (calls) => Promise.resolve(void brought.push(...calls.map(({ runId }) => runId))),
    })
    budgets.start()
    open.push({ close: () => budgets.stop() })
    let refuses = false
    const { call } = await set(
      (response) => (refuses ? json(response, 429, {}) : json(response, 200, { id: 't', amount: 1 })),
      [limit({ allowed: 20 })],
      { clock, budgets },
    )
    // Refused again and again, nearly nothing is sent; who is deferred then is given times far apart.
    refuses = true
    for (let i = 0; i < 6; i++) {
      await call()
      await clock.advance(SECOND)
    }
    refuses = false
    const until: number[] = []
    for (let i = 0; i < 100; i++) {
      const outcome = await call({ runId: `run_${i}`, promisedAt: clock.now() })
      if (outcome.as === 'deferred') until.push(outcome.until)
    }
    expect(Math.max(...until) - clock.now()).toBeGreaterThan(20 * SECOND)
    // Somebody calls now and then, so that the budget is asked for; nothing is refused any more.
    for (let i = 0; i < 40; i++) {
      await call()
      await clock.advance(SECOND)
    }
    expect(brought.length).toBeGreaterThan(40)
    expect(brought).toEqual([...brought].sort((a, b) => Number(a.slice(4)) - Number(b.slice(4))))
    expect(new Set(brought).size).toBe(brought.length)
  })

  it('belong to one connection each', async () => {
    const { calls, connector, operation, provider, many } = await set(fine, [limit()])
    expect(await many(4)).toEqual(['succeeded', 'succeeded', 'succeeded', 'deferred'])
    const other = connectionTo(provider.url, connector, 'con_2')
    expect((await calls.call(callOf(other, operation))).as).toBe('succeeded')
    const otherTenant = { ...connectionTo(provider.url, connector), tenant: 'other' }
    expect((await calls.call(callOf(otherTenant, operation))).as).toBe('succeeded')
  })

  it('limit what is in flight, and free the place whatever becomes of the call', async () => {
    let finish: (() => void) | undefined
    let arrived!: () => void
    const waiting = new Promise<void>((resolve) => {
      arrived = resolve
    })
    const { call } = await set(
      (response, received, n) => {
        if (n > 1) return fine(response, received, n)
        finish = () => response.socket!.destroy()
        return arrived()
      },
      [limit({ allowed: 100, concurrency: 1 })],
    )
    const first = call()
    await waiting
    expect(await call()).toMatchObject({ as: 'deferred', code: 'concurrency_reached' })
    finish!()
    expect(await first).toMatchObject({ as: 'failed', code: 'connection_lost' })
    expect((await call()).as).toBe('succeeded')
  })

  it('are empty until the time that a 429 names, but no longer than the longest window', async () => {
    const throttled =
      (seconds: string): Reply =>
      (response, received, n) =>
        n === 1 ? json(response, 429, {}, { 'retry-after': seconds }) : fine(response, received, n)
    const short = await set(throttled('20'), [limit({ windowMs: MINUTE, allowed: 100 })])
    expect(await short.call()).toMatchObject({
      as: 'failed',
      code: 'rate_limited',
      retryAt: BEGUN + 20 * SECOND,
    })
    expect(await short.call()).toMatchObject({ as: 'deferred', until: BEGUN + 20 * SECOND })
    await short.clock.advance(20 * SECOND)
    expect((await short.call()).as).toBe('succeeded')

    const absurd = await set(throttled('1000000000'), [limit({ windowMs: MINUTE, allowed: 100 })])
    expect(await absurd.call()).toMatchObject({ as: 'failed', retryAt: BEGUN + 1e12 })
    expect(await absurd.call()).toMatchObject({ as: 'deferred', until: BEGUN + MINUTE })
  })

  it('are empty for a window when a 429 names no time', async () => {
    const { call, clock } = await set(
      (response, received, n) => (n === 1 ? json(response, 429, {}) : fine(response, received, n)),
      [limit({ allowed: 100 }), limit({ name: 'day', windowMs: DAY, allowed: 1000 })],
    )
    await call()
    expect(await call()).toMatchObject({ as: 'deferred', until: BEGUN + SECOND })
    await clock.advance(SECOND)
    expect((await call()).as).toBe('succeeded')
  })

  it('believe the provider that its window is used up, by others perhaps', async () => {
    const { call, clock } = await set(
      (response, received, n) =>
        n === 1
          ? json(
              response,
              200,
              { id: 't', amount: 1 },
              { ratelimit: '"day";r=0;t=3600', 'ratelimit-policy': '"day";q=1000;w=86400' },
            )
          : fine(response, received, n),
      [limit({ allowed: 100 }), limit({ name: 'per-day', windowMs: DAY, allowed: 5000 })],
    )
    expect((await call()).as).toBe('succeeded')
    expect(await call()).toMatchObject({
      as: 'deferred',
      until: BEGUN + HOUR,
      reason: expect.stringContaining('per-day'),
    })
    await clock.advance(HOUR)
    expect((await call()).as).toBe('succeeded')
  })

  it('send nothing that waited for its turn to a provider that went away meanwhile', async () => {
    const clock = createFakeClock(BEGUN)
    const waiting = new Budgets({ clock, authority: createMemoryAuthority(clock), patienceMs: 5 * SECOND })
    waiting.start()
    let away = false
    const shut = { group: '', outageId: 'out_1', backlog: false, breaker: { state: 'open' } }
    const board = {
      breakerOf: () => (away ? shut : undefined),
      shareHealth: () => {},
    } as unknown as OutageBoard
    const { provider, connection, operation } = await set(fine, [limit({ allowed: 1 })])
    const calls = openCalls(clock, { board, budgets: waiting })
    open.push(calls, { close: () => waiting.stop() })
    const call = (): Promise<CallOutcome> => calls.call(callOf(connection, operation))
    expect((await call()).as).toBe('succeeded')
    const second = call()
    away = true
    await clock.advance(2 * SECOND)
    expect(await second).toMatchObject({ as: 'parked', code: 'circuit_open' })
    expect(provider.received).toHaveLength(1)
    // Its point was not used: the next one finds it.
    away = false
    const third = call()
    await clock.advance(10)
    expect((await third).as).toBe('succeeded')
  })

  it('are not touched by calls whose input is wrong', async () => {
    const { call, many } = await set(fine, [limit()])
    for (let i = 0; i < 10; i++) expect(await call({ input: {} })).toMatchObject({ code: 'input_invalid' })
    expect(await many(3)).toEqual(['succeeded', 'succeeded', 'succeeded'])
  })
})

describe('the state of connections', () => {
  it('is bounded: the longest unused is forgotten', async () => {
    const { calls, connector, operation, provider } = await set(
      fine,
      [limit({ allowed: 1, windowMs: HOUR })],
      { maxConnections: 2 },
    )
    const callTo = (id: string) => calls.call(callOf(connectionTo(provider.url, connector, id), operation))
    expect((await callTo('a')).as).toBe('succeeded')
    expect((await callTo('b')).as).toBe('succeeded')
    expect((await callTo('a')).as).toBe('deferred')
    expect((await callTo('c')).as).toBe('succeeded')
    expect((await callTo('a')).as).toBe('deferred')
    expect((await callTo('b')).as).toBe('succeeded')
  })
})

describe('testing a connection', () => {
  it('makes the check that the connector declares', async () => {
    const { calls, connection, provider } = await set(fine)
    expect((await calls.testConnection(connection)).as).toBe('succeeded')
    expect(provider.received).toMatchObject([{ method: 'GET', url: '/things' }])
  })

  it('is refused where the check is a write', async () => {
    const { calls, connection } = await set(fine)
    const operation = createThing('none')
    const writes = { ...connection.connector, operationsByName: new Map([['things.list', operation]]) }
    await expect(calls.testConnection({ ...connection, connector: writes as never })).rejects.toThrow(
      /may be repeated/,
    )
  })
})
