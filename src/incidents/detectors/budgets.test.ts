import { describe, expect, it } from 'vitest'
import { DAY, HOUR, MINUTE, SECOND } from '../../base/index.ts'
import { BLOCKED_MS, conditionOf, GONE_WITHIN_MS, NEAR, NOT_NEAR } from './budgets.ts'

const now = Date.UTC(2026, 10, 22, 14, 3, 5)
type Fact = Parameters<typeof conditionOf>[0]
const fact = (over: Partial<Fact>): Fact => ({
  connectionId: 'con_1',
  name: 'hubspot',
  limit: { name: 'day', allowed: 1_000, windowMs: DAY, source: 'test' },
  ours: 1_000,
  used: 0,
  goneAt: undefined,
  blockedUntil: 0,
  spender: 'appointment-completed',
  told: false,
  ...over,
})

describe('a budget near its end', () => {
  it('is told from four fifths on, and over only when there is clearly room again', () => {
    expect(conditionOf(fact({ used: NEAR * 1_000 - 1 }), now)).toBeUndefined()
    expect(conditionOf(fact({ used: NEAR * 1_000 }), now)).toMatchObject({
      title: 'The budget "day" of hubspot is near its end',
      what: '800 of 1,000 calls that hubspot allows in 1 day ("day") are used.',
      holdsUp: 'Nothing yet: 200 calls left.',
    })
    expect(conditionOf(fact({ used: NOT_NEAR * 1_000, told: true }), now)).toBeDefined()
    expect(conditionOf(fact({ used: NOT_NEAR * 1_000 - 1, told: true }), now)).toBeUndefined()
  })

  it('is told from half on where it is gone soon at this rate, and says when', () => {
    const soon = { used: 600, goneAt: now + GONE_WITHIN_MS }
    expect(conditionOf(fact(soon), now)?.what).toContain(
      'At this rate the rest is gone at 2026-11-22 16:03:05 UTC.',
    )
    expect(conditionOf(fact({ ...soon, goneAt: now + GONE_WITHIN_MS + SECOND }), now)).toBeUndefined()
    expect(conditionOf(fact({ ...soon, used: 400 }), now)).toBeUndefined()
  })

  it('is what others leave of it', () => {
    expect(conditionOf(fact({ ours: 500, used: 400 }), now)).toBeDefined()
  })

  it('is told where the provider wants nothing for long', () => {
    expect(conditionOf(fact({ blockedUntil: now + BLOCKED_MS }), now)).toBeUndefined()
    expect(conditionOf(fact({ blockedUntil: now + HOUR }), now)?.what).toBe(
      'hubspot wants no calls until 2026-11-22 15:03:05 UTC: its limit "day" is used up.',
    )
  })

  it('is nothing for a window that is there to be used up', () => {
    const limit = { name: 'second', allowed: 10, windowMs: 10 * SECOND, source: 'test' }
    expect(conditionOf(fact({ limit, ours: 10, used: 10, goneAt: now }), now)).toBeUndefined()
    expect(conditionOf(fact({ limit, ours: 10, used: 10, blockedUntil: now + MINUTE }), now)).toBeUndefined()
  })
})
