import { request } from 'undici'
import { readAnswer } from '../../src/calls/answer.ts'
import { classify as classifyAnswer } from '../../src/calls/classify.ts'
import { buildRequest, type CallRequest } from '../../src/calls/request.ts'
import type {
  AnyConnector,
  AnyOperation,
  Classification,
  ProviderAnswer,
  Schema,
  Settings,
} from '../../src/define/index.ts'

/** A request as it leaves, before authorization. */
export interface WireRequest {
  readonly method: string
  readonly url: string
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** One call of an operation, or the question of its look-up. */
export interface Asking {
  readonly connector: AnyConnector
  readonly name: string
  readonly operation: AnyOperation
  readonly baseUrl: string
  readonly settings: Settings
  readonly key: string
  readonly begunAt: number
  readonly kind: 'send' | 'lookup'
}

/** The bytes of a request, made by the platform's own code. */
export async function wireRequest(asking: Asking, input: unknown): Promise<WireRequest> {
  const { method, path, headers, body } = await buildRequest(callOf(asking, input), input)
  return { method, url: asking.baseUrl + path, headers, body: body?.toString('utf8') ?? '' }
}

function callOf(
  { connector, name, operation, settings, key, begunAt, kind, baseUrl }: Asking,
  input: unknown,
): CallRequest {
  return {
    tenant: 'default',
    connection: {
      id: 'con_conformance',
      name: connector.name,
      tenant: 'default',
      connector,
      baseUrl,
      settings,
      allowPrivate: true,
    },
    operationName: name,
    operation,
    input,
    idempotencyKey: key,
    begunAt,
    runId: 'run_conformance',
    stepName: name,
    attempt: 1,
    kind,
  }
}

/** Sends over real HTTP and reads the answer as the platform reads it. */
export async function exchange(wire: WireRequest): Promise<ProviderAnswer> {
  const answer = await request(wire.url, {
    method: wire.method as 'GET',
    headers: wire.headers,
    ...(wire.body === '' ? {} : { body: wire.body }),
  })
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(answer.headers)) {
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(', ') : value
  }
  const body = Buffer.from(await answer.body.arrayBuffer())
  return readAnswer({ status: answer.statusCode, headers, body })
}

/** What an answer means, by the platform's own code: the operation's word, the connector's, else the status. */
export function classify(
  connector: AnyConnector,
  operation: AnyOperation,
  answer: ProviderAnswer,
  now: number,
): Classification {
  return classifyAnswer(answer, { connector, operation, kind: operation.idempotency.kind, now })
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
