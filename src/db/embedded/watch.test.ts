import { describe, expect, it } from 'vitest'
import { turn, type Clock } from '../../base/index.ts'
import { watchServer } from './watch.ts'

/** A clock on which time passes only when told, and which says what is waited for. */
function handClock(): Clock & { waits: number[]; pass(): Promise<void> } {
  let due: (() => void)[] = []
  const waits: number[] = []
  return {
    waits,
    now: () => 0,
    monotonic: () => 0,
    after(ms, wake) {
      waits.push(ms)
      due.push(wake)
      return () => {
        due = due.filter((other) => other !== wake)
      }
    },
    async pass() {
      const now = due
      due = []
      for (const wake of now) wake()
      for (let i = 0; i < 5; i++) await turn()
    },
  }
}

describe('the watch', () => {
  it('brings the server back, tries again while that fails, and tells', async () => {
    const clock = handClock()
    const told: string[] = []
    let up = true
    let failures = 3
    const watch = watchServer(
      {
        clock,
        notice: (line) => told.push(line),
        isUp: () => Promise.resolve(up),
        bringBack: () => {
          if (failures-- > 0) return Promise.reject(new Error('no space'))
          up = true
          return Promise.resolve()
        },
      },
      { onDown: () => told.push('down'), onUp: () => told.push('up') },
    )
    await clock.pass()
    expect(told).toEqual([])
    up = false
    for (let i = 0; i < 5; i++) await clock.pass()
    expect(told).toEqual(['down', 'no space', 'no space', 'no space', 'up'])
    expect(clock.waits).toEqual([1000, 1000, 500, 1000, 2000, 1000, 1000])
    await watch.stop()
  })

  it('ends at once when it is stopped, in the middle of a failing restart too', async () => {
    const clock = handClock()
    const told: string[] = []
    const watch = watchServer(
      {
        clock,
        notice: (line) => told.push(line),
        isUp: () => Promise.resolve(false),
        bringBack: () => Promise.reject(new Error('no space')),
      },
      { onUp: () => told.push('up') },
    )
    await clock.pass()
    expect(told).toEqual(['no space'])
    await watch.stop()
    await watch.stop()
    await clock.pass()
    expect(told).toEqual(['no space'])
  })
})
