import { Cron } from 'croner'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { HOUR, MINUTE } from '../base/index.ts'
import { createOccurrences } from './occurrences.ts'
import { createZone } from './zone.ts'

/** The times after `from`, as `MM-DD HH:MM` in UTC. */
function times(expression: string, zone: string, from: string, count: number): string[] {
  const { after } = createOccurrences(expression, zone)
  const found: string[] = []
  for (let at = Date.parse(from); found.length < count;) {
    at = after(at)
    found.push(new Date(at).toISOString().slice(5, 16).replace('T', ' '))
  }
  return found
}

describe('when clocks are put forward (Berlin, 2026-03-29, 02:00 to 03:00)', () => {
  it('runs a time that does not exist at the first instant after the gap', () => {
    expect(times('30 2 * * *', 'Europe/Berlin', '2026-03-28T00:00Z', 3)).toEqual([
      '03-28 01:30',
      '03-29 01:00',
      '03-30 00:30',
    ])
    expect(times('0 2 * * *', 'Europe/Berlin', '2026-03-28T12:00Z', 2)).toEqual([
      '03-29 01:00',
      '03-30 00:00',
    ])
  })

  it('runs several such times once, and that of the first instant with them', () => {
    expect(times('0,30 2 * * *', 'Europe/Berlin', '2026-03-28T12:00Z', 3)).toEqual([
      '03-29 01:00',
      '03-30 00:00',
      '03-30 00:30',
    ])
    expect(times('30 2-3 * * *', 'Europe/Berlin', '2026-03-28T12:00Z', 3)).toEqual([
      '03-29 01:00',
      '03-29 01:30',
      '03-30 00:30',
    ])
    expect(times('0 2-3 * * *', 'Europe/Berlin', '2026-03-28T12:00Z', 2)).toEqual([
      '03-29 01:00',
      '03-30 00:00',
    ])
  })

  it('goes on evenly where every hour is meant', () => {
    expect(times('*/15 * * * *', 'Europe/Berlin', '2026-03-29T00:40Z', 4)).toEqual([
      '03-29 00:45',
      '03-29 01:00',
      '03-29 01:15',
      '03-29 01:30',
    ])
    expect(times('30 * * * *', 'Europe/Berlin', '2026-03-29T00:00Z', 3)).toEqual([
      '03-29 00:30',
      '03-29 01:30',
      '03-29 02:30',
    ])
  })

  it('knows gaps of half an hour, of midnight and of a whole day', () => {
    // Lord Howe: 02:00 becomes 02:30 on 2026-10-04, which is 15:30 UTC the day before.
    expect(times('15 2 * * *', 'Australia/Lord_Howe', '2026-10-03T00:00Z', 2)).toEqual([
      '10-03 15:30',
      '10-04 15:15',
    ])
    // Santiago: midnight of 2026-09-06 becomes 01:00.
    expect(times('0 0 * * *', 'America/Santiago', '2026-09-05T12:00Z', 2)).toEqual([
      '09-06 04:00',
      '09-07 03:00',
    ])
    // Apia had no 2011-12-30.
    expect(times('0 12 * * *', 'Pacific/Apia', '2011-12-29T12:00Z', 3)).toEqual([
      '12-29 22:00',
      '12-30 10:00',
      '12-30 22:00',
    ])
  })
})

describe('when clocks are put back (Berlin, 2026-10-25, 03:00 to 02:00)', () => {
  it('runs a time that exists twice once, the first time', () => {
    expect(times('30 2 * * *', 'Europe/Berlin', '2026-10-24T12:00Z', 2)).toEqual([
      '10-25 00:30',
      '10-26 01:30',
    ])
    expect(times('*/30 2 * * *', 'Europe/Berlin', '2026-10-24T12:00Z', 3)).toEqual([
      '10-25 00:00',
      '10-25 00:30',
      '10-26 01:00',
    ])
    expect(times('0 */2 * * *', 'Europe/Berlin', '2026-10-24T21:00Z', 3)).toEqual([
      '10-24 22:00',
      '10-25 00:00',
      '10-25 03:00',
    ])
  })

  it('asked between the two, does not run it again', () => {
    expect(times('30 2 * * *', 'Europe/Berlin', '2026-10-25T01:10Z', 1)).toEqual(['10-26 01:30'])
  })

  it('goes on through the hour that comes twice where every hour is meant', () => {
    expect(times('*/30 * * * *', 'Europe/Berlin', '2026-10-24T23:40Z', 5)).toEqual([
      '10-25 00:00',
      '10-25 00:30',
      '10-25 01:00',
      '10-25 01:30',
      '10-25 02:00',
    ])
  })
})

const ZONES = [
  'UTC',
  'Europe/Berlin',
  'America/New_York',
  'Australia/Lord_Howe',
  'America/Santiago',
  'Asia/Kathmandu',
  'Africa/Casablanca',
  'Pacific/Apia',
]
const EXPRESSIONS = [
  '30 2 * * *',
  '0,30 0-3 * * *',
  '*/20 * * * *',
  '15 * * * *',
  '0 */2 * * *',
  '0 8 * * 1-5',
  '0 0 1 * *',
  '59 23 28-31 * *',
  '0 0 13 * 5',
]

describe('on any day, in any zone', () => {
  const where = fc.record({
    expression: fc.constantFrom(...EXPRESSIONS),
    zone: fc.constantFrom(...ZONES),
    from: fc.integer({ min: Date.UTC(2024, 0, 1), max: Date.UTC(2030, 0, 1) }),
  })

  it('finds the same times from wherever it is asked: none between two, none twice', () => {
    fc.assert(
      fc.property(where, fc.double({ min: 0, max: 1, noNaN: true }), ({ expression, zone, from }, part) => {
        const { after } = createOccurrences(expression, zone)
        const first = after(from)
        const second = after(first)
        expect(first).toBeGreaterThan(from)
        expect(second).toBeGreaterThan(first)
        const between = Math.floor(first + (second - first - 1) * part)
        expect(after(between)).toBe(second)
      }),
      { numRuns: 2000 },
    )
  })

  it('finds each wall time that exists, at its first instant', () => {
    fc.assert(
      fc.property(where, ({ expression, zone: name, from }) => {
        const zone = createZone(name)
        const wall = from - (from % MINUTE)
        const instant = zone.instantOf(wall)
        const exists = zone.wallAt(instant) === wall
        const sooner = [MINUTE * 30, HOUR, 2 * HOUR].some((back) => zone.wallAt(instant - back) === wall)
        // One that does not exist lies between what clocks show right before and at its instant.
        const between = zone.wallAt(instant - 1) < wall && wall < zone.wallAt(instant)
        expect({ exists, found: exists ? !sooner : between }).toEqual({ exists, found: true })
        expect(createOccurrences(expression, name).after(from)).toBeGreaterThan(from)
      }),
      { numRuns: 1000 },
    )
  })

  it('agrees with croner where clocks are not changed', () => {
    fc.assert(
      fc.property(where, ({ expression, from }) => {
        const zone = 'Asia/Kathmandu' // 5:45 ahead, unchanged since 1986
        const found = createOccurrences(expression, zone).after(from)
        expect(
          new Cron(expression, { timezone: zone, paused: true }).nextRun(new Date(from))?.getTime(),
        ).toBe(found)
      }),
      { numRuns: 500 },
    )
  })

  it('finds the last of many without counting them', () => {
    const { after, lastUpTo } = createOccurrences('*/5 * * * *', 'Europe/Berlin')
    const first = after(Date.UTC(2020, 0, 1))
    const now = Date.UTC(2026, 10, 22, 9, 3)
    expect(new Date(lastUpTo(now, first)).toISOString()).toBe('2026-11-22T09:00:00.000Z')
    expect(lastUpTo(first, first)).toBe(first)
    const yearly = createOccurrences('0 0 29 2 *', 'UTC')
    expect(new Date(yearly.lastUpTo(now, Date.UTC(2020, 1, 29))).toISOString()).toBe(
      '2024-02-29T00:00:00.000Z',
    )
    expect(yearly.lastUpTo(now, Date.UTC(2024, 1, 29))).toBe(Date.UTC(2024, 1, 29))
  })
})
