import { createHash } from 'node:crypto'
import { z } from 'zod'
import { UsageError, type OperationRequest, type ProviderAnswer, type RequestContext } from 'trestle'

/**
 * The version of the API's schema. Since 2025-08-01 it is the oldest that Intuit serves.
 * Source: https://developer.intuit.com/app/developer/qbo/docs/learn/explore-the-quickbooks-online-api/minor-versions,
 * read 2026-11-22.
 */
const MINOR_VERSION = '75'

/** Longest `requestid`. Source: https://blogs.intuit.com/2015/04/06/15346/, read 2026-11-22. */
const REQUEST_ID_LIMIT = 50

/**
 * How long we rely on Intuit remembering a `requestid`. Intuit publishes no lifetime, so it is short; an attempt
 * still in doubt after it is looked up instead.
 */
export const REQUEST_ID_LIFETIME_MS = 60 * 60_000

/** Queries read the company's own database and Intuit tells of no lag; a minute covers an attempt still being worked on. */
export const SETTLE_AFTER_MS = 60_000

/** Intuit's clock may be behind ours by this much. */
const CLOCK_MARGIN_MS = 10 * 60_000

/** Largest page of a query. */
const PAGE_LIMIT = 1000

/** Longest memo of a transaction. */
const PRIVATE_NOTE_LIMIT = 4000

/** Exact decimal text, at most 10 digits before the point and 5 after, as Intuit keeps amounts. */
export const decimal = z.string().regex(/^-?\d{1,10}(\.\d{1,5})?$/)

/** A calendar day, `2026-11-22`. */
export const day = z.iso.date()

/** 15 digits at most, which a double holds exactly, so nothing is lost on the way into JSON. */
export function toNumber(decimalText: string): number {
  return Number(decimalText)
}

/** A request below the company that the connection's `realmId` names. */
export function companyRequest(
  context: RequestContext,
  request: Omit<OperationRequest, 'path'> & { path: string },
): OperationRequest {
  return {
    ...request,
    path: `/v3/company/${encodeURIComponent(realmIdOf(context))}${request.path}`,
    query: { ...request.query, minorversion: MINOR_VERSION },
    headers: { accept: 'application/json', ...request.headers },
  }
}

/** A write that Intuit recognises again by its `requestid`. */
export function writeRequest(
  context: RequestContext,
  request: { path: string; query?: OperationRequest['query']; json: unknown },
): OperationRequest {
  return companyRequest(context, {
    method: 'POST',
    path: request.path,
    query: { ...request.query, requestid: requestIdOf(context.idempotencyKey) },
    body: { json: request.json },
  })
}

/** A query in Intuit's language, `select * from Payment where …`. */
export function queryRequest(context: RequestContext, statement: string): OperationRequest {
  return companyRequest(context, { method: 'GET', path: '/query', query: { query: statement } })
}

/** Text as a literal of the query language. */
export function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}

/** The entities of this name in a query's answer; an empty list where Intuit leaves the name out. */
export function queried({ json }: ProviderAnswer, name: string): unknown {
  const response = field(json, 'QueryResponse')
  if (response === undefined) return undefined
  return field(response, name) ?? []
}

export function field(value: unknown, name: string): unknown {
  if (value === null || typeof value !== 'object' || !Object.hasOwn(value, name)) return undefined
  return (value as Record<string, unknown>)[name]
}

/** A text of an entity; empty where there is none. */
export function textOf(entity: unknown, name: string): string {
  const text = field(entity, name)
  return typeof text === 'string' ? text : ''
}

export function inconclusive(): UsageError {
  return new UsageError('lookup_inconclusive', 'QuickBooks answered a query without a QueryResponse.')
}

/** The idempotency key within Intuit's 50 characters: longer ones by their digest. */
function requestIdOf(idempotencyKey: string): string {
  if (idempotencyKey.length <= REQUEST_ID_LIMIT) return idempotencyKey
  return createHash('sha256').update(idempotencyKey).digest('base64url')
}

/** The mark that tells one step's transaction from every other: 80 bits of the step's key, at the end of the memo. */
export function markerOf(idempotencyKey: string): string {
  return `ref trestle-${createHash('sha256').update(idempotencyKey).digest('hex').slice(0, 20)}`
}

/** What the author wrote, and our mark. */
export function marked(text: string | undefined, idempotencyKey: string): string {
  return `${text === undefined ? '' : `${text} `}[${markerOf(idempotencyKey)}]`
}

/** The memo of a transaction with our mark. Customers never see it. */
export function markedMemo(memo: string | undefined, idempotencyKey: string): string {
  const text = marked(memo, idempotencyKey)
  if (text.length > PRIVATE_NOTE_LIMIT)
    throw new UsageError(
      'memo_too_long',
      `The memo has ${text.length} characters with our reference; QuickBooks takes ${PRIVATE_NOTE_LIMIT}. Shorten it.`,
    )
  return text
}

/** Asks for a customer's transactions made since the step was begun. */
export function transactionsSince(name: 'Payment' | 'Invoice', customer: string, context: RequestContext) {
  const since = new Date(context.begunAt - CLOCK_MARGIN_MS).toISOString()
  return queryRequest(
    context,
    `select * from ${name} where CustomerRef = ${quoted(customer)} and MetaData.CreateTime >= ${quoted(since)} startposition 1 maxresults ${PAGE_LIMIT}`,
  )
}

/** The one of them that carries this step's mark. Throws where there are more than a page. */
export function findMarked(answer: ProviderAnswer, name: string, context: RequestContext): unknown {
  const found = queried(answer, name)
  if (!Array.isArray(found)) throw inconclusive()
  const marker = markerOf(context.idempotencyKey)
  const ours = found.find((one) => textOf(one, 'PrivateNote').includes(marker)) as unknown
  if (ours === undefined && found.length >= PAGE_LIMIT)
    throw new UsageError(
      'lookup_inconclusive',
      `The customer has over ${PAGE_LIMIT} transactions since the step began: whether ours is among them cannot be told. Look for "${marker}" in QuickBooks.`,
    )
  return ours
}

function realmIdOf({ settings }: RequestContext): string {
  const realmId = settings['realmId']
  if (realmId === undefined || realmId === '')
    throw new UsageError(
      'setting_missing',
      'The connection has no "realmId". Add settings: { realmId: "…" }: the company id that Intuit sent with the authorization.',
    )
  return realmId
}
