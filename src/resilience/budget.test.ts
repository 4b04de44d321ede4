import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DAY, MINUTE, SECOND } from '../base/index.ts'
import type { LimitDefinition } from '../define/index.ts'
import { exchange, HELD_MS, NEW_BUDGET, useOf, type BudgetAsk, type BudgetState } from './budget.ts'
import { NO_WANTS } from './shares.ts'
import { gridOf, VALID_SLOTS } from './slots.ts'

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
  held: 0,
  unused: [],
  places: { inFlight: 0, wanted: 0 },
  refused: false,
  blockMs: 0,
  ...over,
})

type Used = readonly [time: number, points: number]

/** The most that any window of this length holds. */
function busiestWindow(uses: readonly Used[], windowMs: number): number {
  const sorted = [...uses].sort((a, b) => a[0] - b[0])
  let most = 0
  let sum = 0
  let from = 0
  for (const [time, points] of sorted) {
    sum += points
    while (sorted[from]![0] <= time - windowMs) sum -= sorted[from++]![1]
    most = Math.max(most, sum)
  }
  return most
}

/** Nodes that ask at random and use what they are granted as clumsily as they may. */
const play = fc.record({
  allowed: fc.integer({ min: 1, max: 60 }),
  windowMs: fc.constantFrom(100, 999, 1000, 10_000, MINUTE, 5 * MINUTE),
  asks: fc.array(
    fc.record({
      node: fc.constantFrom('a', 'b', 'c', 'd'),
      gapMs: fc.integer({ min: 0, max: 900 }),
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

function playThrough({ allowed, windowMs, asks, offset }: PlayOf, valid = VALID_SLOTS): number {
  const definition = limit({ allowed, windowMs })
  const { slotMs, paced } = gridOf(windowMs)
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
      const from = paced ? Math.max(now, slot * slotMs) : now
      const until = paced ? (slot + valid) * slotMs - 0.001 : now + HELD_MS
      if (one.use === 'first') uses.push([from, points])
      if (one.use === 'last') uses.push([until, points])
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
      fc.property(play, (one) => playThrough(one as PlayOf, 40) <= one.allowed),
      { numRuns: 400 },
    )
    expect(late.failed).toBe(true)
  })
})

/** Asks for each node every 200 ms for some time; how many points each got from the second half on. */
function saturate(
  definition: LimitDefinition,
  nodes: Readonly<Record<string, Partial<BudgetAsk>>>,
  seconds = 10,
): Record<string, number> {
  let state: BudgetState = NEW_BUDGET
  const got: Record<string, number> = {}
  for (let ms = 0; ms < seconds * SECOND; ms += 50)
    for (const [i, [node, wanted]] of Object.entries(nodes).entries()) {
      if ((ms / 50) % 4 !== i % 4) continue
      const answer = exchange(state, definition, ask({ node, ...wanted }), START + ms)
      state = answer.state
      if (ms >= (seconds * SECOND) / 2)
        got[node] = (got[node] ?? 0) + answer.grant.slices.reduce((sum, slice) => sum + slice.points, 0)
    }
  return got
}

const much = (priority: string): Partial<BudgetAsk> => ({
  wants: { ...NO_WANTS, [priority]: 500 },
  waiting: { ...NO_WANTS, [priority]: 20 },
})

describe('the pace of a budget', () => {
  it.each([1, 2, 4])('leaves less than 5 in 100 unused, for %i nodes that want all they can get', (count) => {
    const nodes = Object.fromEntries(Array.from({ length: count }, (_, i) => [`n${i}`, much('bulk')]))
    for (const definition of [limit(), limit({ allowed: 1000, windowMs: 10 * SECOND })]) {
      const got = saturate(definition, nodes, 40)
      const total = Object.values(got).reduce((sum, points) => sum + points, 0)
      expect(total / (20 * 100)).toBeGreaterThan(0.95)
      for (const points of Object.values(got)) expect(points / (total / count)).toBeGreaterThan(0.9)
    }
  })

  it('gives the more urgent first, and the others their floor', () => {
    const got = saturate(limit(), { a: much('interactive'), b: much('normal'), c: much('bulk') })
    const total = got['a']! + got['b']! + got['c']!
    expect(got['a']! / total).toBeGreaterThan(0.7)
    expect(got['b']! / total).toBeGreaterThan(0.1)
    expect(got['c']! / total).toBeGreaterThan(0.03)
  })

  it('spreads bulk evenly, and lets those who wait have a burst where there is room', () => {
    const points = (priority: string): number =>
      exchange(NEW_BUDGET, limit(), ask({ waiting: { ...NO_WANTS, [priority]: 80 } }), START)
        .grant.slices.filter((slice) => slice.slot <= START / 10)
        .reduce((sum, slice) => sum + slice.points, 0)
    expect(points('interactive')).toBeGreaterThanOrEqual(80)
    expect(points('normal')).toBeGreaterThanOrEqual(50)
    expect(points('normal')).toBeLessThan(60)
    expect(points('bulk')).toBeLessThanOrEqual(2)
  })

  it('gives dear calls all their points at once', () => {
    const got = saturate(limit(), { a: { ...much('bulk'), unit: 30 }, b: much('bulk') })
    expect(got['a']! % 30).toBe(0)
    expect(got['a']! / got['b']!).toBeGreaterThan(0.4)
  })
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
    expect(exchange(told.state, limit(), other, START + 20 * SECOND).grant.slices).not.toEqual([])
  })

  it('corrects what was declared', () => {
    const told = exchange(NEW_BUDGET, limit(), ask({ seen: { allowed: 40, agoMs: 0 } }), START)
    expect(told.grant.allowed).toBe(40)
    const burst = ask({ node: 'b', waiting: { ...NO_WANTS, interactive: 90 } })
    const got = exchange(told.state, limit(), burst, START).grant.slices
    expect(got.reduce((sum, slice) => sum + slice.points, 0)).toBeLessThanOrEqual(40)
  })

  it('tells what others take, and what is left to us follows within a few answers and stays there', () => {
    let state: BudgetState = NEW_BUDGET
    const ours: number[] = []
    for (let i = 0; i < 40; i++) {
      const now = START + i * 200
      const used = useOf(state, limit(), now).used
      const remaining = Math.max(0, 100 - used - 60)
      const answer = exchange(state, limit(), ask({ ...much('bulk'), seen: { remaining, agoMs: 0 } }), now)
      state = answer.state
      ours.push(answer.grant.ours)
    }
    expect(ours[6]).toBeLessThan(44)
    expect(Math.min(...ours.slice(10))).toBeGreaterThanOrEqual(38)
    expect(Math.max(...ours.slice(10))).toBeLessThanOrEqual(42)
  })

  it('leaves more unused for a while after a refusal that nobody else explains', () => {
    const told = { remaining: 2, agoMs: 0 }
    const before = exchange(NEW_BUDGET, limit(), ask({ seen: told }), START)
    const full = exchange(NEW_BUDGET, limit(), ask(), START).grant.ours
    const after = exchange(before.state, limit(), ask({ refused: true }), START + 10).grant.ours
    expect(after).toBeLessThan(full)
    const { state } = exchange(before.state, limit(), ask({ refused: true }), START + 10)
    let last = exchange(state, limit(), ask(), START + 11 * SECOND)
    for (let i = 2; i < 40; i++) last = exchange(last.state, limit(), ask(), START + i * 11 * SECOND)
    expect(last.grant.ours).toBe(full)
  })

  it('is learned from refusals where it says nothing, and forgotten by and by', () => {
    const nodes = ask(much('bulk'))
    let state: BudgetState = NEW_BUDGET
    for (let ms = 0; ms < 400; ms += 200) state = exchange(state, limit(), nodes, START + ms).state
    const used = useOf(state, limit(), START + 400).used
    const refused = exchange(state, limit(), { ...nodes, refused: true }, START + 400)
    expect(refused.grant.ours).toBeLessThanOrEqual(Math.max(50, used))
    expect(refused.grant.ours).toBeGreaterThanOrEqual(30)
    const ours: number[] = []
    state = refused.state
    for (let ms = 400; ms < 60_000; ms += 200) {
      const answer = exchange(state, limit(), nodes, START + ms)
      state = answer.state
      ours.push(answer.grant.ours)
    }
    expect(new Set(ours.slice(0, 20))).toEqual(new Set([refused.grant.ours]))
    expect(ours.at(-1)).toBe(98)
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
