import { createHash } from 'node:crypto'
import { z } from 'zod'
import {
  UsageError,
  type Idempotency,
  type LookupIdempotency,
  type OperationRequest,
  type ProviderAnswer,
  type RequestContext,
} from 'trestle'

/**
 * How long we rely on a key. Xero remembers an `Idempotency-Key` for six minutes from the first request with it, errors
 * too, for the same URL, method and body. A minute is left for a request that waits for its turn or is slow on its way.
 * Source: https://developer.xero.com/documentation/guides/idempotent-requests/idempotency, as quoted by public
 * repositories, read 2026-11-22.
 */
export const KEY_LIFETIME_MS = 5 * 60_000

/** Lists read the organisation's own database and Xero tells of no lag; a minute covers a request still being worked on. */
const SETTLE_AFTER_MS = 60_000

/** Xero's clock may be behind ours by this much. */
const CLOCK_MARGIN_MS = 10 * 60_000

/** Largest page. Source: https://github.com/XeroAPI/Xero-OpenAPI (pageSize), read 2026-11-22. */
export const PAGE_LIMIT = 1000

/** Longest reference of an invoice. Source: https://developer.xero.com/documentation/api/accounting/invoices, read 2026-11-22. */
const REFERENCE_LIMIT = 255

/** Exact decimal text, 15 digits at most, which a double holds exactly, so nothing is lost on the way into JSON. */
export const decimal = z.string().regex(/^-?\d{1,11}(\.\d{1,4})?$/)

/** A calendar day, `2026-11-22`. */
export const day = z.iso.date()

export const id = z.string().min(1)

type Kind = 'Contact' | 'Invoice' | 'Payment'

/** A request to the accounting API of the organisation that the connection's `tenantId` names. */
export function tenantRequest(context: RequestContext, request: OperationRequest): OperationRequest {
  return {
    ...request,
    path: `/api.xro/2.0${request.path}`,
    headers: { accept: 'application/json', 'xero-tenant-id': tenantIdOf(context), ...request.headers },
  }
}

/** Reads one thing by its id. */
export function readRequest(kind: Kind, wanted: string, context: RequestContext): OperationRequest {
  return tenantRequest(context, { method: 'GET', path: `/${kind}s/${encodeURIComponent(wanted)}` })
}

/** Writes that Xero recognises again by their key, and that are looked up once it has forgotten the key. */
export function once<Input, Output>(
  lookup: Pick<LookupIdempotency<Input, Output>, 'request' | 'found'>,
): Idempotency<Input, Output> {
  return {
    kind: 'key',
    place: { header: 'idempotency-key' },
    lifetimeMs: KEY_LIFETIME_MS,
    replaysErrors: true,
    afterLifetime: { kind: 'lookup', settleAfterMs: SETTLE_AFTER_MS, ...lookup },
  }
}

/** Brings a thing into a state from which there is no way back; whoever did it, there is nothing left to do. */
export function endedOnce<Output>(
  kind: 'Invoice' | 'Payment',
  status: 'VOIDED' | 'DELETED',
): Idempotency<{ id: string }, Output> {
  return once<{ id: string }, Output>({
    request: (input, context) => readRequest(kind, input.id, context),
    found: (answer) => {
      const found = firstOf(answer, kind)
      return textOf(found, 'Status') === status ? found : undefined
    },
  })
}

/**
 * `If-Modified-Since`, in UTC to the second.
 * Source: https://developer.xero.com/documentation/api/requests-and-responses, read 2026-11-22.
 */
export function modifiedSince(time: string | number): Readonly<Record<string, string>> {
  return { 'if-modified-since': new Date(time).toISOString().slice(0, 19) }
}

/** What was made or changed since the step began. */
export function sinceBegun({ begunAt }: RequestContext): Readonly<Record<string, string>> {
  return modifiedSince(begunAt - CLOCK_MARGIN_MS)
}

/** Everything of this kind in the answer; `undefined` where the answer holds no list. */
export function listOf({ json }: ProviderAnswer, kind: Kind): readonly unknown[] | undefined {
  const list = field(json, `${kind}s`)
  return Array.isArray(list) ? list : undefined
}

/** Xero answers one thing as a list of one. */
export function firstOf(answer: ProviderAnswer, kind: Kind): unknown {
  return listOf(answer, kind)?.[0]
}

/** The one whose text carries this step's mark. Throws where the page is full without it. */
export function findMarked(
  answer: ProviderAnswer,
  { kind, mark }: { readonly kind: Kind; readonly mark: string },
  name: 'Reference' | 'ContactNumber',
): unknown {
  const found = listOf(answer, kind)
  if (found === undefined)
    throw new UsageError('lookup_inconclusive', `Xero answered a list without "${kind}s".`)
  const ours = found.find((one) => textOf(one, name).includes(mark))
  if (ours === undefined && found.length >= PAGE_LIMIT)
    throw new UsageError(
      'lookup_inconclusive',
      `Over ${PAGE_LIMIT} ${kind.toLowerCase()}s changed since the step began: whether ours is among them cannot be told. Look for "${mark}" in Xero.`,
    )
  return ours
}

/** The mark that tells one step's work from every other: 80 bits of the step's key. */
export function markOf(idempotencyKey: string): string {
  return `trestle-${createHash('sha256').update(idempotencyKey).digest('hex').slice(0, 20)}`
}

/** What the author wrote, and our mark at its end. */
export function markedReference(reference: string | undefined, idempotencyKey: string): string {
  const mark = markOf(idempotencyKey)
  const text = reference === undefined ? mark : `${reference} [${mark}]`
  if (text.length > REFERENCE_LIMIT)
    throw new UsageError(
      'reference_too_long',
      `The reference has ${text.length} characters with our mark; Xero takes ${REFERENCE_LIMIT}. Shorten it.`,
    )
  return text
}

export function field(value: unknown, name: string): unknown {
  if (value === null || typeof value !== 'object' || !Object.hasOwn(value, name)) return undefined
  return (value as Record<string, unknown>)[name]
}

/** A text of a thing; empty where there is none. */
export function textOf(thing: unknown, name: string): string {
  const text = field(thing, name)
  return typeof text === 'string' ? text : ''
}

/**
 * The moment in Xero's `/Date(1439434356790+0000)/`, ISO 8601 in UTC; `undefined` for anything else. The offset changes
 * nothing: the milliseconds are since 1970 in UTC.
 * Source: https://developer.xero.com/documentation/api/requests-and-responses, read 2026-11-22.
 */
export function timeOf(date: string | undefined): string | undefined {
  const match = /^\/Date\((-?\d{1,15})(?:[+-]\d{4})?\)\/$/.exec(date ?? '')
  return match === null ? undefined : new Date(Number(match[1])).toISOString()
}

function tenantIdOf({ settings }: RequestContext): string {
  const { tenantId = '' } = settings
  if (tenantId === '')
    throw new UsageError(
      'setting_missing',
      'The connection has no "tenantId". Add settings: { tenantId: "…" }; the operation tenants.list says which there are.',
    )
  return tenantId
}
