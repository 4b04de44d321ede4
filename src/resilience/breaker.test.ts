import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MINUTE, SECOND } from '../base/index.ts'
import type { BreakerState } from '../define/index.ts'
import {
  afterProbe,
  BREAKER_MOVES,
  BREAKER_POLICY,
  isolated,
  opened,
  releasedByHand,
  type Breaker,
} from './index.ts'

const policy = BREAKER_POLICY
const START = 1_795_338_000_000

describe('a breaker', () => {
  it('opens for five seconds, and for twice as long with each probe that fails, up to two minutes', () => {
    let breaker = opened(undefined, policy, START)
    let now = START
    const waits: number[] = []
    for (let i = 0; i < 8; i++) {
      if (breaker.state !== 'open') throw new Error(breaker.state)
      waits.push((breaker.until - now) / SECOND)
      now = breaker.until
      breaker = afterProbe(breaker, false, policy, now)
    }
    expect(waits).toEqual([5, 10, 20, 40, 80, 120, 120, 120])
  })

  it('is half open after a probe that found the provider there', () => {
    const half = afterProbe(opened(undefined, policy, START), true, policy, START + 5000)
    expect(half).toEqual({ state: 'half_open', since: START + 5000, openings: 1 })
  })

  it('opens for longer where it fails again while half open', () => {
    const half = afterProbe(opened(undefined, policy, START), true, policy, START + 5000)
    expect(opened(half, policy, START + 6000)).toEqual({ state: 'open', until: START + 16_000, openings: 2 })
  })

  it('is held by a person until a person lets it go; no probe and no failure changes that', () => {
    const held = isolated()
    expect(opened(held, policy, START)).toBe(held)
    expect(afterProbe(held, true, policy, START)).toBe(held)
    expect(releasedByHand(held, START + MINUTE)).toEqual({
      state: 'half_open',
      since: START + MINUTE,
      openings: 0,
    })
    const open = opened(undefined, policy, START)
    expect(releasedByHand(open, START)).toBe(open)
  })

  it('makes only legal moves', () => {
    const acts = fc.array(fc.constantFrom('fail', 'alive', 'dead', 'isolate', 'release', 'close'), {
      maxLength: 100,
    })
    fc.assert(
      fc.property(acts, (acts) => {
        const wrong: string[] = []
        let breaker: Breaker | undefined
        for (const act of acts) {
          const before = breaker
          if (act === 'fail') breaker = opened(breaker, policy, START)
          else if (act === 'isolate') breaker = isolated()
          else if (breaker === undefined) continue
          else if (act === 'release') breaker = releasedByHand(breaker, START)
          else if (act !== 'close') breaker = afterProbe(breaker, act === 'alive', policy, START)
          else if (breaker.state === 'half_open') breaker = undefined
          if (breaker === before) continue
          const from: BreakerState = before?.state ?? 'closed'
          const to: BreakerState = breaker?.state ?? 'closed'
          if (from !== to && !BREAKER_MOVES[from].includes(to)) wrong.push(`moved from ${from} to ${to}`)
        }
        expect(wrong).toEqual([])
      }),
    )
  })
})
