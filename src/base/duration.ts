import { UsageError } from './errors.ts'

export const SECOND = 1000
export const MINUTE = 60 * SECOND
export const HOUR = 60 * MINUTE
export const DAY = 24 * HOUR

/** Milliseconds, or words: `'90 s'`, `'15 minutes'`, `'2 days'`, `'1h'`. */
export type Duration = number | string

const UNITS: Record<string, number> = {
  ms: 1,
  millisecond: 1,
  milliseconds: 1,
  s: SECOND,
  sec: SECOND,
  second: SECOND,
  seconds: SECOND,
  m: MINUTE,
  min: MINUTE,
  minute: MINUTE,
  minutes: MINUTE,
  h: HOUR,
  hour: HOUR,
  hours: HOUR,
  d: DAY,
  day: DAY,
  days: DAY,
  w: 7 * DAY,
  week: 7 * DAY,
  weeks: 7 * DAY,
}

/** Milliseconds of a duration. Throws a {@link UsageError} that shows a valid one if it cannot be read. */
export function durationMs(duration: Duration): number {
  if (typeof duration === 'number') {
    if (Number.isFinite(duration) && duration >= 0) return duration
  } else {
    const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*$/i.exec(duration)
    const unit = match && UNITS[match[2]!.toLowerCase()]
    if (match && unit) return Math.round(Number(match[1]) * unit)
  }
  throw new UsageError(
    'duration_invalid',
    `"${duration}" is not a duration. Write for example '30 seconds', '15 minutes', '2 days', or milliseconds as a number.`,
  )
}

/** A duration in the words an operator reads: `820 ms`, `41 s`, `3 min 20 s`, `2 h 5 min`, `3 days 4 h`. */
export function durationWords(ms: number): string {
  if (ms < SECOND) return `${Math.round(ms)} ms`
  if (ms < MINUTE) return `${Math.round(ms / SECOND)} s`
  if (ms < HOUR) return twoParts(ms, MINUTE, 'min', SECOND, 's')
  if (ms < DAY) return twoParts(ms, HOUR, 'h', MINUTE, 'min')
  const days = Math.floor(ms / DAY)
  return twoParts(ms, DAY, days === 1 ? 'day' : 'days', HOUR, 'h')
}

function twoParts(ms: number, big: number, bigName: string, small: number, smallName: string): string {
  const whole = Math.floor(ms / big)
  const rest = Math.floor((ms - whole * big) / small)
  return rest > 0 ? `${whole} ${bigName} ${rest} ${smallName}` : `${whole} ${bigName}`
}
