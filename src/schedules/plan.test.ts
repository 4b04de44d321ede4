import { describe, expect, it } from 'vitest'
import { HOUR, MINUTE, SECOND } from '../base/index.ts'
import type { MissedPolicy } from '../define/index.ts'
import { createOccurrences } from './occurrences.ts'
import { FIRINGS_AT_ONCE, planFirings } from './plan.ts'

const NINE = Date.UTC(2026, 10, 22, 9)

function plan(missed: MissedPolicy, dueAt: number, now: number, expression = '0 * * * *') {
  const occurrences = createOccurrences(expression, 'UTC')
  return planFirings({ occurrences, missed, dueAt, previous: dueAt - HOUR, now })
}

describe('a time that is due', () => {
  it.each<MissedPolicy>(['all', 'last', 'skip'])('runs, and the next comes after it (%s)', (missed) => {
    expect(plan(missed, NINE, NINE + SECOND)).toEqual({
      firings: [{ scheduledFor: NINE, previous: NINE - HOUR }],
      skipped: undefined,
      nextDueAt: NINE + HOUR,
    })
  })
})

describe('times that were missed', () => {
  const now = NINE + 3 * HOUR + 20 * MINUTE

  it('all: each runs, the oldest first, and knows the one before', () => {
    expect(plan('all', NINE, now)).toEqual({
      firings: [0, 1, 2, 3].map((n) => ({
        scheduledFor: NINE + n * HOUR,
        previous: NINE + (n - 1) * HOUR,
      })),
      skipped: undefined,
      nextDueAt: NINE + 4 * HOUR,
    })
  })

  it('all: more than one transaction takes are left due', () => {
    const found = plan('all', NINE, NINE + 100 * MINUTE, '* * * * *')
    expect(found.firings).toHaveLength(FIRINGS_AT_ONCE)
    expect(found.nextDueAt).toBe(NINE + FIRINGS_AT_ONCE * MINUTE)
  })

  it('last: the latest runs and covers those before, which are on record', () => {
    expect(plan('last', NINE, now)).toEqual({
      firings: [{ scheduledFor: NINE + 3 * HOUR, previous: NINE - HOUR }],
      skipped: { from: NINE, to: NINE + 2 * HOUR, count: 3, exact: true },
      nextDueAt: NINE + 4 * HOUR,
    })
  })

  it('skip: none runs that is over a minute late, which is on record', () => {
    expect(plan('skip', NINE, now)).toEqual({
      firings: [],
      skipped: { from: NINE, to: NINE + 3 * HOUR, count: 4, exact: true },
      nextDueAt: NINE + 4 * HOUR,
    })
    expect(plan('skip', NINE, NINE + 3 * HOUR + SECOND)).toMatchObject({
      firings: [{ scheduledFor: NINE + 3 * HOUR }],
      skipped: { count: 3 },
    })
  })

  it('are counted up to a limit, and no further', () => {
    expect(plan('last', NINE, NINE + 100_000 * MINUTE, '* * * * *').skipped).toEqual({
      from: NINE,
      to: NINE + 100_000 * MINUTE,
      count: 1000,
      exact: false,
    })
  })
})
