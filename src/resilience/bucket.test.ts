import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DAY, SECOND, seededRandom } from '../base/index.ts'
import type { LimitDefinition } from '../define/index.ts'
import { admit, blockUntil, emptyBudget, release, type Admission, type Budget } from './index.ts'

const START = 1_795_338_000_000
const limit = (over: Partial<LimitDefinition> = {}): LimitDefinition => ({
  name: 'second',
  allowed: 10,
  windowMs: SECOND,
  source: 'test',
  ...over,
})

/** Admits as many as are asked for at `now`; how many were, and the budget after. */
function takeAll(
  budget: Budget,
  limits: readonly LimitDefinition[],
  now: number,
  count: number,
): [number, Budget] {
  let taken = 0
  for (let i = 0; i < count; i++) {
    const admission = admit(budget, limits, now)
    budget = admission.budget
    if (admission.as === 'admitted') taken++
  }
  return [taken, budget]
}

/** The most that any window of this length holds. */
function busiestWindow(times: readonly (readonly [time: number, cost: number])[], windowMs: number): number {
  let most = 0
  let sum = 0
  let from = 0
  for (const [time, cost] of times) {
    sum += cost
    while (times[from]![0] <= time - windowMs) sum -= times[from++]![1]
    most = Math.max(most, sum)
  }
  return most
}

describe('a budget', () => {
  it('never admits more than the limit in any window, wherever it begins', () => {
    const arrivals = fc.array(fc.tuple(fc.integer({ min: 0, max: 700 }), fc.integer({ min: 1, max: 4 })), {
      minLength: 1,
      maxLength: 200,
    })
    const shape = fc.record({
      allowed: fc.integer({ min: 4, max: 30 }),
      windowMs: fc.constantFrom(100, 999, 1000, 10_000),
    })
    fc.assert(
      fc.property(shape, arrivals, fc.integer({ min: 0, max: 100_000 }), (shape, arrivals, offset) => {
        const limits = [limit(shape)]
        let budget = emptyBudget
        let now = START + offset
        const admitted: [number, number][] = []
        for (const [gap, cost] of arrivals) {
          now += gap
          const admission = admit(budget, limits, now, cost)
          budget = admission.budget
          if (admission.as === 'admitted') admitted.push([now, cost])
        }
        expect(busiestWindow(admitted, shape.windowMs)).toBeLessThanOrEqual(shape.allowed)
      }),
      { numRuns: 500 },
    )
  })

  it('and this check notices a plain token bucket, which lets a burst and the refill through', () => {
    let tokens = 10
    let last = START
    const admitted: [number, number][] = []
    for (let now = START; now < START + 2000; now += 10) {
      tokens = Math.min(10, tokens + ((now - last) * 10) / SECOND)
      last = now
      if (tokens >= 1) {
        tokens--
        admitted.push([now, 1])
      }
    }
    expect(busiestWindow(admitted, SECOND)).toBeGreaterThan(10)
  })

  it('lets a whole allowance out at once, and under steady pressure at least 90 % of it', () => {
    const limits = [limit({ allowed: 100 })]
    let [taken, budget] = takeAll(emptyBudget, limits, START, 500)
    expect(taken).toBe(100)
    let total = 0
    for (let now = START + 10; now < START + 60 * SECOND; now += 10) {
      ;[taken, budget] = takeAll(budget, limits, now, 5)
      total += taken
    }
    expect(total).toBeGreaterThanOrEqual(0.9 * 100 * 60)
    expect(total).toBeLessThanOrEqual(100 * 60)
  })

  it('holds several limits at once, and counts against none what one refuses', () => {
    const limits = [limit(), limit({ name: 'day', allowed: 15, windowMs: DAY })]
    let [taken, budget] = takeAll(emptyBudget, limits, START, 20)
    expect(taken).toBe(10)
    ;[taken, budget] = takeAll(budget, limits, START + 2 * SECOND, 20)
    expect(taken).toBe(5)
    const refused = admit(budget, limits, START + 4 * SECOND)
    expect(refused).toMatchObject({ as: 'deferred', limit: 'day' })
    // The refused calls have cost the day nothing: a limit of its own for the second is still whole.
    expect(takeAll(budget, [limit()], START + 4 * SECOND, 20)[0]).toBe(10)
  })

  it('gives those who wait their own turns, in order and at the pace of the limit', () => {
    const limits = [limit()]
    let [, budget] = takeAll(emptyBudget, limits, START, 10)
    const turns: number[] = []
    for (let i = 0; i < 50; i++) {
      const admission = admit(budget, limits, START + 1)
      budget = admission.budget
      if (admission.as === 'deferred') turns.push(admission.until)
    }
    expect(turns).toHaveLength(50)
    expect(turns[0]).toBeGreaterThanOrEqual(START + SECOND)
    expect(turns.at(-1)! - turns[0]!).toBe(49 * 100)
    expect(turns).toEqual(turns.toSorted((a, b) => a - b))
  })

  it('has room for nearly everybody who comes back at the given turn', () => {
    const limits = [limit({ allowed: 20, windowMs: 10 * SECOND })]
    const queue = Array.from({ length: 400 }, () => ({ at: START, from: START - 1 }))
    let budget = emptyBudget
    const admitted: [number, number][] = []
    let tries = 0
    while (queue.length > 0) {
      queue.sort((a, b) => a.at - b.at)
      const next = queue.shift()!
      tries++
      if (next.at <= next.from) throw new Error('a wait that is over at once')
      const admission: Admission = admit(budget, limits, next.at)
      budget = admission.budget
      if (admission.as === 'admitted') admitted.push([next.at, 1])
      else queue.push({ at: admission.until, from: next.at })
    }
    expect(admitted).toHaveLength(400)
    expect(tries).toBeLessThan(400 * 3)
    expect(busiestWindow(admitted, 10 * SECOND)).toBeLessThanOrEqual(20)
    // 400 at 20 per 10 s cannot take less than 190 s; paced, they take little more.
    expect(admitted.at(-1)![0] - START).toBeLessThan(240 * SECOND)
  })

  it('counts calls in flight until they are released', () => {
    const limits = [limit({ allowed: 100, concurrency: 3 })]
    let [taken, budget] = takeAll(emptyBudget, limits, START, 10)
    expect(taken).toBe(3)
    expect(admit(budget, limits, START)).toMatchObject({ as: 'deferred', concurrency: true, limit: 'second' })
    budget = release(budget, limits)
    ;[taken, budget] = takeAll(budget, limits, START, 10)
    expect(taken).toBe(1)
    for (let i = 0; i < 10; i++) budget = release(budget, limits)
    expect(takeAll(budget, limits, START + 10 * SECOND, 10)[0]).toBe(3)
  })

  it('admits nothing before the time that the provider named', () => {
    const limits = [limit()]
    const budget = blockUntil(emptyBudget, limits[0]!, START + 30 * SECOND, START)
    const deferred = admit(budget, limits, START + 1)
    expect(deferred).toMatchObject({ as: 'deferred', until: START + 30 * SECOND })
    expect(admit(budget, limits, START + 30 * SECOND)).toMatchObject({ as: 'admitted' })
    const shorter = blockUntil(budget, limits[0]!, START + SECOND, START)
    expect(admit(shorter, limits, START + 2 * SECOND)).toMatchObject({ as: 'deferred' })
  })

  it('is not held by a clock that was set back', () => {
    const limits = [limit()]
    const [, budget] = takeAll(emptyBudget, limits, START, 10)
    const blocked = blockUntil(budget, limits[0]!, START + DAY, START)
    expect(admit(blocked, limits, START - DAY)).toMatchObject({ as: 'admitted' })
    // A little back is not trusted: what was used still counts.
    expect(admit(budget, limits, START - 50)).toMatchObject({ as: 'deferred' })
  })

  it('changes nothing that it was given', () => {
    const limits = [limit()]
    const random = seededRandom('frozen')
    let budget = Object.freeze({ ...emptyBudget }) as Budget
    for (let i = 0; i < 100; i++) {
      budget = deepFreeze(admit(budget, limits, START + Math.floor(random.next() * 3000)).budget)
      budget = deepFreeze(release(budget, limits))
    }
  })

  it('admits a cost above the whole limit when the window is empty, and then nothing', () => {
    const limits = [limit()]
    const first = admit(emptyBudget, limits, START, 1000)
    expect(first.as).toBe('admitted')
    expect(admit(first.budget, limits, START + 1).as).toBe('deferred')
  })
})

function deepFreeze<T>(value: T): T {
  if (value !== null && typeof value === 'object') {
    Object.freeze(value)
    for (const child of Object.values(value)) deepFreeze(child)
  }
  return value
}
