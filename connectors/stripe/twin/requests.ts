import { Refusal, type TwinAnswer } from 'trestle/testing'

/** A value of a decoded form. */
export type FormValue = string | { [name: string]: FormValue }

/** Fields of a form or query by Stripe's bracket notation: `metadata[order]=7` is `{ metadata: { order: '7' } }`. */
export function decodeForm(fields: URLSearchParams): { [name: string]: FormValue } {
  const decoded: { [name: string]: FormValue } = Object.create(null) as { [name: string]: FormValue }
  for (const [name, value] of fields) {
    const path = [name.split('[')[0]!, ...[...name.matchAll(/\[([^\]]*)\]/g)].map((match) => match[1]!)]
    let here = decoded
    for (const part of path.slice(0, -1)) {
      const inner = here[part]
      const next = typeof inner === 'object' ? inner : {}
      here[part] = next
      here = next
    }
    here[path.at(-1)!] = value
  }
  return decoded
}

/** Stripe's error body. Source: https://docs.stripe.com/api/errors, read 2026-11-22. */
export function stripeError(
  status: number,
  message: string,
  more: { type?: string; code?: string; param?: string; decline_code?: string } = {},
): { error: Record<string, string> } {
  const type = status >= 500 ? 'api_error' : status === 402 ? 'card_error' : 'invalid_request_error'
  const code = status === 429 ? { code: 'rate_limit' } : {}
  return { error: { type, ...code, ...more, message } }
}

/** Ends the request with one of Stripe's errors. */
export function refuse(
  status: number,
  message: string,
  more?: { type?: string; code?: string; param?: string },
): never {
  throw new Refusal({ status, json: stripeError(status, message, more) })
}

/** A text among the fields; '' and absence are `undefined`. */
export function textOf(fields: { [name: string]: FormValue }, name: string): string | undefined {
  const value = fields[name]
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** Metadata after a change: named keys are set, empty ones taken away. */
export function changedMetadata(
  before: Record<string, string>,
  change: FormValue | undefined,
): Record<string, string> {
  if (change === undefined) return before
  if (change === '') return {}
  if (typeof change === 'string') return refuse(400, 'Invalid object', { param: 'metadata' })
  const after = { ...before }
  for (const [name, value] of Object.entries(change)) {
    if (value === '') delete after[name]
    else
      after[name] = typeof value === 'string' ? value : refuse(400, 'Invalid string', { param: 'metadata' })
  }
  return after
}

interface Listed {
  readonly id: string
  readonly created: number
}

/** One page of a list, newest first. Source: https://docs.stripe.com/api/pagination, read 2026-11-22. */
export function listPage<T extends Listed>(
  all: Iterable<T>,
  query: URLSearchParams,
  path: string,
  matches: (item: T) => boolean,
): TwinAnswer {
  const fields = decodeForm(query)
  const created = fields['created']
  const since = typeof created === 'object' ? Number(textOf(created, 'gte') ?? 0) : 0
  const found = [...all].reverse().filter((item) => matches(item) && item.created >= since)
  const limit = Number(textOf(fields, 'limit') ?? 10)
  if (!Number.isInteger(limit) || limit < 1 || limit > 100)
    refuse(400, 'This value must be between 1 and 100.', { param: 'limit' })
  const after = textOf(fields, 'starting_after')
  const start = after === undefined ? 0 : found.findIndex(({ id }) => id === after) + 1
  if (after !== undefined && start === 0)
    refuse(400, `No such object: '${after}'`, { param: 'starting_after', code: 'resource_missing' })
  const data = found.slice(start, start + limit)
  return {
    status: 200,
    json: { object: 'list', data, has_more: found.length > start + limit, url: path },
  }
}

/** What a search query asks of an object: `field:'value'` and `metadata['key']:'value'`, joined by AND. */
export function searchMatcher(query: string): (item: object) => boolean {
  const clauses = query.split(/\s+AND\s+/i).map((clause) => {
    const match = /^\s*(\w+)(?:\[['"]([^'"]+)['"]\])?\s*:\s*['"]([^'"]*)['"]\s*$/.exec(clause)
    if (!match) return refuse(400, `We were unable to parse your search query: ${clause}`, { param: 'query' })
    const [, field = '', key, wanted] = match
    return (item: object): boolean => {
      const value = (item as Record<string, unknown>)[field]
      const found = key === undefined ? value : (value as Record<string, unknown> | null)?.[key]
      return found === wanted
    }
  })
  return (item) => clauses.every((holds) => holds(item))
}
