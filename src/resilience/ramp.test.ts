import { describe, expect, it } from 'vitest'
import { SECOND } from '../base/index.ts'
import { RAMP_POLICY, releaseNow } from './index.ts'
import { paceAt } from './ramp.ts'

const START = 1_795_338_000_000
const TICK = 200

/** Lets go for so long, with calls that take `callMs` each. Gives the numbers let go in each second. */
function drain(seconds: number, budget: number | undefined, callMs = 0): number[] {
  let [usedUntil, released] = [START, 0]
  const flying: number[] = []
  const perSecond: number[] = Array.from({ length: seconds }, () => 0)
  for (let ms = 0; ms < seconds * SECOND; ms += TICK) {
    const now = START + ms
    while (flying[0] !== undefined && flying[0] <= now) flying.shift()
    const state = { returnedAt: START, usedUntil, released }
    const release = releaseNow(RAMP_POLICY, state, { now, underWay: flying.length, budget })
    for (let i = 0; i < release.count; i++) flying.push(now + callMs)
    usedUntil = release.usedUntil
    released += release.count
    perSecond[Math.floor(ms / SECOND)]! += release.count
  }
  return perSecond
}

describe('a ramp', () => {
  it('begins with one, doubles, and goes on at what the budget allows, never above', () => {
    const perSecond = drain(30, 50)
    expect(perSecond[0]).toBeLessThanOrEqual(2)
    for (const [i, count] of perSecond.entries()) {
      expect(count).toBeLessThanOrEqual(50)
      expect(count).toBeLessThanOrEqual(2 ** (i + 1))
    }
    expect(perSecond.slice(10)).toEqual(Array(20).fill(50))
  })

  it('waits for the first to come through before it lets the next go', () => {
    expect(drain(10, 50, 100 * SECOND).reduce((sum, count) => sum + count)).toBe(1)
  })

  it('never has more under way than two seconds’ worth', () => {
    expect(drain(60, 10, 100 * SECOND).reduce((sum, count) => sum + count)).toBeLessThanOrEqual(20)
  })

  it('does not make up for time in which it was not asked', () => {
    const state = { returnedAt: START, usedUntil: START, released: 1000 }
    const late = releaseNow(RAMP_POLICY, state, { now: START + 600 * SECOND, underWay: 0, budget: 50 })
    expect(late).toEqual({ count: 50, usedUntil: START + 600 * SECOND, full: true })
  })

  it('keeps fractions of a pace: three in ten seconds are three in ten seconds', () => {
    expect(drain(100, 0.3).reduce((sum, count) => sum + count)).toBeGreaterThanOrEqual(29)
    expect(drain(100, 0.3).reduce((sum, count) => sum + count)).toBeLessThanOrEqual(31)
  })

  it('grows on slowly where the provider declares no limit', () => {
    expect(paceAt(RAMP_POLICY, 10 * SECOND, undefined)).toBe(200)
    expect(paceAt(RAMP_POLICY, 100 * SECOND, undefined)).toBe(1100)
  })

  it('lets nobody go while the provider wants nothing sent', () => {
    const given = { now: START + 10 * SECOND, underWay: 0, budget: 0 }
    const state = { returnedAt: START, usedUntil: START, released: 0 }
    expect(releaseNow(RAMP_POLICY, state, given)).toEqual({ count: 0, usedUntil: given.now, full: false })
    expect(releaseNow(RAMP_POLICY, state, { ...given, budget: 5 }).count).toBe(1)
  })
})
