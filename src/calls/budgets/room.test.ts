import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PRIORITIES, type Priority } from '../../define/index.ts'
import { Room, type Waiting } from './room.ts'

let entered = 0
const call = (over: Partial<Waiting> = {}): Waiting => ({
  priority: 'normal',
  flow: 'f',
  promised: 0,
  enteredAt: entered++,
  cost: 1,
  ...over,
})

/** Keeps a call of each kind waiting, and serves one at a time; how often each kind went. */
function serve(kinds: readonly Partial<Waiting>[], times: number): number[] {
  const room = new Room<Waiting>()
  const kindOf = new Map<Waiting, number>()
  const enter = (kind: number): void => {
    const waiting = call(kinds[kind])
    kindOf.set(waiting, kind)
    room.enter(waiting)
  }
  const went = kinds.map(() => 0)
  for (let kind = 0; kind < kinds.length; kind++) enter(kind)
  for (let i = 0; i < times; i++) {
    const next = room.inOrder()[0]!
    room.serve(next)
    const kind = kindOf.get(next)!
    went[kind]!++
    enter(kind)
  }
  return went
}

describe('the room in which calls wait', () => {
  it('lets the more urgent go first, and starves nobody', () => {
    const went = serve(
      PRIORITIES.map((priority) => ({ priority })),
      1000,
    )
    expect(went[0]).toBeGreaterThan(700)
    expect(went[1]).toBeGreaterThan(100)
    expect(went[2]).toBeGreaterThan(30)
  })

  it('lets flows of one priority take turns by what they cost, whatever they are', () => {
    const kinds = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 2, maxLength: 6 })
    fc.assert(
      fc.property(kinds, fc.constantFrom<Priority>(...PRIORITIES), (costs, priority) => {
        const went = serve(
          costs.map((cost, i) => ({ flow: `f${i}`, cost, priority })),
          costs.length * 100,
        )
        const spent = went.map((count, i) => count * costs[i]!)
        expect(Math.max(...spent) - Math.min(...spent)).toBeLessThanOrEqual(10)
      }),
    )
  })

  it('gives a flow that comes anew no arrears', () => {
    const room = new Room<Waiting>()
    for (let i = 0; i < 50; i++) room.enter(call({ flow: 'old' }))
    for (let i = 0; i < 30; i++) room.serve(room.inOrder()[0]!)
    for (let i = 0; i < 20; i++) room.enter(call({ flow: 'new' }))
    const next = Array.from({ length: 20 }, () => {
      const first = room.inOrder()[0]!
      room.serve(first)
      return first.flow
    })
    expect(next.filter((flow) => flow === 'old').length).toBeGreaterThanOrEqual(9)
  })

  it('lets those go first within a flow who were promised first', () => {
    const room = new Room<Waiting>()
    const promised = [5, 1, Number.MAX_SAFE_INTEGER, 3]
    for (const time of promised) room.enter(call({ promised: time }))
    expect(room.inOrder().map((one) => one.promised)).toEqual([1, 3, 5, Number.MAX_SAFE_INTEGER])
  })

  it('sends away whoever is least urgent, of the flow that has most in it', () => {
    const room = new Room<Waiting>()
    room.enter(call({ priority: 'interactive', flow: 'web' }))
    for (let i = 0; i < 3; i++) room.enter(call({ priority: 'bulk', flow: 'long', promised: i }))
    room.enter(call({ priority: 'bulk', flow: 'short', promised: 99 }))
    expect(room.last()).toMatchObject({ flow: 'long', promised: 2 })
  })
})
