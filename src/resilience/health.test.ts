import { describe, expect, it } from 'vitest'
import { SECOND } from '../base/index.ts'
import {
  BREAKER_POLICY,
  counted,
  mostFail,
  totals,
  unknownHealth,
  verdictOf,
  type HealthResult,
} from './index.ts'
import type { Health } from './health.ts'

const policy = BREAKER_POLICY
const START = 1_795_338_000_000

function after(health: Health, result: HealthResult, times: number, now = START): Health {
  for (let i = 0; i < times; i++) health = counted(health, policy, result, now)
  return health
}
const verdict = (health: Health, now = START): string => verdictOf(health, policy, now)

describe('health', () => {
  it('is good while there are few results, and while less than half of them are failures', () => {
    expect(verdict(after(unknownHealth, 'failure', 9))).toBe('healthy')
    expect(verdict(after(after(unknownHealth, 'success', 11), 'failure', 10))).toBe('healthy')
    expect(verdict(after(unknownHealth, 'neutral', 100))).toBe('healthy')
  })

  it('is failing when half of at least ten fail', () => {
    expect(verdict(after(unknownHealth, 'failure', 10))).toBe('failing')
    expect(verdict(after(after(unknownHealth, 'success', 10), 'failure', 10))).toBe('failing')
  })

  it('is slow when four of five answers are', () => {
    expect(verdict(after(after(unknownHealth, 'slow', 15), 'success', 5))).toBe('healthy')
    expect(verdict(after(after(unknownHealth, 'slow', 16), 'success', 4))).toBe('slow')
    expect(verdict(after(after(unknownHealth, 'slow', 8), 'failure', 2))).toBe('slow')
  })

  it('forgets what is older than its window', () => {
    const failing = after(unknownHealth, 'failure', 9)
    expect(verdict(after(failing, 'failure', 1, START + 31 * SECOND), START + 31 * SECOND)).toBe('healthy')
    expect(verdict(after(failing, 'failure', 1, START + 20 * SECOND), START + 20 * SECOND)).toBe('failing')
    expect(totals(failing, policy, START + 31 * SECOND).all).toBe(0)
    expect(totals(failing, policy, START + 10 * SECOND).failed).toBe(9)
  })

  it('can be asked of one result, of a provider that has just come back', () => {
    expect(verdictOf(after(unknownHealth, 'failure', 1), policy, START, 1)).toBe('failing')
    expect(verdictOf(unknownHealth, policy, START, 1)).toBe('healthy')
  })

  it('begins anew where the clock was set far back', () => {
    const failing = after(unknownHealth, 'failure', 9)
    expect(
      totals(after(failing, 'failure', 1, START - 3600 * SECOND), policy, START - 3600 * SECOND).all,
    ).toBe(1)
  })
})

describe('most groups fail', () => {
  it('when more than one does and more than half of those in use do', () => {
    const set = (...names: string[]) => new Set(names)
    expect(mostFail(set('a'), set('a'))).toBe(false)
    expect(mostFail(set('a', 'b'), set('a'))).toBe(true)
    expect(mostFail(set('a', 'b'), set('c', 'd'))).toBe(false)
    expect(mostFail(set('a', 'b'), set('c'))).toBe(true)
  })

  it('of several that counted apart is that of one who counted all, each by its own time', () => {
    const later = START + 7 * SECOND
    const one = after(unknownHealth, 'failure', 4)
    const others = [after(unknownHealth, 'failure', 3, later), after(unknownHealth, 'failure', 3, later)]
    const together = (now: number): string => verdictOf(one, policy, now, undefined, others)
    expect(verdict(one, later)).toBe('healthy')
    expect(together(later)).toBe('failing')
    expect(together(START + 31 * SECOND)).toBe('healthy')
    const good = after(unknownHealth, 'success', 11, later)
    expect(verdictOf(one, policy, later, undefined, [...others, good])).toBe('healthy')
  })
})
