import { describe, expect, it } from 'vitest'
import { MINUTE, SECOND } from '../base/index.ts'
import { BREAKER_POLICY, type Breaker } from '../resilience/index.ts'
import { createFakeClock } from '../testing/index.ts'
import { Breakers, type SeenCall } from './breakers.ts'
import { callOf, connectionTo, connectorOf, createThing, type Kind } from './calls.fixture.ts'
import type { GroupHealth, HealthSource } from './outages/health.ts'
import type { OutageBoard } from './outages/index.ts'
import type { CallRequest } from './request.ts'

const BOUND_MS = 30 * SECOND

/** What a node concludes from its calls, without nodes beside it: the board only remembers what it is told. */
type Shut = { breaker: Breaker; backlog?: boolean } | undefined

function set(kind: Kind = 'natural', given?: Shut | (() => Shut)) {
  const clock = createFakeClock()
  let health: HealthSource | undefined
  const trips: Parameters<OutageBoard['open']>[0][] = []
  const board = {
    breakerOf: () => {
      const shut = typeof given === 'function' ? given() : given
      return (
        shut && {
          tenant: 'default',
          connectionId: 'con_1',
          group: '',
          connector: 'acme',
          outageId: 'out_1',
          backlog: true,
          ...shut,
        }
      )
    },
    open: (trip: (typeof trips)[number]) => void trips.push(trip),
    shareHealth: (source: HealthSource) => void (health = source),
  } as unknown as OutageBoard
  const breakers = new Breakers(clock, BREAKER_POLICY, 10, board)
  const call = callOf(connectionTo('http://127.0.0.1:1', connectorOf(createThing(kind))), createThing(kind))
  const see = (times: number, seen: Partial<SeenCall>, of: Partial<CallRequest> = {}): void => {
    for (let i = 0; i < times; i++) {
      const leave = breakers.ask({ ...call, ...of })
      if (leave.as === 'refused') throw new Error(leave.reason)
      leave.pass({
        health: 'success',
        ms: 50,
        boundMs: BOUND_MS,
        timedOut: false,
        code: '',
        words: '',
        ...seen,
      })
    }
  }
  return {
    clock,
    trips,
    breakers,
    call,
    see,
    tell: () => health!.tell(),
    hear: (others: readonly GroupHealth[]) => health!.hear(others),
  }
}

describe('what calls show of a provider', () => {
  it('opens its breaker when half of at least ten fail, with the last answer', () => {
    const { trips, see } = set()
    see(9, { health: 'failure', code: 'provider_unavailable', words: 'The provider answered 503.' })
    expect(trips).toEqual([])
    see(1, { health: 'failure', code: 'provider_unavailable', words: 'The provider answered 503.' })
    expect(trips).toMatchObject([
      {
        connectionId: 'con_1',
        cause: 'failing',
        code: 'provider_unavailable',
        reason: 'The provider answered 503.',
      },
    ])
  })

  it('opens it when four of five answers are much slower than usual', async () => {
    const { trips, see, clock } = set()
    see(200, { ms: 80 })
    await clock.advance(MINUTE)
    see(8, { ms: 3 * SECOND })
    expect(trips).toEqual([])
    see(2, { ms: 3 * SECOND })
    expect(trips).toMatchObject([{ cause: 'slow', code: 'slow', reason: expect.stringContaining('3000 ms') }])
  })

  it('does not take what is usually slow for slow', async () => {
    const { trips, see, clock } = set()
    see(200, { ms: 3 * SECOND })
    await clock.advance(MINUTE)
    see(50, { ms: 4 * SECOND })
    expect(trips).toEqual([])
  })

  it('is not what a probe says, nor what says nothing about it', () => {
    const { trips, see } = set()
    see(50, { health: 'neutral' })
    see(50, { health: 'failure' }, { probe: true })
    expect(trips).toEqual([])
  })

  it('is held against a provider that has just come back from its first answer on', async () => {
    const { trips, see, clock } = set('natural', {
      breaker: { state: 'half_open', since: 1, openings: 1 },
      backlog: false,
    })
    await clock.advance(SECOND)
    see(1, { health: 'failure', words: 'The provider answered 502.' })
    expect(trips).toHaveLength(1)
  })
})

describe('what the calls of several nodes show', () => {
  const failed = {
    health: 'failure',
    code: 'provider_unavailable',
    words: 'The provider answered 503.',
  } as const

  /** Results of other nodes, as this one hears of them. */
  function others(
    results: readonly (readonly [times: number, seen: Partial<SeenCall>])[],
  ): readonly GroupHealth[] {
    const elsewhere = set()
    for (const [times, seen] of results) elsewhere.see(times, seen)
    return elsewhere.tell()
  }

  it('counts together: failures that are too few on each open the breaker, with the last answer here', () => {
    const { trips, see, hear } = set()
    see(4, failed)
    hear(others([[5, failed]]))
    expect(trips).toEqual([])
    hear(others([[6, failed]]))
    expect(trips).toMatchObject([{ cause: 'failing', reason: 'The provider answered 503.' }])
  })

  it('counts with the next call, too', () => {
    const { trips, see, hear } = set()
    hear(others([[9, failed]]))
    expect(trips).toEqual([])
    see(1, failed)
    expect(trips).toHaveLength(1)
  })

  it('stays healthy where the others’ calls succeed', () => {
    const { trips, see, hear } = set()
    see(8, failed)
    hear(
      others([
        [1, failed],
        [20, {}],
      ]),
    )
    see(1, failed)
    expect(trips).toEqual([])
  })

  it('is told where something is wrong, here or elsewhere, and else not', () => {
    const { see, tell, hear } = set()
    see(20, {})
    expect(tell()).toEqual([])
    hear(others([[1, failed]]))
    expect(tell()).toMatchObject([{ connectionId: 'con_1', group: '' }])
    hear([])
    expect(tell()).toEqual([])
    see(1, failed)
    expect(tell()).toHaveLength(1)
  })

  it('is forgotten when the breaker opens, wherever that was', () => {
    const shut = { breaker: { state: 'open', until: 0, openings: 1 } as Breaker }
    const now: { shut?: typeof shut } = {}
    const { trips, see, tell, hear } = set('natural', () => now.shut)
    see(8, failed)
    now.shut = shut
    expect(tell()).toEqual([])
    delete now.shut
    hear(others([[5, failed]]))
    see(1, failed)
    expect(trips).toEqual([])
  })
})

describe('an open breaker', () => {
  const open: Breaker = { state: 'open', until: 0, openings: 1 }

  it('refuses every call but a probe, with the outage', () => {
    const { breakers, call } = set('natural', { breaker: open })
    expect(breakers.ask(call)).toMatchObject({
      as: 'refused',
      outage: { id: 'out_1', connectionId: 'con_1', group: '' },
      reason: 'Connection "acme" is away',
    })
    expect(breakers.ask({ ...call, probe: true }).as).toBe('permitted')
  })

  it('lets go first who has waited while it is half open and others wait', () => {
    const { breakers, call } = set('natural', { breaker: { state: 'half_open', since: 0, openings: 1 } })
    expect(breakers.ask(call).as).toBe('refused')
    expect(breakers.ask({ ...call, waited: true }).as).toBe('permitted')
  })
})

describe('a time-out', () => {
  it('follows what is usual where running into it is harmless', () => {
    for (const kind of ['natural', 'key'] as const) {
      const { breakers, call, see } = set(kind)
      see(200, { ms: 80 })
      expect(breakers.timeoutMs(call, BOUND_MS)).toBe(2 * SECOND)
      expect(breakers.timeoutMs(call, SECOND)).toBe(SECOND)
    }
  })

  it('stays the operation’s own where it would leave a doubt', () => {
    for (const kind of ['none', 'lookup'] as const) {
      const { breakers, call, see } = set(kind)
      see(200, { ms: 80 })
      expect(breakers.timeoutMs(call, BOUND_MS)).toBe(BOUND_MS)
    }
  })
})
