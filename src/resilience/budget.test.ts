import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DAY, MINUTE, SECOND } from '../base/index.ts'
import type { LimitDefinition } from '../define/index.ts'
import { exchange, NEW_BUDGET, useOf, type BudgetAsk, type BudgetState } from './budget.ts'
import { busiestWindow, type Used } from './busiestWindow.fixture.ts'
import { pointsIn, type Returning } from './returning.ts'
import { HOLDS_NOTHING } from './ring.ts'
import { NO_WANTS } from './shares.ts'
import { HELD_MS } from './slots.ts'

const START = 1_795_338_000_000
const limit = (over: Partial<LimitDefinition> = {}): LimitDefinition => ({
  name: 'second',
  allowed: 100,
  windowMs: SECOND,
  source: 'test',
  ...over,
})
const ask = (over: Partial<BudgetAsk> = {}): BudgetAsk => ({
  node: 'a',
  wants: NO_WANTS,
  waiting: NO_WANTS,
  unit: 1,
  holding: HOLDS_NOTHING,
  held: 0,
  unused: [],
  places: { inFlight: 0, wanted: 0 },
  refused: false,
  blockMs: 0,
  ...over,
})

/** Of a long window; of short ones see the tests of what nodes hold. Nodes ask at random and use it clumsily. */
const play = fc.record({
  allowed: fc.integer({ min: 1, max: 60 }),
  windowMs: fc.constantFrom(MINUTE + 1, 5 * MINUTE, 10 * MINUTE),
  asks: fc.array(
    fc.record({
      node: fc.constantFrom('a', 'b', 'c', 'd'),
      gapMs: fc.oneof(fc.integer({ min: 0, max: 900 }), fc.integer({ min: 0, max: 60_000 })),
      priority: fc.constantFrom('interactive', 'normal', 'bulk'),
      points: fc.integer({ min: 0, max: 80 }),
      unit: fc.constantFrom(1, 1, 1, 3),
      /** When within their time the points are used: at once, at the very end, or not at all. */
      use: fc.constantFrom('first', 'last', 'none', 'dies'),
    }),
    { minLength: 20, maxLength: 120 },
  ),
  offset: fc.integer({ min: 0, max: 100_000 }),
})

function playThrough({ allowed, windowMs, asks, offset }: PlayOf, heldMs = HELD_MS): number {
  const definition = limit({ allowed, windowMs })
  const unused = new Map<string, [slot: number, points: number][]>()
  const uses: Used[] = []
  let state: BudgetState = NEW_BUDGET
  let now = START + offset
  for (const one of asks) {
    now += one.gapMs
    const some = { ...NO_WANTS, [one.priority]: one.points }
    const asked = ask({
      node: one.node,
      wants: some,
      waiting: some,
      unit: one.unit,
      unused: unused.get(one.node) ?? [],
    })
    const answer = exchange(state, definition, asked, now)
    state = answer.state
    const back: [number, number][] = []
    for (const { slot, points } of answer.grant.slices) {
      if (one.use === 'first') uses.push([now, points])
      if (one.use === 'last') uses.push([now + heldMs, points])
      if (one.use === 'none') back.push([slot, points])
    }
    unused.set(one.node, back)
  }
  return busiestWindow(uses, windowMs)
}

interface PlayOf {
  readonly allowed: number
  readonly windowMs: number
  readonly offset: number
  readonly asks: readonly {
    readonly node: string
    readonly gapMs: number
    readonly priority: 'interactive' | 'normal' | 'bulk'
    readonly points: number
    readonly unit: number
    readonly use: 'first' | 'last' | 'none' | 'dies'
  }[]
}

describe('a budget shared by nodes', () => {
  it('grants no more than the limit in any window, wherever it begins and whatever becomes of the nodes', () => {
    fc.assert(
      fc.property(play, (one) => {
        expect(playThrough(one as PlayOf)).toBeLessThanOrEqual(one.allowed)
      }),
      { numRuns: 400 },
    )
  })

  it('and this check notices points that are used after their time', () => {
    const late = fc.check(
      fc.property(play, (one) => playThrough(one as PlayOf, 20 * SECOND) <= one.allowed),
      { numRuns: 400 },
    )
    expect(late.failed).toBe(true)
  })
})

const much = (priority: string): Partial<BudgetAsk> => ({
  wants: { ...NO_WANTS, [priority]: 500 },
  waiting: { ...NO_WANTS, [priority]: 20 },
})

describe('a long window', () => {
  const day = limit({ name: 'day', allowed: 1000, windowMs: DAY })

  it('is not paced, and what is given back is there again', () => {
    const first = exchange(NEW_BUDGET, day, ask({ waiting: { ...NO_WANTS, normal: 800 } }), START)
    expect(first.grant.slices.map((slice) => slice.points)).toEqual([800])
    const [{ slot }] = first.grant.slices as [{ slot: number; points: number }]
    const second = exchange(
      first.state,
      day,
      ask({ unused: [[slot, 700]], waiting: { ...NO_WANTS, normal: 900 } }),
      START + SECOND,
    )
    expect(second.grant.slices.map((slice) => slice.points)).toEqual([900])
    expect(useOf(second.state, day, START + 2 * SECOND).used).toBe(1000)
  })

  it('keeps a little from bulk, and says when there will be more', () => {
    const bulk = exchange(NEW_BUDGET, day, ask({ waiting: { ...NO_WANTS, bulk: 5000 } }), START)
    expect(bulk.grant.slices.map((slice) => slice.points)).toEqual([980])
    const urgent = exchange(bulk.state, day, ask({ waiting: { ...NO_WANTS, interactive: 50 } }), START + 1)
    expect(urgent.grant.slices.map((slice) => slice.points)).toEqual([20])
    const none = exchange(urgent.state, day, ask({ waiting: { ...NO_WANTS, interactive: 50 } }), START + 2)
    expect(none.grant.slices).toEqual([])
    expect((none.grant.freeAt - START) / DAY).toBeGreaterThan(0.99)
    expect((none.grant.freeAt - START) / DAY).toBeLessThan(1.03)
  })
})

describe('what the provider says', () => {
  it('blocks all nodes until its time', () => {
    const told = exchange(NEW_BUDGET, limit(), ask({ blockMs: 20 * SECOND }), START)
    const other = ask({ node: 'b', waiting: { ...NO_WANTS, interactive: 5 } })
    expect(exchange(told.state, limit(), other, START + 19 * SECOND).grant).toMatchObject({
      slices: [],
      blockedUntil: START + 20 * SECOND,
    })
    expect(exchange(told.state, limit(), other, START + 20 * SECOND).grant.blockedUntil).toBeLessThanOrEqual(
      START + 20 * SECOND,
    )
  })

  it('corrects what was declared', () => {
    const told = exchange(NEW_BUDGET, limit(), ask({ seen: { allowed: 40, agoMs: 0 } }), START)
    expect(told.grant.allowed).toBe(40)
    const burst = ask({ node: 'b', waiting: { ...NO_WANTS, interactive: 90 } })
    expect(pointsIn(exchange(told.state, limit(), burst, START).grant.holding.more)).toBe(40)
  })

  it('and what it allows no more is in no hands soon, and what it allows again comes a window later', () => {
    const burst = (seen: BudgetAsk['seen']): BudgetAsk =>
      ask({ waiting: { ...NO_WANTS, interactive: 90 }, ...(seen && { seen }) })
    const first = exchange(NEW_BUDGET, limit(), burst(undefined), START)
    expect(pointsIn(first.grant.holding.more)).toBe(100)
    const heard = first.grant.holding.answer
    const holding = { points: 100, back: [], heard, used: 100 }
    const less = exchange(first.state, limit(), { ...burst({ allowed: 40, agoMs: 0 }), holding }, START + 10)
    expect(less.grant.holding.share).toBe(40)
    const back = [[START + 1000, 60]] as const
    const handed = { points: 40, back, heard: less.grant.holding.answer, used: 100 }
    const again = { ...burst({ allowed: 100, agoMs: 0 }), holding: handed }
    const more = exchange(less.state, limit(), again, START + 20).grant.holding.more
    for (const [at] of more) expect(at).toBeGreaterThanOrEqual(START + 1000)
  })
})

describe('an answer that was lost', () => {
  it('gives points that come back when they would have, not when those did that the node held before', () => {
    const one = limit({ allowed: 1, windowMs: 10 * SECOND })
    const wanting = { waiting: { ...NO_WANTS, interactive: 1 } }
    let state: BudgetState = NEW_BUDGET
    const grantTo = (node: string, ms: number, holding = HOLDS_NOTHING) => {
      const answer = exchange(state, one, ask({ ...wanting, node, holding }), START + ms)
      state = answer.state
      return answer.grant.holding
    }
    const backAt = ({ more }: { readonly more: Returning }): readonly number[] =>
      more.map(([at]) => at - START)
    // Each falls silent, and what it held comes back a window later, as if it had been used.
    expect(backAt(grantTo('a', 0))).toEqual([0])
    const first = grantTo('b', 2000)
    expect(backAt(first)).toEqual([12_500])
    expect(backAt(grantTo('c', 4100))).toEqual([14_500])
    const holding = { points: 0, back: first.more, heard: first.answer, used: 0 }
    const lost = grantTo('b', 6200, holding)
    expect(backAt(lost)).toEqual([16_600])
    expect(backAt(grantTo('b', 6500, holding))).toEqual([16_600])
  })
})

interface Told {
  /** Points that others take in a window, by the time. */
  readonly othersAt: (ms: number) => number
  /** Whether its answers say what is left. */
  readonly tells: boolean
  readonly allowed?: number
  readonly seconds: number
  /** How many nodes ask in turn, each telling of itself alone. */
  readonly nodes?: number
}

/** What is ours of the limit, by tenths of a second, while all of it is used that may be. */
function listen({ othersAt, tells, allowed = 100, seconds, nodes = 1 }: Told): {
  ours: number[]
  refused: number
} {
  const definition = limit({ allowed })
  let state: BudgetState = NEW_BUDGET
  let ours = allowed
  let refusals = 0
  const history: number[] = []
  for (let ms = 0; ms < seconds * SECOND; ms += 100) {
    const others = othersAt(ms)
    // What is more than the limit is refused, to them and to us in equal parts.
    const over = Math.max(0, ours + others - allowed)
    const through = Math.max(0, ours - Math.ceil(over / 2))
    const refused = over > 0
    if (refused) refusals++
    const remaining = Math.max(0, allowed - through - Math.min(others, allowed - through))
    const answer = exchange(
      state,
      definition,
      ask({
        ...much('bulk'),
        node: `n${(ms / 100) % nodes}`,
        holding: { ...HOLDS_NOTHING, used: through / nodes },
        ...(tells && { seen: { remaining, ours: through / nodes, agoMs: 0 } }),
        refused,
      }),
      START + ms,
    )
    state = answer.state
    ours = answer.grant.ours
    history.push(ours)
  }
  return { ours: history, refused: refusals }
}

describe('what others take', () => {
  it.each([1, 4])('is found within seconds where the provider says what is left, by %i nodes', (nodes) => {
    const { ours } = listen({ othersAt: () => 60, tells: true, seconds: 40, nodes })
    for (const share of ours.slice(60)) expect(share).toBeLessThanOrEqual(40)
    expect(ours.at(-1)).toBeGreaterThanOrEqual(38)
  })

  it('is ours within seconds when they leave, where the provider says so', () => {
    const { ours } = listen({ othersAt: (ms) => (ms < 20_000 ? 60 : 0), tells: true, seconds: 40 })
    expect(ours[199]).toBeLessThanOrEqual(40)
    expect(Math.min(...ours.slice(240))).toBeGreaterThanOrEqual(95)
  })

  it('is seen where a provider counts from the beginning of each second', () => {
    let state = NEW_BUDGET
    let ours = 100
    for (let ms = 0; ms < 20_000; ms += 50) {
      const part = (ms % 1000) / 1000
      const remaining = Math.max(0, Math.round(100 - (60 + ours) * part))
      const through = Math.min(ours, (ours * 100) / (60 + ours))
      const answer = exchange(
        state,
        limit(),
        ask({
          ...much('bulk'),
          holding: { ...HOLDS_NOTHING, used: through },
          seen: { remaining, ours: through, agoMs: 0 },
          refused: remaining === 0,
        }),
        START + ms,
      )
      state = answer.state
      ours = answer.grant.ours
      if (ms < 10_000) continue
      expect(ours).toBeLessThan(60)
      expect(ours).toBeGreaterThan(30)
    }
  })

  it('is learned from refusals where the provider says nothing, and tried again all the time', () => {
    const { ours, refused } = listen({ othersAt: () => 60, tells: false, seconds: 200 })
    const late = ours.slice(200)
    expect(late.reduce((sum, share) => sum + share, 0) / late.length).toBeGreaterThan(34)
    expect(refused).toBeLessThan(60)
  })

  it.each([
    [100, 'others leave', (ms: number) => (ms < 60_000 ? 60 : 0)],
    [20, 'a provider that refused everything does so no more', (ms: number) => (ms < 60_000 ? 20 : 0)],
  ])('is ours again within half a minute, of %i, when %s', (allowed, _, othersAt) => {
    const { ours } = listen({ othersAt, tells: false, allowed, seconds: 120 })
    expect(ours.indexOf(allowed, 600)).toBeGreaterThan(0)
    expect(Math.min(...ours.slice(900))).toBeGreaterThanOrEqual(0.95 * allowed)
  })

  it('leaves more unused for a while after a refusal that nobody else explains', () => {
    const told = { remaining: 2, ours: 98, agoMs: 0 }
    const before = exchange(NEW_BUDGET, limit(), ask({ seen: told }), START)
    const full = before.grant.ours
    expect(full).toBe(100)
    const { state, grant } = exchange(before.state, limit(), ask({ refused: true }), START + 10)
    expect(grant.ours).toBeLessThan(full)
    let last = exchange(state, limit(), ask(), START + 11 * SECOND)
    for (let i = 2; i < 5; i++) last = exchange(last.state, limit(), ask(), START + i * 11 * SECOND)
    expect(last.grant.ours).toBe(full)
  })
})

describe('places in flight', () => {
  const few = limit({ concurrency: 3 })
  const want = (node: string, inFlight: number, wanted = 5): BudgetAsk =>
    ask({ node, places: { inFlight, wanted } })

  it('are never more than there are, and come back from a node that is gone', () => {
    const first = exchange(NEW_BUDGET, few, want('a', 0), START)
    expect(first.grant.places).toBe(3)
    const second = exchange(first.state, few, want('b', 0), START + 100)
    expect(second.grant.places).toBe(0)
    const gone = exchange(second.state, few, want('b', 0), START + 11 * SECOND)
    expect(gone.grant.places).toBe(3)
  })

  it('are shared, and go round where they are fewer than nodes', () => {
    const under: Record<string, number> = { a: 0, b: 0, c: 0, d: 0 }
    const turns: Record<string, number> = { a: 0, b: 0, c: 0, d: 0 }
    let state: BudgetState = NEW_BUDGET
    for (let i = 0; i < 400; i++) {
      const node = 'abcd'[i % 4]!
      under[node] = 0
      const answer = exchange(state, few, want(node, 0), START + i * 50)
      state = answer.state
      under[node] = answer.grant.places
      turns[node]! += answer.grant.places
      expect(Object.values(under).reduce((sum, places) => sum + places, 0)).toBeLessThanOrEqual(3)
    }
    for (const count of Object.values(turns)) expect(count).toBeGreaterThan(30)
  })
})
