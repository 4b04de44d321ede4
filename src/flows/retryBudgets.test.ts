import { describe, expect, it } from 'vitest'
import { seededRandom } from '../base/index.ts'
import { nextAttempt, RETRY_BUDGET, type RetryBudgetPolicy } from '../resilience/index.ts'
import { createFakeClock } from '../testing/index.ts'
import { retryPolicy } from './retry.ts'
import { RetryBudgets } from './retryBudgets.ts'

const CONNECTION = { tenant: 'default', id: 'con_1' }
const TICK_MS = 100
const failed = { as: 'failed', retryable: true, newKey: false, code: 'x', reason: 'x' } as const
const done = { as: 'not_found', exchange: {} as never } as const

/** Runs come at ten a second, and each is tried until it succeeds, by the back-off of a flow. */
function play(seconds: number, failing: (second: number) => number, policy?: Partial<RetryBudgetPolicy>) {
  const clock = createFakeClock()
  const budgets = new RetryBudgets(clock, policy)
  const random = seededRandom('storm')
  const backoff = retryPolicy({ first: '1 s', cap: '4 s' })
  const start = clock.now()
  let waiting: { attempt: number; at: number }[] = []
  const count = { first: 0, retries: 0, failedRetries: 0, done: 0 }
  const attempt = (number: number): void => {
    const isRetry = number > 1
    const heldUntil = isRetry ? budgets.heldUntil(CONNECTION) : undefined
    if (heldUntil !== undefined) return void waiting.push({ attempt: number, at: heldUntil })
    const fails = random.next() < failing((clock.now() - start) / 1000)
    budgets.made(CONNECTION, isRetry, fails ? failed : done)
    if (isRetry) count.retries++
    else count.first++
    if (isRetry && fails) count.failedRetries++
    if (!fails) return void count.done++
    const next = nextAttempt({ attempt: number, policy: backoff, elapsedMs: 0, now: clock.now(), random })
    waiting.push({ attempt: number + 1, at: (next as { at: number }).at })
  }
  for (let tick = 0; tick < (seconds * 1000) / TICK_MS; tick++) {
    clock.set(start + tick * TICK_MS)
    attempt(1)
    const due = waiting.filter(({ at }) => at <= clock.now())
    waiting = waiting.filter(({ at }) => at > clock.now())
    for (const one of due) attempt(one.attempt)
  }
  return { ...count, waiting: waiting.length }
}

describe('retries of a connection', () => {
  it('add no storm to a provider that fails everything', () => {
    const { first, retries } = play(300, () => 1)
    expect(first).toBe(3_000)
    expect(retries).toBeLessThanOrEqual(RETRY_BUDGET.burst + first * RETRY_BUDGET.share + 300)
  })

  it('CONTROL: without the budget there is a storm', () => {
    const { first, retries } = play(300, () => 1, { burst: 1e9 })
    expect(retries).toBeGreaterThan(10 * first)
  })

  it.each([0.1, 0.3, 0.358, 0.5, 0.8])('that fail at %d are no more than promised', (share) => {
    const { first, retries, failedRetries } = play(600, () => share)
    const floor = RETRY_BUDGET.burst + 600 * RETRY_BUDGET.perSecond
    expect(failedRetries).toBeLessThanOrEqual(first * RETRY_BUDGET.share + floor)
    // As many as are needed, or as many as the budget allows: at most 0.56 for each first attempt, and the floor.
    expect(retries).toBeLessThanOrEqual(first * 0.56 * 1.1 + floor / share)
  })

  it('are all made soon after the provider is back', () => {
    const outage = play(60, () => 1)
    const back = play(120, (second) => (second < 60 ? 1 : 0))
    expect(outage.waiting).toBe(600)
    expect(back).toMatchObject({ waiting: 0, done: 1_200 })
  })

  it('of another connection are not concerned', () => {
    const budgets = new RetryBudgets(createFakeClock())
    while (budgets.heldUntil(CONNECTION) === undefined) budgets.made(CONNECTION, true, failed)
    expect(budgets.heldUntil({ ...CONNECTION, id: 'con_2' })).toBeUndefined()
    expect(budgets.heldUntil({ ...CONNECTION, tenant: 'other' })).toBeUndefined()
  })

  it('that were not made after all cost nothing', () => {
    const budgets = new RetryBudgets(createFakeClock())
    for (let i = 0; i < 100; i++) {
      expect(budgets.heldUntil(CONNECTION)).toBeUndefined()
      budgets.made(CONNECTION, true, { as: 'deferred', until: 0, code: 'circuit_open', reason: 'open' })
    }
  })
})
