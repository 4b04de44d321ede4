import { SECOND } from '../base/index.ts'

/** The latest time that a Date can hold, in milliseconds since 1970. */
const LATEST_TIME_MS = 8_640_000_000_000_000

/**
 * The time that a `Retry-After` header names (RFC 9110, 10.2.3): seconds from now, or a date. `undefined` where
 * there is none or it is malformed (negative, fractional, words). A date in the past is the time now. Of several,
 * the latest counts. A number of any size is read; how long to wait at most is decided elsewhere.
 */
export function retryTime(header: string | undefined, now: number): number | undefined {
  const text = header?.trim()
  if (text === undefined || text === '') return undefined
  if (/^\d+(\s*,\s*\d+)*$/.test(text)) {
    const seconds = Math.max(...text.split(',').map(Number))
    return Math.min(LATEST_TIME_MS, now + seconds * SECOND)
  }
  const date = parseHttpDate(text, now)
  return date === undefined ? undefined : Math.max(now, date)
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const MONTH = MONTHS.join('|')
const TIME = String.raw`(?<hour>\d{2}):(?<minute>\d{2}):(?<second>\d{2})`
/** The three forms of RFC 9110, 5.6.7: the current one, RFC 850's, and asctime's. */
const HTTP_DATES = [
  new RegExp(String.raw`^\w{3}, (?<day>\d{2}) (?<month>${MONTH}) (?<year>\d{4}) ${TIME} GMT$`),
  new RegExp(String.raw`^\w{6,9}, (?<day>\d{2})-(?<month>${MONTH})-(?<short>\d{2}) ${TIME} GMT$`),
  new RegExp(String.raw`^\w{3} (?<month>${MONTH}) (?<day>[ \d]\d) ${TIME} (?<year>\d{4})$`),
]

/** An HTTP date in milliseconds since 1970, or `undefined` if it is none. The name of the weekday is not checked. */
export function parseHttpDate(text: string, now: number): number | undefined {
  for (const form of HTTP_DATES) {
    const found = form.exec(text)?.groups
    if (found === undefined) continue
    const number = (name: string): number => Number(found[name])
    const year = found['year'] === undefined ? fullYear(number('short'), now) : number('year')
    const month = MONTHS.indexOf(found['month']!)
    if (number('hour') > 23 || number('minute') > 59 || number('second') > 60) return undefined
    const ms = Date.UTC(year, month, number('day'), number('hour'), number('minute'), number('second'))
    // Date.UTC carries what does not exist into the next month; of a leap second (60) that is what is meant.
    const carried = new Date(Date.UTC(year, month, number('day'))).getUTCMonth() !== month
    return carried || year < 1900 ? undefined : ms
  }
  return undefined
}

/** Two digits that seem more than 50 years ahead are in the past (RFC 9110, 5.6.7). */
function fullYear(short: number, now: number): number {
  const current = new Date(now).getUTCFullYear()
  const guess = current - (current % 100) + short
  return guess > current + 50 ? guess - 100 : guess
}
