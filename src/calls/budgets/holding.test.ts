import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DAY, MINUTE, SECOND } from '../../base/index.ts'
import type { LimitDefinition, Priority } from '../../define/index.ts'
import { exchange, NEW_BUDGET, NO_WANTS, type BudgetGrant, type BudgetState } from '../../resilience/index.ts'
import { busiestWindow, type Used } from '../../resilience/busiestWindow.fixture.ts'
import { LimitLease, type Taken } from './lease.ts'

const START = 1_795_338_000_000
const ID = { tenant: 'default', id: 'con_1' }
const limit = (over: Partial<LimitDefinition> = {}): LimitDefinition => ({
  name: 'second',
  allowed: 100,
  windowMs: SECOND,
  source: 'test',
  ...over,
})

/** What may become of a question on its way. */
const FATES = ['answered', 'answered', 'answered', 'answered', 'answer lost', 'never came'] as const

const play = fc.record({
  allowed: fc.integer({ min: 1, max: 60 }),
  windowMs: fc.constantFrom(100, 999, 1000, 10_000, MINUTE),
  ourPart: fc.constantFrom(1, 1, 0.5),
  acts: fc.array(
    fc.record({
      node: fc.integer({ min: 0, max: 3 }),
      gapMs: fc.oneof(fc.integer({ min: 0, max: 60 }), fc.integer({ min: 0, max: 4000 })),
      /** Calls that it makes if it may, and how long each is under way. */
      calls: fc.integer({ min: 0, max: 20 }),
      points: fc.constantFrom(1, 1, 1, 3),
      tookMs: fc.integer({ min: 0, max: 1500 }),
      /** Between its leave and its first byte: a credential, a commit, a socket. */
      heldUpMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 5000 })),
      priority: fc.constantFrom<Priority>('interactive', 'normal', 'bulk'),
      asks: fc.constantFrom(...FATES, undefined),
      /** The process ends, and another begins in its place. */
      dies: fc.integer({ min: 0, max: 19 }),
    }),
    { minLength: 30, maxLength: 150 },
  ),
})
type Play = typeof play extends fc.Arbitrary<infer Of> ? Of : never

interface AtTheDoor {
  readonly lease: LimitLease
  readonly taken: Taken
  readonly points: number
  readonly leavesAt: number
  readonly tookMs: number
}

/** Nodes that ask, lose answers, stand still, die and spend whatever they are given at once. */
function playThrough(
  { allowed, windowMs, acts, ourPart }: Play,
  leaseOf = (of: LimitDefinition) => new LimitLease(of),
  mayLeave = ({ lease, taken }: AtTheDoor, now: number) => lease.leaves(taken, now),
) {
  const definition = limit({ allowed, windowMs })
  let state: BudgetState = {
    ...NEW_BUDGET,
    foreign: { ...NEW_BUDGET.foreign, amount: Math.floor(allowed * (1 - ourPart)), heldUntil: START + DAY },
  }
  const nodes = Array.from({ length: 4 }, (_, i) => ({ name: `n${i}`, lease: leaseOf(definition) }))
  const counted: Used[] = []
  const atTheDoor: AtTheDoor[] = []
  const underWay: { readonly lease: LimitLease; readonly taken: Taken; readonly endsAt: number }[] = []
  let now = START
  let lives = 0
  for (const act of acts) {
    now += act.gapMs
    for (const call of atTheDoor.splice(0)) {
      if (call.leavesAt > now) atTheDoor.push(call)
      else if (mayLeave(call, now)) {
        counted.push([now, call.points])
        underWay.push({ ...call, endsAt: now + call.tookMs })
      } else underWay.push({ ...call, endsAt: now })
    }
    for (const call of underWay.splice(0))
      if (call.endsAt <= now) {
        call.lease.ended(call.taken, call.endsAt)
        call.lease.freed()
      } else underWay.push(call)
    if (act.dies === 0) nodes[act.node] = { name: `again${++lives}`, lease: leaseOf(definition) }
    const { name, lease } = nodes[act.node]!
    lease.arrived(act.priority, act.points, now)
    if (act.asks !== undefined) {
      const waiting = { ...NO_WANTS, [act.priority]: act.calls * act.points }
      const asked = lease.ask(waiting, act.calls, now)
      if (act.asks !== 'never came') {
        const answer = exchange(state, definition, { ...asked, node: name }, now)
        state = JSON.parse(JSON.stringify(answer.state)) as BudgetState
        if (act.asks === 'answered') lease.granted(answer.grant, asked, now)
      }
    }
    for (let i = 0; i < act.calls; i++) {
      if (lease.lacks(act.points, act.priority, now) !== undefined) continue
      const points = Math.min(act.points, Math.floor(allowed * ourPart) || 1)
      const leavesAt = now + act.heldUpMs
      atTheDoor.push({ lease, taken: lease.take(act.points, now), points, leavesAt, tookMs: act.tookMs })
    }
  }
  return busiestWindow(counted, windowMs)
}

describe('what nodes hold of a short window', () => {
  it('is never more in any window than the limit, whatever becomes of nodes and of what they ask', () => {
    fc.assert(
      fc.property(play, (one) => {
        expect(playThrough(one)).toBeLessThanOrEqual(one.allowed)
      }),
      { numRuns: 300 },
    )
  })

  it('and this check notices points that come back too soon', () => {
    const hasty = (of: LimitDefinition): LimitLease => new LimitLease({ ...of, windowMs: of.windowMs / 2 })
    const atOnce = (one: Play): Play => ({ ...one, acts: one.acts.map((act) => ({ ...act, heldUpMs: 0 })) })
    const late = fc.check(
      fc.property(play, (one) => playThrough(atOnce(one), hasty) <= one.allowed),
      { numRuns: 20_000, endOnFailure: true },
    )
    expect(late.failed).toBe(true)
  })

  it('and calls that leave whenever they are ready', () => {
    const careless = fc.check(
      fc.property(play, (one) => playThrough(one, undefined, () => true) <= one.allowed),
      { numRuns: 20_000, endOnFailure: true },
    )
    expect(careless.failed).toBe(true)
  })
})

interface Saturating {
  readonly priority: Priority
  readonly points?: number
  /** Calls that come in a second; left out: more than can go. */
  readonly perSecond?: number
}

/** Nodes that take whatever they may, millisecond by millisecond; the points that each spent after the first fifth. */
function saturate(
  definition: LimitDefinition,
  each: readonly Saturating[],
  seconds: number,
  { askEveryMs = 250, tookMs = 5 } = {},
): { readonly spent: readonly number[]; readonly longestGapMs: number; readonly busiest: number } {
  let state: BudgetState = NEW_BUDGET
  const nodes = each.map((one, i) => ({
    ...one,
    name: `n${i}`,
    lease: new LimitLease(definition),
    waiting: 0,
  }))
  const spent = nodes.map(() => 0)
  const counted: Used[] = []
  const underWay: { readonly lease: LimitLease; readonly taken: Taken; readonly endsAt: number }[] = []
  let longestGapMs = 0
  let last = START + seconds * 200
  for (let ms = 0; ms < seconds * SECOND; ms++) {
    const now = START + ms
    while (underWay.length > 0 && underWay[0]!.endsAt <= now) {
      const { lease, taken, endsAt } = underWay.shift()!
      lease.ended(taken, endsAt)
      lease.freed()
    }
    for (const [i, node] of nodes.entries()) {
      const { lease, priority, points = 1, perSecond = 400 } = node
      if (
        ms % Math.max(1, Math.round(SECOND / perSecond)) ===
        i % Math.max(1, Math.round(SECOND / perSecond))
      ) {
        lease.arrived(priority, points, now)
        node.waiting = Math.min(64, node.waiting + 1)
      }
      if ((ms + i * 60) % askEveryMs === 0) {
        const asked = lease.ask({ ...NO_WANTS, [priority]: node.waiting * points }, node.waiting, now)
        const answer: { state: BudgetState; grant: BudgetGrant } = exchange(
          state,
          definition,
          { ...asked, node: node.name },
          now,
        )
        state = answer.state
        lease.granted(answer.grant, asked, now)
      }
      while (node.waiting > 0 && lease.lacks(points, priority, now) === undefined) {
        node.waiting--
        const taken = lease.take(points, now)
        expect(lease.leaves(taken, now)).toBe(true)
        underWay.push({ lease, taken, endsAt: now + tookMs })
        counted.push([now, points])
        if (ms < seconds * 200) continue
        spent[i]! += points
        longestGapMs = Math.max(longestGapMs, now - last)
        last = now
      }
    }
  }
  return { spent, longestGapMs, busiest: busiestWindow(counted, definition.windowMs) }
}

const sumOf = (points: readonly number[]): number => points.reduce((sum, one) => sum + one, 0)

describe('the pace of a short window', () => {
  const tenSeconds = limit({ allowed: 1000, windowMs: 10 * SECOND })

  it.each([1, 2, 4])('leaves less than 3 in 100 unused, for %i nodes that take all they can', (count) => {
    const nodes = Array.from({ length: count }, () => ({ priority: 'bulk' as const }))
    for (const definition of [limit(), tenSeconds]) {
      const { spent, busiest } = saturate(definition, nodes, 40)
      expect(busiest).toBeLessThanOrEqual(definition.allowed)
      expect(sumOf(spent) / (32 * 100)).toBeGreaterThan(0.97)
      for (const points of spent) expect(points / (sumOf(spent) / count)).toBeGreaterThan(0.9)
    }
  })

  it('spreads bulk evenly, from the beginning', () => {
    expect(saturate(tenSeconds, [{ priority: 'bulk' }], 30).longestGapMs).toBeLessThan(50)
  })

  it('goes on at the same pace while nodes ask seldom', () => {
    const { spent } = saturate(limit(), [{ priority: 'bulk' }, { priority: 'bulk' }], 20, {
      askEveryMs: 1000,
    })
    expect(sumOf(spent) / (16 * 100)).toBeGreaterThan(0.97)
  })

  it('gives the more urgent first, and the others their floor', () => {
    const { spent } = saturate(
      limit(),
      [{ priority: 'interactive' }, { priority: 'normal' }, { priority: 'bulk' }],
      40,
    )
    const total = sumOf(spent)
    expect(spent[0]! / total).toBeGreaterThan(0.7)
    expect(spent[1]! / total).toBeGreaterThan(0.1)
    expect(spent[2]! / total).toBeGreaterThan(0.03)
  })

  it('gives a node no more than it has calls for, and the others the rest', () => {
    const { spent } = saturate(limit(), [{ priority: 'bulk', perSecond: 10 }, { priority: 'bulk' }], 40)
    expect(spent[0]! / 32).toBeGreaterThan(9.5)
    expect(spent[1]! / 32).toBeGreaterThan(80)
  })

  it('lets nobody starve where there are fewer points than nodes', () => {
    const nodes = Array.from({ length: 4 }, () => ({ priority: 'bulk' as const }))
    const { spent, busiest } = saturate(limit({ allowed: 2 }), nodes, 200)
    expect(busiest).toBeLessThanOrEqual(2)
    expect(Math.min(...spent)).toBeGreaterThan(20)
    expect(sumOf(spent) / (160 * 2)).toBeGreaterThan(0.85)
  })

  it('gives dear calls all their points at once, and neither side starves', () => {
    const { spent } = saturate(
      limit({ allowed: 40 }),
      [{ priority: 'bulk', points: 30 }, { priority: 'bulk' }],
      100,
    )
    expect(spent[0]! % 30).toBe(0)
    expect(spent[0]! / sumOf(spent)).toBeGreaterThan(0.2)
    expect(spent[1]! / sumOf(spent)).toBeGreaterThan(0.2)
  })

  it('lets those who wait have a burst where there is room: all of it, half of it, or next to nothing', () => {
    const burst = (priority: Priority): number => {
      const lease = new LimitLease(limit())
      lease.arrived(priority, 1, START)
      const asked = lease.ask({ ...NO_WANTS, [priority]: 80 }, 80, START)
      lease.granted(exchange(NEW_BUDGET, limit(), { ...asked, node: 'a' }, START).grant, asked, START)
      let went = 0
      while (lease.lacks(1, priority, START) === undefined) {
        lease.take(1, START)
        went++
      }
      return went
    }
    expect(burst('interactive')).toBe(100)
    expect(burst('normal')).toBe(50)
    expect(burst('bulk')).toBe(1)
  })

  it('is not slower where answers take long, or now short now long', () => {
    for (const tookMs of [300, 3000]) {
      const { spent } = saturate(limit(), [{ priority: 'bulk' }], 40, { tookMs })
      expect(sumOf(spent) / (32 * 100)).toBeGreaterThan(0.95)
    }
  })

  it('comes back from a node that leaves as it used it, and from one that is dead when its time is over', () => {
    const leaving = new LimitLease(limit())
    leaving.arrived('interactive', 1, START)
    const asked = leaving.ask({ ...NO_WANTS, interactive: 100 }, 100, START)
    const first = exchange(NEW_BUDGET, limit(), { ...asked, node: 'a' }, START)
    leaving.granted(first.grant, asked, START)
    for (let i = 0; i < 40; i++) leaving.ended(leaving.take(1, START), START)

    const other = (state: BudgetState, at: number): number => {
      const lease = new LimitLease(limit())
      lease.arrived('interactive', 1, at)
      const wanted = lease.ask({ ...NO_WANTS, interactive: 100 }, 100, at)
      lease.granted(exchange(state, limit(), { ...wanted, node: 'b' }, at).grant, wanted, at)
      let went = 0
      while (lease.lacks(1, 'interactive', at) === undefined && lease.take(1, at)) went++
      return went
    }
    const left = exchange(first.state, limit(), { ...leaving.leave(ID, START + 1).ask, node: 'a' }, START + 1)
    expect(other(left.state, START + 2)).toBe(60)
    expect(other(left.state, START + 1100)).toBe(100)
    expect(other(first.state, START + 1600)).toBe(0)
    expect(other(first.state, START + 4000)).toBe(100)
  })
})
