import { parseDictionary, parseList, type Item } from 'structured-headers'
import { DAY, SECOND } from '../base/index.ts'
import type { LimitHeaders } from '../define/index.ts'

/** What an answer's headers say about one limit. */
export interface ObservedLimit {
  /** The provider's name for it, where it has one. */
  readonly name?: string
  /** Calls allowed in a window. */
  readonly allowed?: number
  readonly windowMs?: number
  /** Calls still allowed. */
  readonly remaining: number
  /** When the count begins anew, in milliseconds since 1970. */
  readonly resetAt?: number
}

type Headers = Readonly<Record<string, string>>

/**
 * The limits that an answer reports. Reads the IETF's RateLimit fields in today's form and in the two before it,
 * the customary `X-RateLimit-*`, HubSpot's own, and those that the connector's table names. What cannot be read is
 * left out.
 */
export function observedLimits(
  headers: Headers,
  now: number,
  table: readonly LimitHeaders[] = [],
): ObservedLimit[] {
  const standard = ietfLimits(headers, now)
  return [
    ...table.flatMap((row) => tableLimit(headers, row, now)),
    ...(standard.length > 0 ? standard : customaryLimits(headers, now)),
    ...hubspotLimits(headers),
  ]
}

/**
 * Whether a 429 was for this limit, as far as the headers that the connector's table names tell: `undefined` where
 * they do not say.
 */
export function refusedBy(
  headers: Headers,
  limit: string,
  table: readonly LimitHeaders[],
): boolean | undefined {
  const telling = table.filter(
    ({ refused }) => refused !== undefined && headers[refused.header] !== undefined,
  )
  if (telling.length === 0) return undefined
  return telling.some(
    (row) => row.limit === limit && row.refused!.values.includes(headers[row.refused!.header]!.trim()),
  )
}

/** The providers' own headers, by the connector's table. */
function tableLimit(headers: Headers, row: LimitHeaders, now: number): ObservedLimit[] {
  const value = (name: string | undefined): number | undefined =>
    name === undefined ? undefined : digits(headers[name])
  const allowed = value(row.allowed)
  const used = value(row.used)
  const remaining =
    value(row.remaining) ??
    (allowed === undefined || used === undefined ? undefined : Math.max(0, allowed - used))
  if (remaining === undefined) return []
  const reset = value(row.reset?.header)
  return [
    {
      name: row.limit,
      remaining,
      ...defined({
        allowed,
        resetAt: row.reset && reset !== undefined ? resetTime(reset, row.reset.as, now) : undefined,
      }),
    },
  ]
}

function resetTime(value: number, as: NonNullable<LimitHeaders['reset']>['as'], now: number): number {
  switch (as) {
    case 'seconds':
      return now + value * SECOND
    case 'milliseconds':
      return now + value
    case 'unix-seconds':
      return value * SECOND
    case 'unix-milliseconds':
      return value
  }
}

/**
 * draft-ietf-httpapi-ratelimit-headers-10 and -11 (2025-09-27, 2026-05-23): `RateLimit: "default";r=50;t=30` and
 * `RateLimit-Policy: "default";q=100;w=10`, lists of strings with parameters (RFC 9651). Draft 07 (2023-06-24) wrote
 * `RateLimit: limit=100, remaining=50, reset=50`, a dictionary.
 */
function ietfLimits(headers: Headers, now: number): ObservedLimit[] {
  const text = headers['ratelimit']
  if (text === undefined) return []
  const policies = itemsOf(headers['ratelimit-policy'])
  const limits: ObservedLimit[] = []
  for (const [name, parameters] of itemsOf(text)) {
    const remaining = wholeNumber(parameters.get('r'))
    if (typeof name !== 'string' || remaining === undefined) continue
    const policy = policies.find(([policyName]) => policyName === name)?.[1]
    limits.push(
      limitOf({
        name,
        remaining,
        allowed: wholeNumber(policy?.get('q')),
        windowSeconds: wholeNumber(policy?.get('w')),
        resetSeconds: wholeNumber(parameters.get('t')),
        now,
      }),
    )
  }
  if (limits.length > 0) return limits
  const dictionary = attempt(() => parseDictionary(text))
  const remaining = wholeNumber(dictionary?.get('remaining')?.[0])
  if (dictionary === undefined || remaining === undefined) return []
  return [
    limitOf({
      remaining,
      allowed: wholeNumber(dictionary.get('limit')?.[0]),
      resetSeconds: wholeNumber(dictionary.get('reset')?.[0]),
      now,
    }),
  ]
}

/** `RateLimit-*` of the drafts before 07, and `X-RateLimit-*`, whose reset is seconds from now or a time. */
function customaryLimits(headers: Headers, now: number): ObservedLimit[] {
  for (const prefix of ['ratelimit-', 'x-ratelimit-', 'x-rate-limit-']) {
    const remaining = digits(headers[`${prefix}remaining`])
    if (remaining === undefined) continue
    const reset = digits(headers[`${prefix}reset`])
    const limit = { remaining, allowed: digits(headers[`${prefix}limit`]) }
    if (reset === undefined) return [limitOf({ ...limit, now })]
    if (reset >= 1e12) return [{ ...limitOf({ ...limit, now }), resetAt: reset }]
    if (reset >= 1e9) return [{ ...limitOf({ ...limit, now }), resetAt: reset * SECOND }]
    return [limitOf({ ...limit, resetSeconds: reset, now })]
  }
  return []
}

/**
 * HubSpot: per interval (`-Max`, `-Remaining`, `-Interval-Milliseconds`), and per day, which OAuth calls do not have
 * (developers.hubspot.com/docs/api/usage-details and its changelog of 2018-11-06, read 2026-11-22). The day ends at
 * midnight in the account's zone, which the answer does not say.
 */
function hubspotLimits(headers: Headers): ObservedLimit[] {
  const value = (name: string): number | undefined => digits(headers[`x-hubspot-ratelimit-${name}`])
  const limits: ObservedLimit[] = []
  const remaining = value('remaining')
  if (remaining !== undefined)
    limits.push({
      name: 'interval',
      remaining,
      ...defined({ allowed: value('max'), windowMs: value('interval-milliseconds') }),
    })
  const today = value('daily-remaining')
  if (today !== undefined)
    limits.push({ name: 'daily', remaining: today, windowMs: DAY, ...defined({ allowed: value('daily') }) })
  return limits
}

interface Read {
  readonly name?: string
  readonly remaining: number
  readonly allowed?: number | undefined
  readonly windowSeconds?: number | undefined
  readonly resetSeconds?: number | undefined
  readonly now: number
}

function limitOf(read: Read): ObservedLimit {
  return {
    remaining: read.remaining,
    ...defined({
      name: read.name,
      allowed: read.allowed,
      windowMs: read.windowSeconds === undefined ? undefined : read.windowSeconds * SECOND,
      resetAt: read.resetSeconds === undefined ? undefined : read.now + read.resetSeconds * SECOND,
    }),
  }
}

/** Without the keys that have no value. */
function defined<Fields extends object>(
  fields: Fields,
): { [Name in keyof Fields]: Exclude<Fields[Name], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [Name in keyof Fields]: Exclude<Fields[Name], undefined>
  }
}

function itemsOf(text: string | undefined): Item[] {
  if (text === undefined) return []
  return (attempt(() => parseList(text)) ?? []).filter((member): member is Item => !Array.isArray(member[0]))
}

function attempt<Result>(read: () => Result): Result | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}

function wholeNumber(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined
}

/** Digits, of the first value where a header was repeated or has policies behind it (`100, 100;w=10`). */
function digits(text: string | undefined): number | undefined {
  const found = text === undefined ? undefined : /^\s*(\d{1,15})(?:\.\d+)?\s*(?:[,;]|$)/.exec(text)?.[1]
  return found === undefined ? undefined : Number(found)
}
