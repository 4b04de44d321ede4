import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MINUTE, SECOND } from '../base/index.ts'
import type { PageToken } from '../define/index.ts'
import { askOf, behind, firstPosition, type Position } from './position.ts'

const NOW = Date.UTC(2026, 10, 22, 9)
const iso = (ms: number): string => new Date(ms).toISOString()
const START: Position = { cursor: iso(NOW - 10 * MINUTE), token: null, scan: null }

describe('a reading', () => {
  it('begins an overlap before the cursor', () => {
    expect(askOf(START, 5 * MINUTE)).toEqual({ since: iso(NOW - 15 * MINUTE), after: undefined })
    expect(askOf({ cursor: null, token: null, scan: null }, MINUTE)).toEqual({
      since: undefined,
      after: undefined,
    })
  })

  it('in any order: goes through the pages, and moves the cursor with the last', () => {
    const source = { changedAt: true, order: 'any' } as const
    const ask = askOf(START, 0)
    const first = behind(
      START,
      { ask, times: [NOW - MINUTE, NOW - 9 * MINUTE], next: 'two', askedAt: NOW, now: NOW },
      source,
    )
    expect(first).toMatchObject({ more: true, position: { cursor: START.cursor } })
    const next = askOf(first.position, 0)
    expect(next).toEqual({ since: START.cursor, after: 'two' })
    const last = behind(
      first.position,
      { ask: next, times: [NOW - 3 * MINUTE], next: undefined, askedAt: NOW, now: NOW },
      source,
    )
    expect(last).toEqual({ more: false, position: { cursor: iso(NOW - MINUTE), token: null, scan: null } })
  })

  it('in order of change: the cursor moves with each page, and is the place of the next', () => {
    const source = { changedAt: true, order: 'changedAt' } as const
    const ask = askOf(START, 0)
    const first = behind(
      START,
      { ask, times: [NOW - 9 * MINUTE, NOW - MINUTE], next: 2, askedAt: NOW, now: NOW },
      source,
    )
    expect(first.position.cursor).toBe(iso(NOW - MINUTE))
    expect(askOf(first.position, 0)).toEqual({ since: iso(NOW - MINUTE), after: undefined })
  })

  it('in order of change: a page of one instant is counted on from', () => {
    const source = { changedAt: true, order: 'changedAt' } as const
    const at = { cursor: iso(NOW), token: null, scan: null }
    const moved = behind(
      at,
      { ask: askOf(at, 0), times: [NOW, NOW], next: 3, askedAt: NOW, now: NOW },
      source,
    )
    expect(askOf(moved.position, 0)).toEqual({ since: iso(NOW), after: 3 })
  })

  it('never moves the cursor into the future, nor back', () => {
    const source = { changedAt: true } as const
    const page = (times: number[]) => ({
      ask: askOf(START, 0),
      times,
      next: undefined,
      askedAt: NOW,
      now: NOW,
    })
    expect(behind(START, page([NOW + 365 * 24 * 60 * MINUTE]), source).position.cursor).toBe(iso(NOW))
    expect(behind(START, page([NOW - 60 * MINUTE]), source).position.cursor).toBe(START.cursor)
    expect(behind(START, page([]), source).position.cursor).toBe(START.cursor)
  })

  it('of a list that only grows asks the last page again until it has a successor', () => {
    const begin: Position = { cursor: null, token: null, scan: null }
    const first = behind(begin, { ask: askOf(begin, 0), times: [], next: 'b', askedAt: NOW, now: NOW }, {})
    expect(first).toMatchObject({ more: true, position: { token: 'b' } })
    const last = behind(
      first.position,
      { ask: askOf(first.position, 0), times: [], next: undefined, askedAt: NOW, now: NOW },
      {},
    )
    expect(last).toMatchObject({ more: false, position: { token: 'b' } })
  })
})

/** A provider's list, asked inclusively, in order of change, by offset within one time. */
interface Item {
  readonly id: number
  changedAt: number
}

function read(
  items: readonly Item[],
  ask: { since?: string | undefined; after?: PageToken | undefined },
  size: number,
) {
  const since = ask.since === undefined ? 0 : Date.parse(ask.since)
  const found = items.filter((item) => item.changedAt >= since).toSorted((a, b) => a.changedAt - b.changedAt)
  const start = Number(ask.after ?? 0)
  const page = found.slice(start, start + size)
  return { page, next: start + size < found.length ? start + size : undefined }
}

describe('a list that changes while it is read', () => {
  const run = (order: 'changedAt' | 'any', changes: readonly number[], size: number): Set<string> => {
    const items: Item[] = Array.from({ length: 20 }, (_, id) => ({
      id,
      changedAt: NOW - 60 * MINUTE + id * SECOND,
    }))
    const seen = new Set<string>()
    let position: Position = { cursor: null, token: null, scan: null }
    let clock = NOW
    // Items change between the pages; when nothing changes any more, it is read once again.
    const pending = [...changes]
    for (let quiet = 0; quiet < 2; quiet += pending.length === 0 ? 1 : 0)
      for (let more = true; more;) {
        const ask = askOf(position, 0)
        const { page, next } = read(items, ask, size)
        for (const item of page) seen.add(`${item.id} ${item.changedAt}`)
        const moved = behind(
          position,
          { ask, times: page.map((item) => item.changedAt), next, askedAt: clock, now: clock },
          { changedAt: true, order },
        )
        ;({ position, more } = moved)
        const changed = pending.shift()
        if (changed !== undefined) items[changed]!.changedAt = clock += SECOND
      }
    return new Set(items.map((item) => `${item.id} ${item.changedAt}`).filter((state) => !seen.has(state)))
  }

  it('is read whole, in order of change: nothing shifts out of sight', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 19 }), { maxLength: 12 }),
        fc.integer({ min: 2, max: 7 }),
        (changes, size) => {
          expect([...run('changedAt', changes, size)]).toEqual([])
        },
      ),
      { numRuns: 500 },
    )
  })

  it('is read whole, page after page in the order of its ids, however long that takes', () => {
    /** Items 0 to 5, two on a page; `changes` says which change after each page, a quarter of an hour apart. */
    const missed = (changes: readonly number[]): readonly number[] => {
      const items = Array.from({ length: 6 }, (_, id) => ({ id, changedAt: NOW - 60 * MINUTE }))
      const seen = new Set<string>()
      let position: Position = { cursor: iso(NOW - 30 * MINUTE), token: null, scan: null }
      let now = NOW
      for (const item of items) item.changedAt = now
      const pending = [...changes]
      for (let readings = 0; readings < changes.length + 2; readings++)
        for (let more = true; more;) {
          const ask = askOf(position, 5 * MINUTE)
          const since = Date.parse(ask.since!)
          const rest = items.filter(({ id, changedAt }) => changedAt >= since && id > Number(ask.after ?? -1))
          const page = rest.slice(0, 2)
          for (const { id, changedAt } of page) seen.add(`${id} ${changedAt}`)
          const times = page.map(({ changedAt }) => changedAt)
          const next = rest.length > 2 ? page[1]!.id : undefined
          const read = { ask, times, next, askedAt: now, now: now + SECOND }
          ;({ position, more } = behind(position, read, { changedAt: true, order: 'any' }))
          now += 15 * MINUTE
          const changed = pending.shift()
          if (changed !== undefined) items[changed]!.changedAt = now
        }
      return items.flatMap(({ id, changedAt }) => (seen.has(`${id} ${changedAt}`) ? [] : [id]))
    }
    // One of the first page changes, and then one of the last, a quarter of an hour after it.
    expect(missed([0, 5])).toEqual([])
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 12 }), (changes) => {
        expect(missed(changes)).toEqual([])
      }),
      { numRuns: 300 },
    )
  })

  it('control: by offset alone an item is missed', () => {
    // The first of the list changes after the first page: the rest moves up by one.
    expect([...run('any', [0], 5)].length).toBeGreaterThan(0)
  })
})

it('begins with now, or with the beginning', () => {
  expect(firstPosition({ from: 'now' } as never, NOW).cursor).toBe(iso(NOW))
  expect(firstPosition({ from: 'beginning' } as never, NOW).cursor).toBeNull()
})
