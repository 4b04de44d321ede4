import { Cron } from 'croner'
import { MINUTE } from '../base/index.ts'
import { createZone, type Zone } from './zone.ts'

/** The times of a cron expression in a zone. All are instants, in milliseconds since 1970. */
export interface Occurrences {
  /** The first time after this one. */
  readonly after: (instant: number) => number
  /** The last time up to and at this one, but not before `earliest`, which must be a time itself. */
  readonly lastUpTo: (instant: number, earliest: number) => number
}

/**
 * The rule for days on which clocks are changed (croner reads expressions; it is asked in UTC, so that this rule is ours
 * alone):
 *
 * - An expression that names hours means times of day. One that does not exist runs at the first instant after the
 *   gap, together with others of the gap, once. One that exists twice runs once, the first time.
 * - An expression whose hour is `*` means minutes of every hour that passes: it goes on through the hour that comes
 *   twice, and nothing is made up for an hour that does not come.
 */
export function createOccurrences(expression: string, zoneName: string): Occurrences {
  const zone = createZone(zoneName)
  const pattern = new Cron(expression, { mode: '5-part', timezone: 'UTC', paused: true })
  const nextWall = (wall: number): number => {
    const next = pattern.nextRun(new Date(wall))
    if (next === null) throw new RangeError(`"${expression}" has no further time.`)
    return next.getTime()
  }
  const after = expression.split(' ')[1] === '*' ? byHour(zone, nextWall) : byDay(zone, nextWall)
  return {
    after,
    lastUpTo(instant, earliest) {
      // Back in ever longer steps until a time lies between, then forward from it.
      let last = earliest
      for (let back = MINUTE; instant - back > earliest; back *= 2) {
        const found = after(instant - back)
        if (found > instant) continue
        last = found
        break
      }
      for (let next = after(last); next <= instant; next = after(next)) last = next
      return last
    },
  }
}

/** Times of day: wall times in their order give instants in their order, some of them the same. */
function byDay(zone: Zone, nextWall: (wall: number) => number): Occurrences['after'] {
  return (instant) => {
    for (let wall = nextWall(zone.wallAt(instant)); ; wall = nextWall(wall)) {
      const found = zone.instantOf(wall)
      if (found > instant) return found
    }
  }
}

/** Minutes of hours that pass: from one change of clocks to the next the zone is only an offset. */
function byHour(zone: Zone, nextWall: (wall: number) => number): Occurrences['after'] {
  return (instant) => {
    for (let from = instant; ;) {
      const wall = zone.wallAt(from)
      const found = from + (nextWall(wall) - wall)
      const change = zone.changeWithin(from, found)
      if (change === undefined || change > found) return found
      // A millisecond before the change with the clocks of after it, so that its own minute is seen.
      const changed = zone.wallAt(change)
      const next = change + (nextWall(changed - 1) - changed)
      const another = zone.changeWithin(change, next)
      if (another === undefined) return next
      from = change
    }
  }
}
