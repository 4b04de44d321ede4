import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { SECOND } from '../base/index.ts'
import {
  BREAKER_MOVES,
  BREAKER_POLICY,
  closedBreaker,
  isolate,
  permit,
  record,
  restore,
  type Breaker,
  type BreakerResult,
} from './index.ts'

const policy = BREAKER_POLICY
const START = 1_795_338_000_000

function after(breaker: Breaker, result: BreakerResult, times: number, now = START): Breaker {
  for (let i = 0; i < times; i++) breaker = record(breaker, policy, result, { probe: false, now })
  return breaker
}

/** Lets one probe out at `now` and gives its result. */
function probe(breaker: Breaker, result: BreakerResult, now: number): Breaker {
  const permission = permit(breaker, policy, now)
  expect(permission).toMatchObject({ as: 'permitted', probe: true })
  return record(permission.breaker, policy, result, { probe: true, now })
}

describe('a breaker', () => {
  it('stays closed for few results, and while less than half of them fail', () => {
    expect(after(closedBreaker, 'failure', 9).state).toBe('closed')
    expect(after(after(closedBreaker, 'success', 11), 'failure', 10).state).toBe('closed')
    expect(after(closedBreaker, 'neutral', 100).state).toBe('closed')
  })

  it('opens when half of at least ten fail', () => {
    expect(after(closedBreaker, 'failure', 10).state).toBe('open')
    expect(after(after(closedBreaker, 'success', 10), 'failure', 10).state).toBe('open')
  })

  it('forgets what is older than its window', () => {
    const failing = after(closedBreaker, 'failure', 9, START)
    expect(after(failing, 'failure', 1, START + 31 * SECOND).state).toBe('closed')
    expect(after(failing, 'failure', 1, START + 20 * SECOND).state).toBe('open')
  })

  it('refuses while open, lets one probe out, and closes if two succeed', () => {
    let breaker = after(closedBreaker, 'failure', 10)
    expect(permit(breaker, policy, START + 4999)).toMatchObject({ as: 'refused', until: START + 5000 })
    const probing = permit(breaker, policy, START + 5000)
    expect(probing).toMatchObject({ as: 'permitted', probe: true })
    expect(permit(probing.breaker, policy, START + 5000).as).toBe('refused')
    breaker = record(probing.breaker, policy, 'success', { probe: true, now: START + 5100 })
    expect(breaker.state).toBe('half_open')
    expect(probe(breaker, 'success', START + 5200).state).toBe('closed')
  })

  it('opens again for twice as long with each probe that fails, up to a limit', () => {
    let breaker = after(closedBreaker, 'failure', 10)
    const waits: number[] = []
    let now = START
    for (let i = 0; i < 8; i++) {
      if (breaker.state !== 'open') throw new Error(breaker.state)
      waits.push((breaker.until - now) / SECOND)
      now = breaker.until
      breaker = probe(breaker, 'failure', now)
    }
    expect(waits).toEqual([5, 10, 20, 40, 80, 120, 120, 120])
  })

  it('gives its place back when a probe says nothing about the provider', () => {
    let breaker = after(closedBreaker, 'failure', 10)
    breaker = probe(breaker, 'neutral', START + 5000)
    expect(breaker).toMatchObject({ state: 'half_open', probing: 0 })
    expect(permit(breaker, policy, START + 5001).as).toBe('permitted')
  })

  it('begins counting anew once closed', () => {
    let breaker = after(closedBreaker, 'failure', 10)
    breaker = probe(probe(breaker, 'success', START + 5000), 'success', START + 5001)
    expect(after(breaker, 'failure', 9, START + 5002).state).toBe('closed')
  })

  it('is not moved by results of calls from before it opened', () => {
    const open = after(closedBreaker, 'failure', 10)
    expect(after(open, 'success', 50)).toBe(open)
    const half = permit(open, policy, START + 5000).breaker
    expect(after(half, 'failure', 50)).toBe(half)
    expect(record(closedBreaker, policy, 'failure', { probe: true, now: START })).toBe(closedBreaker)
  })

  it('brings those who wait back one after another', () => {
    let breaker = after(closedBreaker, 'failure', 10)
    const turns: number[] = []
    for (let i = 0; i < 200; i++) {
      const permission = permit(breaker, policy, START + 1)
      breaker = permission.breaker
      if (permission.as === 'refused') turns.push(permission.until)
    }
    expect(turns[0]).toBe(START + 5000)
    expect(turns.at(-1)! - turns[0]!).toBe(1990)
    expect(new Set(turns).size).toBe(200)
  })

  it('is isolated and restored by hand only', () => {
    const isolated = isolate(closedBreaker)
    expect(permit(isolated, policy, START).as).toBe('refused')
    expect(after(isolated, 'success', 50)).toBe(isolated)
    expect(permit(isolated, policy, START + 1e9).as).toBe('refused')
    expect(restore(isolated)).toBe(closedBreaker)
    const open = after(closedBreaker, 'failure', 10)
    expect(restore(open)).toBe(open)
  })

  it('makes only legal moves, and never has more probes out than allowed', () => {
    const acts = fc.array(
      fc.oneof(
        fc.record({ act: fc.constant('call' as const), gap: fc.integer({ min: 0, max: 8000 }) }),
        fc.record({
          act: fc.constant('result' as const),
          which: fc.nat(),
          result: fc.constantFrom<BreakerResult>('success', 'failure', 'failure', 'neutral'),
        }),
        fc.record({ act: fc.constant('isolate' as const) }),
        fc.record({ act: fc.constant('restore' as const) }),
      ),
      { maxLength: 300 },
    )
    const tight = { ...policy, minimumResults: 3 }
    fc.assert(
      fc.property(acts, (acts) => {
        const wrong: string[] = []
        let breaker: Breaker = closedBreaker
        let now = START
        let flying: boolean[] = []
        let byHand = false
        const move = (to: Breaker): void => {
          if (to.state !== breaker.state && !BREAKER_MOVES[breaker.state].includes(to.state))
            wrong.push(`moved from ${breaker.state} to ${to.state}`)
          breaker = to
        }
        for (const act of acts) {
          if (act.act === 'call') {
            now += act.gap
            const isolated = breaker.state === 'isolated'
            const permission = permit(breaker, tight, now)
            move(permission.breaker)
            if (permission.as === 'permitted') flying = [...flying, permission.probe]
            else if (permission.until <= now) wrong.push('a wait that is over at once')
            if (isolated && permission.as === 'permitted') wrong.push('let out while isolated')
          } else if (act.act === 'result') {
            const index = act.which % Math.max(1, flying.length)
            const probe = flying[index]
            if (probe === undefined) continue
            flying = flying.filter((_, i) => i !== index)
            move(record(breaker, tight, act.result, { probe, now }))
          } else {
            byHand = true
            move(act.act === 'isolate' ? isolate(breaker) : restore(breaker))
          }
          if (!byHand && flying.filter(Boolean).length > tight.probes) wrong.push('too many probes out')
        }
        expect(wrong).toEqual([])
      }),
      { numRuns: 500 },
    )
  })
})
