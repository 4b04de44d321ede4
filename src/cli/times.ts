import { type Clock } from '../base/index.ts'

/** The zone's short name at that moment, such as `CET` or `UTC`. */
function zoneOf(at: Date): string {
  const parts = new Intl.DateTimeFormat('en-GB', { timeZoneName: 'short' }).formatToParts(at)
  return parts.find((part) => part.type === 'timeZoneName')?.value ?? 'UTC'
}

const pad = (part: number): string => String(part).padStart(2, '0')

/** Year, month and day in the machine's zone: `2026-11-22`. */
function dayOf(at: Date): string {
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`
}

/**
 * A moment for people, in the machine's zone: `14:03:05 CET` today, `2026-11-22 14:03:05 CET` on another day.
 * Programs get ISO 8601 (`--json`).
 */
export function timeWords(moment: Date | string | number, clock: Clock): string {
  const at = new Date(moment)
  if (Number.isNaN(at.getTime())) return String(moment)
  const time = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())} ${zoneOf(at)}`
  return dayOf(at) === dayOf(new Date(clock.now())) ? time : `${dayOf(at)} ${time}`
}
