import { describe, expect, it } from 'vitest'
import { DAY, HOUR } from '../base/index.ts'
import { forecastOf, type BudgetUse } from './index.ts'

const NOW = Date.UTC(2026, 10, 22, 9)
const use = (over: Partial<BudgetUse> = {}): BudgetUse => ({
  allowed: 1000,
  used: 400,
  windowMs: DAY,
  rate: 0,
  peaks: [],
  now: NOW,
  ...over,
})
const growing = (from: number, perDay: number, days: number): BudgetUse['peaks'] =>
  Array.from({ length: days }, (_, i) => ({ day: NOW - (days - i) * DAY, peak: from + i * perDay }))

describe('the forecast of a budget', () => {
  it("says when the day's allowance is gone at this rate", () => {
    expect(forecastOf(use({ rate: 100 / HOUR })).goneAt).toBe(NOW + 6 * HOUR)
    expect(forecastOf(use({ used: 1000 })).goneAt).toBe(NOW)
  })

  it('says nothing of a rate that the window bears', () => {
    expect(forecastOf(use({ rate: 1000 / DAY })).goneAt).toBeUndefined()
    expect(forecastOf(use()).goneAt).toBeUndefined()
  })

  it('says when growth reaches the limit, from a week of days on', () => {
    const found = forecastOf(use({ peaks: growing(0.3, 0.01, 20) })).reachedAt!
    expect(Math.round((found - NOW) / DAY)).toBe(50)
    expect(forecastOf(use({ peaks: growing(0.3, 0.01, 6) })).reachedAt).toBeUndefined()
  })

  it('says nothing of use that does not grow, nor of years to come', () => {
    expect(forecastOf(use({ peaks: growing(0.5, 0, 30) })).reachedAt).toBeUndefined()
    expect(forecastOf(use({ peaks: growing(0.5, -0.01, 30) })).reachedAt).toBeUndefined()
    expect(forecastOf(use({ peaks: growing(0.1, 0.0006, 30) })).reachedAt).toBeUndefined()
    expect(forecastOf(use({ peaks: growing(0.9, 0.02, 10) })).reachedAt).toBe(NOW)
  })
})
