import { describe, expect, it } from 'vitest'
import { MINUTE, SECOND } from '../base/index.ts'
import { usualMs } from './adaptiveTimeout.ts'
import { measured, noLatencies, slowFrom, timeoutFor, type Latencies } from './index.ts'

const START = 1_795_338_000_000
const BOUND = 30 * SECOND

function after(latencies: Latencies, ms: number, times: number, now = START): Latencies {
  for (let i = 0; i < times; i++) latencies = measured(latencies, ms, now)
  return latencies
}

describe('an adaptive time-out', () => {
  it('is the operation’s own bound until a hundred answers are known', () => {
    expect(timeoutFor(after(noLatencies, 50, 99), BOUND, START)).toBe(BOUND)
    expect(timeoutFor(after(noLatencies, 50, 100), BOUND, START)).toBe(2 * SECOND)
  })

  it('is four times what is usual, and never beyond the bound', () => {
    const usual = after(noLatencies, 1500, 200)
    const p99 = usualMs(usual, START)!
    expect(p99).toBeGreaterThanOrEqual(1500)
    expect(p99).toBeLessThan(1500 * 1.25)
    expect(timeoutFor(usual, BOUND, START)).toBe(Math.round(p99 * 4))
    expect(timeoutFor(usual, 3 * SECOND, START)).toBe(3 * SECOND)
  })

  it('takes one slow answer in a hundred as usual, and fewer not', () => {
    expect(usualMs(after(after(noLatencies, 50, 198), 8000, 1), START)).toBeLessThan(100)
    expect(usualMs(after(after(noLatencies, 50, 196), 8000, 4), START)).toBeGreaterThan(5000)
  })

  it('grows with answers that run into it, so that a provider that has become slower is followed', () => {
    let latencies = after(noLatencies, 50, 200)
    const first = timeoutFor(latencies, BOUND, START)
    latencies = after(latencies, first, 20)
    expect(timeoutFor(latencies, BOUND, START)).toBeGreaterThan(2 * first)
  })

  it('forgets what was usual ten minutes ago', () => {
    const old = after(noLatencies, 5000, 200)
    const newer = after(old, 50, 200, START + 6 * MINUTE)
    expect(usualMs(newer, START + 6 * MINUTE)).toBeGreaterThan(4000)
    expect(usualMs(after(newer, 50, 100, START + 12 * MINUTE), START + 12 * MINUTE)).toBeLessThan(100)
    expect(usualMs(old, START + 20 * MINUTE)).toBeUndefined()
  })
})

describe('a slow answer', () => {
  it('takes five times as long as the middle, at least a second, or half of the bound', () => {
    expect(slowFrom(noLatencies, BOUND, START)).toBe(15 * SECOND)
    expect(slowFrom(after(noLatencies, 50, 200), BOUND, START)).toBe(SECOND)
    expect(slowFrom(after(noLatencies, 1000, 200), BOUND, START)).toBeGreaterThanOrEqual(5 * SECOND)
    expect(slowFrom(after(noLatencies, 4000, 200), BOUND, START)).toBe(15 * SECOND)
    // Slow answers make none of them usual until half of all are.
    expect(slowFrom(after(after(noLatencies, 50, 200), 8000, 150), BOUND, START)).toBe(SECOND)
  })
})
