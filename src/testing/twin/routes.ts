import { encodeJson, parseJson, type JsonValue } from '../../base/index.ts'

/** What a twin answers. Give `json` or `text`, or neither for an empty body. */
export interface TwinAnswer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly json?: unknown
  /** Sent as it is; set the content type in `headers`. */
  readonly text?: string
}

/** Something that the provider did, told at the moment when it did it. */
export interface EffectNote {
  /** What happened, `thing.verb_past`: `'refund.created'`. */
  readonly kind: string
  /** What makes it the same effect again: an idempotency key, an external id, the text of a note. */
  readonly key: string
  /** The provider's id of the made thing. */
  readonly ref: string
  /** In business words: `'refund of $19.99'`. */
  readonly summary: string
}

/** A request as a twin's route sees it. */
export interface TwinRequest<State> {
  /** Position in the request log, from 1. */
  readonly number: number
  readonly method: string
  readonly path: string
  /** Values of `:name` parts in the route's path, decoded. */
  readonly params: Readonly<Record<string, string>>
  readonly query: URLSearchParams
  /** Lower-case names; repeated headers are joined by `, `. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
  /** The body as lossless JSON; `undefined` where it is empty or no JSON. */
  readonly json: JsonValue | undefined
  /** The body as form fields; empty where it is none. */
  readonly form: URLSearchParams
  readonly state: State
  /** Milliseconds since 1970, by the twin's clock. */
  readonly now: number
  /** Notes something that the provider does, at the moment when it does it. */
  readonly effect: (effect: EffectNote) => void
  /**
   * An error that a test wants from inside the provider's processing (see `failNext`, `inside`). Key stores answer
   * and remember it; other routes may ignore it, the twin then answers it itself and the route does not run.
   */
  readonly failInside: TwinAnswer | undefined
}

export interface TwinRoute<State> {
  readonly method: string
  /** `/v1/customers/:id`; a last part `*` matches any rest. */
  readonly path: string
  readonly answer: (request: TwinRequest<State>) => TwinAnswer | Promise<TwinAnswer>
  /** Whether the route treats `failInside` itself, because it remembers answers by key. */
  readonly storesAnswers?: boolean
}

/** Declares a route, in the order of a request line. */
export function route<State>(
  method: string,
  path: string,
  answer: TwinRoute<State>['answer'],
  options: { storesAnswers?: boolean } = {},
): TwinRoute<State> {
  return { method, path, answer, ...options }
}

/** Thrown by a route to end with this answer: `throw new Refusal({ status: 404, json: … })`. */
export class Refusal extends Error {
  readonly answer: TwinAnswer
  constructor(answer: TwinAnswer) {
    super(`refused with ${answer.status}`)
    this.name = 'Refusal'
    this.answer = answer
  }
}

/** The route for a request and the values in its path. */
export function findRoute<Route extends { readonly method: string; readonly path: string }>(
  routes: readonly Route[],
  method: string,
  path: string,
): { route: Route; params: Record<string, string> } | undefined {
  for (const route of routes) {
    if (route.method !== method) continue
    const params = matchPath(route.path, path)
    if (params) return { route, params }
  }
  return undefined
}

/** The values of `:name` parts if the path fits the pattern. */
export function matchPath(pattern: string, path: string): Record<string, string> | undefined {
  const wanted = pattern.split('/')
  const given = path.split('/')
  const params: Record<string, string> = {}
  for (const [i, part] of wanted.entries()) {
    if (part === '*' && i === wanted.length - 1) return params
    const value = given[i]
    if (value === undefined) return undefined
    if (part.startsWith(':') && value !== '') params[part.slice(1)] = safeDecode(value)
    else if (part !== value) return undefined
  }
  return given.length === wanted.length ? params : undefined
}

function safeDecode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** The body as JSON, or `undefined`. */
export function jsonOf(body: Buffer): JsonValue | undefined {
  if (body.length === 0) return undefined
  try {
    return parseJson(body)
  } catch {
    return undefined
  }
}

/** The bytes and the headers of an answer. */
export function render(answer: TwinAnswer): {
  status: number
  headers: Record<string, string>
  body: string
} {
  const body = answer.text ?? (answer.json === undefined ? '' : encodeJson(answer.json))
  const headers: Record<string, string> = {
    ...(answer.json === undefined ? {} : { 'content-type': 'application/json' }),
    ...answer.headers,
  }
  return { status: answer.status, headers, body }
}
