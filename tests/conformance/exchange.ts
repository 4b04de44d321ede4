import { request } from 'undici'
import { encodeJson, parseJson, type JsonValue } from '../../src/base/index.ts'
import type {
  AnyConnector,
  AnyOperation,
  Classification,
  OperationRequest,
  ProviderAnswer,
  RequestContext,
  Schema,
} from '../../src/define/index.ts'

/** A request as it leaves, before authorization. */
export interface WireRequest {
  readonly method: string
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** The bytes of an operation's request, with the idempotency key where the operation declares its place. */
export function wireRequest(
  connector: AnyConnector,
  baseUrl: string,
  wanted: OperationRequest,
  key?: { operation: AnyOperation; value: string },
): WireRequest {
  const url = new URL(baseUrl + wanted.path)
  for (const [name, value] of Object.entries(wanted.query ?? {})) {
    if (value === undefined) continue
    for (const one of Array.isArray(value) ? value : [value]) url.searchParams.append(name, String(one))
  }
  const headers: Record<string, string> = { ...connector.headers, ...wanted.headers }
  const { body, contentType } = bodyOf(wanted)
  if (contentType !== undefined) headers['content-type'] = contentType
  const place = key?.operation.idempotency.kind === 'key' ? key.operation.idempotency.place : undefined
  if (key && place && place !== 'request') {
    if ('header' in place) headers[place.header] = key.value
    else url.searchParams.set(place.query, key.value)
  }
  return { method: wanted.method, url: url.href, headers, body }
}

function bodyOf({ body }: OperationRequest): { body: string; contentType?: string } {
  if (body === undefined) return { body: '' }
  if ('json' in body) return { body: encodeJson(body.json), contentType: 'application/json' }
  if ('text' in body) return { body: body.text, contentType: body.contentType }
  const form = new URLSearchParams(body.form.map(([name, value]): [string, string] => [name, value]))
  return { body: form.toString(), contentType: 'application/x-www-form-urlencoded' }
}

/** Sends over real HTTP and reads the answer as a connector sees it. */
export async function exchange(wire: WireRequest): Promise<ProviderAnswer> {
  const answer = await request(wire.url, {
    method: wire.method as 'GET',
    headers: wire.headers,
    ...(wire.body === '' ? {} : { body: wire.body }),
  })
  const text = await answer.body.text()
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(answer.headers)) {
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(', ') : value
  }
  return { status: answer.statusCode, headers, text, json: jsonOrNothing(text) }
}

function jsonOrNothing(text: string): JsonValue | undefined {
  try {
    return text === '' ? undefined : parseJson(text)
  } catch {
    return undefined
  }
}

/** What an answer means: the operation's word, the connector's, else what any provider means by the status. */
export function classify(
  connector: AnyConnector,
  operation: AnyOperation,
  answer: ProviderAnswer,
  now: number,
): Classification {
  const own = operation.classify?.(answer, now) ?? connector.classify?.(answer, now)
  if (own) return own
  const reason = `status ${answer.status}: ${answer.text.slice(0, 300)}`
  if (answer.status >= 200 && answer.status < 300) return { as: 'succeeded' }
  if (answer.status === 401) return { as: 'unauthorized', code: 'credential_refused', reason }
  if (answer.status === 429) return { as: 'retry', code: 'rate_limited', reason }
  if (answer.status >= 500) return { as: 'in_doubt', code: 'outcome_unknown', reason }
  return { as: 'failed', code: 'refused', reason }
}

/** The raw output within an answer. */
export function rawOutput(operation: AnyOperation, answer: ProviderAnswer, input: unknown): unknown {
  return operation.answer ? operation.answer(answer, input) : answer.json
}

/** A value that passed a contract. Throws with paths where it does not. */
export async function checked<T>(schema: Schema<T>, value: unknown, what: string): Promise<T> {
  const result = await schema['~standard'].validate(value)
  if (!result.issues) return result.value
  const problems = result.issues.map(({ message, path = [] }) => {
    const place = path.map((part) => String(typeof part === 'object' ? part.key : part)).join('.')
    return `${place === '' ? '(whole)' : place}: ${message}`
  })
  throw new Error(`${what} fails its contract: ${problems.join('; ')}`)
}

/** Whether a value passes a contract. */
export async function passes(schema: Schema, value: unknown): Promise<boolean> {
  return !(await schema['~standard'].validate(value)).issues
}

export function contextFor(
  key: string,
  begunAt: number,
  settings: RequestContext['settings'],
): RequestContext {
  return { idempotencyKey: key, begunAt, settings }
}
