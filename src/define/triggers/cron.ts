import { Cron } from 'croner'
import { z } from 'zod'
import { reasonOf, UsageError } from '../../base/index.ts'
import { defineEvent, type EventDefinition } from '../events.ts'

/** The connector and the connection of what the platform's own clock says. No declared name can have a dot. */
export const SCHEDULE_SOURCE = 'trestle.schedule'

/** The longest cron expression, in characters. */
export const CRON_LENGTH = 256

/**
 * What becomes of times that passed while no node was up:
 * - `last`: the latest of them runs, once; the others are skipped, and that is on record.
 * - `all`: each runs, the oldest first.
 * - `skip`: none runs that is over a minute late; that is on record.
 */
export type MissedPolicy = 'all' | 'last' | 'skip'

export interface CronOptions {
  /** IANA name of the time zone that the expression is read in, such as `'Europe/Berlin'`. Default `'UTC'`. */
  readonly zone?: string
  /** Default `'last'`. See {@link MissedPolicy}. */
  readonly missed?: MissedPolicy
}

/** The data of a scheduled run's event. Times are ISO 8601 in UTC. */
export interface CronTime {
  /** The time that it was due; for a run by hand, the time at which it was asked for. */
  readonly scheduledFor: string
  /** The due time before it that ran; `null` for the first. What was skipped lies between the two. */
  readonly previous: string | null
}

/** A flow starts on it at the times of a cron expression. It cannot be waited for: use `sleep`. */
export interface CronTrigger<Data = CronTime> {
  readonly kind: 'cron'
  readonly connector: typeof SCHEDULE_SOURCE
  /** `schedule.<flow>`, once a flow has it. */
  readonly type: string
  readonly connection?: string
  readonly definition: EventDefinition<Data>
  readonly expression: string
  readonly zone: string
  readonly missed: MissedPolicy
}

const time = z.iso.datetime()
const CRON_EVENT: EventDefinition<CronTime> = defineEvent({
  schema: z.object({ scheduledFor: time, previous: time.nullable() }),
  summary: 'it was time',
  describe: ({ scheduledFor }) => `due at ${scheduledFor}`,
})

/**
 * Starts a flow at the times of a cron expression: minute, hour, day of month, month, day of week, each a number, a
 * name (`MON`, `JAN`), `*`, a range, a list or a step. Where both days are given, either of them will do, as in Vixie
 * cron. Times are wall times of the zone; see docs/guides/schedules.md for the days on which clocks are changed.
 * Throws a {@link UsageError} `cron_invalid` that names the mistake.
 */
export function cron(expression: string, options: CronOptions = {}): CronTrigger {
  const { zone = 'UTC', missed = 'last' } = options
  const canonical = checkedExpression(expression)
  checkZone(zone)
  if (missed !== 'all' && missed !== 'last' && missed !== 'skip')
    throw invalid(`"missed" is "${String(missed)}"; write 'all', 'last' or 'skip'.`)
  return {
    kind: 'cron',
    connector: SCHEDULE_SOURCE,
    type: '',
    definition: CRON_EVENT,
    expression: canonical,
    zone,
    missed,
  }
}

const FIELDS = ['minute', 'hour', 'day of month', 'month', 'day of week']
const NAMES = {
  month: 'jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec',
  'day of week': 'sun|mon|tue|wed|thu|fri|sat',
}
/** Some expressions come only every few years (29 February); none that comes at all is rarer than this. */
const EVER_FROM = Date.UTC(2000, 0, 1)

/** One space between the fields, so that the same times are written the same way. */
function checkedExpression(expression: unknown): string {
  if (typeof expression !== 'string')
    throw invalid(`The expression is no text. Write for example cron('0 8 * * 1').`)
  if (expression.length > CRON_LENGTH)
    throw invalid(`The expression has ${expression.length} characters; at most ${CRON_LENGTH} are taken.`)
  const fields = expression.trim().split(/\s+/)
  if (fields.length !== FIELDS.length || fields[0] === '')
    throw invalid(
      `"${expression}" has ${fields[0] === '' ? 0 : fields.length} fields; write five: ${FIELDS.join(', ')}. "0 8 * * 1" is every Monday at 08:00.`,
    )
  fields.forEach((field, i) => checkField(expression, FIELDS[i]!, field))
  const canonical = fields.join(' ')
  let first: Date | null
  try {
    first = new Cron(canonical, { mode: '5-part', timezone: 'UTC', paused: true }).nextRun(
      new Date(EVER_FROM),
    )
  } catch (error) {
    throw invalid(`"${expression}": ${reasonOf(error).replace(/^\w+: /, '')}`)
  }
  if (first === null) throw invalid(`"${expression}" never comes: no month has such a day.`)
  return canonical
}

/** Only what the five fields of cron have: no `L`, `W`, `#`, `?` or `@daily`, which every cron reads in its own way. */
function checkField(expression: string, name: string, field: string): void {
  const word = name in NAMES ? `(?:\\d{1,2}|${NAMES[name as keyof typeof NAMES]})` : '\\d{1,2}'
  const part = `(?:\\*|${word}(?:-${word})?)(?:/\\d{1,2})?`
  if (!new RegExp(`^${part}(?:,${part})*$`, 'i').test(field))
    throw invalid(
      `"${expression}": "${field}" is no ${name}. Write a number, *, a range (1-5), a list (1,15) or a step (*/10).`,
    )
}

function checkZone(zone: unknown): void {
  try {
    if (typeof zone !== 'string' || /^[+-]/.test(zone)) throw new RangeError('not the name of a zone')
    Intl.DateTimeFormat('en', { timeZone: zone })
  } catch (cause) {
    throw invalid(
      `"${String(zone)}" is not a time zone. Write its IANA name, such as 'Europe/Berlin' or 'America/New_York'.`,
      cause,
    )
  }
}

function invalid(what: string, cause?: unknown): UsageError {
  return new UsageError('cron_invalid', `cron: ${what}`, { cause })
}
