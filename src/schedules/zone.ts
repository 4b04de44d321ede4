import { DAY } from '../base/index.ts'

/**
 * Wall time and instants of a time zone. A wall time is written as the milliseconds that it would be in UTC: 08:00 on a
 * day in Berlin is the number that 08:00 of that day is in UTC. The rules of zones are those that Node brings (ICU).
 */
export interface Zone {
  readonly name: string
  /** What clocks on the wall show at an instant. */
  readonly wallAt: (instant: number) => number
  /**
   * The instant of a wall time. Of one that exists twice it is the first; of one that does not exist, because clocks
   * were put forward over it, it is the first instant after the gap.
   */
  readonly instantOf: (wall: number) => number
  /** The first instant in (`from`, `to`] at which clocks are changed; `undefined` where there is none. */
  readonly changeWithin: (from: number, to: number) => number | undefined
}

/** Zones differ from UTC by less than this, so an instant lies within it of its wall time taken as UTC. */
const REACH_MS = DAY

export function createZone(name: string): Zone {
  const format = new Intl.DateTimeFormat('en', {
    timeZone: name,
    calendar: 'gregory',
    numberingSystem: 'latn',
    hourCycle: 'h23',
    era: 'short',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  })

  const wallAt = (instant: number): number => {
    // Before 1970 too, the rest of a second stays what it is.
    const rest = ((instant % 1000) + 1000) % 1000
    const part: Partial<Record<Intl.DateTimeFormatPartTypes, string>> = {}
    for (const { type, value } of format.formatToParts(instant - rest)) part[type] = value
    return (
      Date.UTC(
        Number(part.year),
        Number(part.month) - 1,
        Number(part.day),
        Number(part.hour),
        Number(part.minute),
        Number(part.second),
      ) + rest
    )
  }
  const offsetAt = (instant: number): number => wallAt(instant) - instant

  const changeWithin = (from: number, to: number): number | undefined => {
    const before = offsetAt(from)
    if (offsetAt(to) === before) return undefined
    let [low, high] = [from, to]
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2)
      if (offsetAt(middle) === before) low = middle
      else high = middle
    }
    return high
  }

  return {
    name,
    wallAt,
    changeWithin,
    instantOf(wall) {
      const earlier = offsetAt(wall - REACH_MS)
      const later = offsetAt(wall + REACH_MS)
      // With the offset from before a change comes the first of two.
      for (const offset of [earlier, later]) if (offsetAt(wall - offset) === offset) return wall - offset
      return changeWithin(wall - REACH_MS, wall + REACH_MS)!
    },
  }
}
