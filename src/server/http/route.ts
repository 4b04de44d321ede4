import type { IncomingMessage } from 'node:http'
import { z } from '@hono/zod-openapi'
import { escapePointer, parseJson, type JsonValue } from '../../base/index.ts'
import type { Caller } from './bearer.ts'
import { contentTypeOf, readBody, refuseCompressed } from './body.ts'
import type { Needs } from './permission.ts'
import { HttpError, type InputMistake } from './problem.ts'

type Shape = z.ZodObject

/** One route of the API: what it takes, what it gives, and the work between. */
export interface RouteDefinition<
  Params extends Shape,
  Query extends Shape,
  Body extends z.ZodType,
  Result extends z.ZodType,
> {
  readonly method: 'get' | 'post'
  /** Below `/api/v1`, as OpenAPI writes it: `/runs/{id}`. */
  readonly path: string
  readonly tag: string
  /** What a token needs to use it. */
  readonly needs: Needs
  /** One line, as in a table of contents. */
  readonly summary: string
  readonly description?: string
  readonly params?: Params
  readonly query?: Query
  /** A JSON body. `optional`: none at all is read as `{}`. */
  readonly body?: { readonly schema: Body; readonly optional?: boolean }
  /** A body that the route reads itself; these types and no others. */
  readonly raw?: Readonly<Record<string, { readonly schema: z.ZodType; readonly example?: unknown }>>
  readonly status?: 200 | 202
  readonly result: Result
  /** What can go wrong beyond what every route has, by status. */
  readonly errors?: Readonly<Record<number, string>>
  /** Milliseconds until the answer is 503. Default {@link ANSWER_LIMIT_MS}. */
  readonly limitMs?: number
  readonly answer: (input: RouteInput<Params, Query, Body>) => Promise<z.input<Result>>
}

export interface RouteInput<Params extends Shape, Query extends Shape, Body extends z.ZodType> {
  readonly params: z.output<Params>
  readonly query: z.output<Query>
  readonly body: z.output<Body>
  readonly caller: Caller
  readonly raw: { readonly contentType: string; readonly bytes: Buffer; readonly request: IncomingMessage }
}

// oxlint-disable-next-line typescript/no-explicit-any -- a list of routes of any input and result
export type AnyRoute = RouteDefinition<any, any, any, any>

/** The time that a listing or an action may take, in milliseconds. */
export const ANSWER_LIMIT_MS = 10_000

/** Declares a route; types of its input and result come from the schemas. */
export function defineRoute<
  Result extends z.ZodType,
  Params extends Shape = Shape,
  Query extends Shape = Shape,
  Body extends z.ZodType = z.ZodUndefined,
>(definition: RouteDefinition<Params, Query, Body, Result>): AnyRoute {
  return definition
}

export interface Asked {
  readonly params: Readonly<Record<string, string>>
  readonly query: URLSearchParams
  readonly request: IncomingMessage
  readonly caller: Caller
}

/** The request as the route takes it. Throws 400, 413, 415 with every mistake and its place. */
export async function readInput(route: AnyRoute, asked: Asked): Promise<RouteInput<Shape, Shape, z.ZodType>> {
  const { params, query, request, caller } = asked
  const contentType = contentTypeOf(request)
  refuseCompressed(request)
  const bytes = await readBody(request)
  const readParams = checked(route.params ?? NOTHING, params, 'parameter_invalid', nameOf)
  const readQuery = checked(route.query ?? NOTHING, queryOf(query), 'parameter_invalid', nameOf)
  refuseType(route, contentType, bytes)
  const body = route.body && bodyOf(route.body, bytes)
  return {
    params: readParams as Record<string, unknown>,
    query: readQuery as Record<string, unknown>,
    body,
    caller,
    raw: { contentType, bytes, request },
  }
}

const NOTHING = z.strictObject({})

/** A parameter given several times is a list. */
function queryOf(query: URLSearchParams): Record<string, string | string[]> {
  const read: Record<string, string | string[]> = Object.create(null) as Record<string, string | string[]>
  for (const name of new Set(query.keys())) {
    const values = query.getAll(name)
    read[name] = values.length === 1 ? values[0]! : values
  }
  return { ...read }
}

function refuseType(route: AnyRoute, contentType: string, bytes: Buffer): void {
  const accepted = route.raw ? Object.keys(route.raw) : ['application/json']
  const wanted = route.raw !== undefined || route.body !== undefined
  if (!wanted || (bytes.length === 0 && route.body?.optional) || accepted.includes(contentType)) return
  throw new HttpError(
    415,
    'content_type_unsupported',
    `This route reads ${accepted.join(', ')}; the request has ${contentType === '' ? 'no Content-Type' : `"${contentType.slice(0, 100)}"`}.`,
    { headers: { accept: accepted.join(', ') } },
  )
}

function bodyOf(body: NonNullable<AnyRoute['body']>, bytes: Buffer): unknown {
  const value: JsonValue = bytes.length === 0 && body.optional ? {} : parseJson(bytes)
  return checked(body.schema as z.ZodType, value, 'body_invalid', pointerOf)
}

function checked(
  schema: z.ZodType,
  value: unknown,
  code: string,
  at: (path: readonly PropertyKey[]) => string,
): unknown {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const errors = result.error.issues.slice(0, 20).flatMap((issue) => mistakesOf(issue, at))
  throw new HttpError(400, code, errors.map((error) => `${error.at}: ${error.detail}`).join('; '), { errors })
}

function mistakesOf(issue: z.core.$ZodIssue, at: (path: readonly PropertyKey[]) => string): InputMistake[] {
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => ({
      at: at([...issue.path, key]),
      detail: 'There is no such parameter or member here.',
    }))
  return [{ at: at(issue.path), detail: issue.message }]
}

const nameOf = (path: readonly PropertyKey[]): string => path.map(String).join('.')
const pointerOf = (path: readonly PropertyKey[]): string =>
  path.map((part) => `/${escapePointer(String(part))}`).join('')
