import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  CALM_MS,
  FAILURES_IN_ROW,
  FORGET_MS,
  isOver,
  nextStreak,
  type CallsSeen,
  type Streak,
} from './streaks.ts'

type Call = 'ok' | 'failed'

/** What the database would say of calls that came at these times. */
function seen(calls: readonly Call[], from: number): CallsSeen {
  const lastOk = calls.lastIndexOf('ok')
  const failed = calls.flatMap((call, i) => (call === 'failed' && i > lastOk ? [from + i] : []))
  return {
    connectionId: 'con_1',
    target: 'acme.things.create',
    succeededAt: lastOk < 0 ? undefined : from + lastOk,
    failures: failed.length,
    firstFailedAt: failed[0],
    failedAt: failed.at(-1),
    code: 'http_503',
    reason: 'HTTP 503',
    runIds: failed.map((at) => `run_${at}`),
  }
}

function fold(stretches: readonly (readonly Call[])[]): Streak | undefined {
  let streak: Streak | undefined
  let at = 1
  for (const calls of stretches) {
    if (calls.length > 0) streak = nextStreak(streak, seen(calls, at))
    at += calls.length
  }
  return streak
}

describe('failing calls in a row', () => {
  it('are an incident from the third on, however the ledger was cut into stretches', () => {
    expect(fold([['failed'], ['failed']])?.alerted).toBe(false)
    expect(fold([['failed'], ['failed'], ['failed']])).toMatchObject({ alerted: true, inRow: 3, since: 1 })
    expect(fold([['failed', 'failed', 'failed']])).toMatchObject({ alerted: true, inRow: 3, since: 1 })
  })

  it('begin anew after one that succeeded', () => {
    expect(fold([['failed', 'failed', 'ok', 'failed', 'failed']])).toMatchObject({
      alerted: false,
      inRow: 2,
      since: 4,
    })
    expect(fold([['failed', 'failed'], ['ok'], ['failed']])).toMatchObject({
      alerted: false,
      inRow: 1,
      since: 4,
    })
    expect(fold([['failed', 'failed'], ['ok']])).toBeUndefined()
  })

  it('are judged the same whatever the cuts', () => {
    const calls = fc.array(fc.constantFrom<Call>('ok', 'failed'), { maxLength: 30 })
    fc.assert(
      fc.property(calls, fc.array(fc.nat(30), { maxLength: 6 }), (all, cuts) => {
        const at = [0, ...cuts.filter((cut) => cut <= all.length).toSorted((a, b) => a - b), all.length]
        const inRow = fold(at.slice(1).map((end, i) => all.slice(at[i], end)))?.inRow ?? 0
        const lastOk = all.lastIndexOf('ok')
        expect(inRow).toBe(all.length - 1 - lastOk)
      }),
    )
  })

  it('are over only when calls have been succeeding for a while', () => {
    const failing = fold([['failed', 'failed', 'failed']])!
    const mended = nextStreak(failing, seen(['ok'], 10))!
    expect(mended).toMatchObject({ alerted: true, inRow: 0, since: 1, total: FAILURES_IN_ROW })
    expect(isOver(failing, failing.failedAt + CALM_MS)).toBe(false)
    expect(isOver(mended, mended.failedAt + CALM_MS - 1)).toBe(false)
    expect(isOver(mended, mended.failedAt + CALM_MS)).toBe(true)
    const again = nextStreak(mended, seen(['failed'], 20))!
    expect(again).toMatchObject({ alerted: true, inRow: 1, since: 1, total: 4 })
    expect(isOver(again, again.failedAt + CALM_MS)).toBe(false)
  })

  it('are forgotten where no call was made for a week', () => {
    const failing = fold([['failed', 'failed', 'failed']])!
    expect(isOver(failing, failing.failedAt + FORGET_MS)).toBe(true)
  })
})
