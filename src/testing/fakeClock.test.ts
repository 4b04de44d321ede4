import { describe, expect, it } from 'vitest'
import { pause } from '../base/index.ts'
import { createFakeClock } from './fakeClock.ts'

describe('a fake clock', () => {
  it('stands still until it is moved, and then fires what is due in order, each at its own time', async () => {
    const clock = createFakeClock(1000)
    const fired: string[] = []
    clock.after(30, () => fired.push(`c at ${clock.now()}`))
    clock.after(10, () => fired.push(`a at ${clock.now()}`))
    clock.after(10, () => fired.push(`b at ${clock.now()}`))
    clock.after(31, () => fired.push('too early'))
    expect(clock.now()).toBe(1000)
    await clock.advance(30)
    expect(fired).toEqual(['a at 1010', 'b at 1010', 'c at 1030'])
    expect(clock.now()).toBe(1030)
    expect(clock.pending()).toBe(1)
  })

  it('lets what a timer woke set further timers within the same advance', async () => {
    const clock = createFakeClock(0)
    const seen: number[] = []
    const beat = async () => {
      for (let i = 0; i < 3; i++) {
        await pause(clock, 10)
        seen.push(clock.now())
      }
    }
    const beating = beat()
    await clock.advance(25)
    expect(seen).toEqual([10, 20])
    await clock.advance(5)
    await beating
    expect(seen).toEqual([10, 20, 30])
  })

  it('does not fire what was cancelled', async () => {
    const clock = createFakeClock(0)
    const fired: string[] = []
    const cancel = clock.after(10, () => fired.push('cancelled'))
    cancel()
    await clock.advance(100)
    expect(fired).toEqual([])
  })

  it('can have its wall clock set back without timers noticing', async () => {
    const clock = createFakeClock(10_000)
    const fired: number[] = []
    clock.after(10, () => fired.push(clock.now()))
    clock.set(5000)
    expect(clock.now()).toBe(5000)
    await clock.advance(10)
    expect(fired).toEqual([5010])
    expect(clock.monotonic()).toBe(10)
  })
})
