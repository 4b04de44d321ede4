import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DAY, HOUR, MINUTE, SECOND, seededRandom } from '../base/index.ts'
import { LONGEST_RETRY_AFTER_MS, nextAttempt, type NextAttemptContext } from './index.ts'

const policy = { first: SECOND, cap: 15 * MINUTE, horizon: 72 * HOUR, attempts: Number.POSITIVE_INFINITY }
const NOW = 1_795_338_000_000
const ask = (over: Partial<NextAttemptContext> = {}): ReturnType<typeof nextAttempt> =>
  nextAttempt({ attempt: 1, policy, elapsedMs: 0, now: NOW, random: { next: () => 0.999_999 }, ...over })
const waitOf = (over: Partial<NextAttemptContext> = {}): number => {
  const next = ask(over)
  if (next.as !== 'retry') throw new Error(next.as)
  return next.at - NOW
}

describe('back-off', () => {
  it('doubles its ceiling from the first wait up to the cap', () => {
    const ceilings = Array.from({ length: 14 }, (_, i) => Math.ceil(waitOf({ attempt: i + 1 }) / SECOND))
    expect(ceilings).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900])
  })

  it('waits anything from nothing to the ceiling (full jitter)', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10_000 }), fc.string(), (attempt, seed) => {
        const wait = waitOf({ attempt, random: seededRandom(seed) })
        expect(wait).toBeGreaterThanOrEqual(0)
        expect(wait).toBeLessThan(Math.min(policy.cap, policy.first * 2 ** (attempt - 1)))
      }),
    )
    expect(waitOf({ attempt: 20, random: { next: () => 0 } })).toBe(0)
  })

  it('spreads those that failed together over the whole range', () => {
    const random = seededRandom('spread')
    const waits = Array.from({ length: 10_000 }, () => waitOf({ attempt: 11, random }))
    const tenths = Array.from(
      { length: 10 },
      (_, i) => waits.filter((ms) => Math.floor(ms / 90_000) === i).length,
    )
    for (const count of tenths) expect(count).toBeGreaterThan(850)
  })

  it('ends at the horizon, and after the attempts that the policy allows', () => {
    expect(ask({ attempt: 300, elapsedMs: 72 * HOUR - 20 * MINUTE }).as).toBe('retry')
    expect(ask({ attempt: 300, elapsedMs: 72 * HOUR - 10 * MINUTE }).as).toBe('exhausted')
    expect(ask({ attempt: 3, policy: { ...policy, attempts: 3 } }).as).toBe('exhausted')
    expect(ask({ attempt: 2, policy: { ...policy, attempts: 3 } }).as).toBe('retry')
  })

  it('is tried for days, as outages last', () => {
    const random = seededRandom('three days')
    let elapsedMs = 0
    let attempt = 0
    for (;;) {
      const next = nextAttempt({ attempt: ++attempt, policy, elapsedMs, now: NOW + elapsedMs, random })
      if (next.as !== 'retry') break
      elapsedMs = next.at - NOW
    }
    expect(elapsedMs).toBeGreaterThan(71 * HOUR)
    expect(attempt).toBeGreaterThan(300)
  })
})

describe('a time that the provider named', () => {
  it('is never undercut, and little exceeded', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 30 }),
        fc.integer({ min: 1, max: 24 * HOUR }),
        fc.string(),
        (attempt, asked, seed) => {
          const wait = waitOf({ attempt, retryAt: NOW + asked, random: seededRandom(seed) })
          expect(wait).toBeGreaterThanOrEqual(asked)
          expect(wait).toBeLessThanOrEqual(asked + Math.max(SECOND, asked / 10))
        },
      ),
    )
  })

  it('in the past counts as none', () => {
    expect(waitOf({ retryAt: NOW - DAY })).toBe(waitOf())
    expect(waitOf({ retryAt: NOW })).toBe(waitOf())
  })

  it('parks beyond 24 hours, and says until when', () => {
    expect(ask({ retryAt: NOW + LONGEST_RETRY_AFTER_MS }).as).toBe('retry')
    const parked = ask({ retryAt: NOW + LONGEST_RETRY_AFTER_MS + 1 })
    expect(parked).toMatchObject({ as: 'park' })
    expect(parked.as === 'park' && parked.reason).toContain(new Date(NOW + DAY + 1).toISOString())
    expect(ask({ retryAt: 8.7e15 }).as).toBe('park')
    expect(ask({ retryAt: Number.POSITIVE_INFINITY }).as).toBe('park')
  })
})
