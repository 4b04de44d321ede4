import type { OpenAPIHono, RouteConfig } from '@hono/zod-openapi'
import { z } from '@hono/zod-openapi'
import { SCOPES } from '../../vault/index.ts'
import type { AnyRoute } from './route.ts'

export const API_PREFIX = '/api/v1'

const problem = z
  .object({
    type: z.literal('about:blank'),
    title: z.string(),
    status: z.int(),
    detail: z.string().openapi({ description: 'What happened and what to do.' }),
    code: z.string().openapi({ description: 'What happened, for programs.' }),
    errors: z
      .array(
        z.object({
          at: z.string().openapi({ description: 'JSON Pointer into the body, or a parameter.' }),
          detail: z.string(),
        }),
      )
      .optional(),
  })
  .openapi('Problem', { description: 'RFC 9457.' })

const PROBLEM_CONTENT = { 'application/problem+json': { schema: problem } }

/** What any route may answer. */
const COMMON: Readonly<Record<number, string>> = {
  400: 'The request cannot be read; the errors say where.',
  401: 'No API token, or one that is unknown, expired or revoked.',
  403: 'The token has not the scope that this needs.',
  413: 'The body is too large.',
  503: 'The database cannot be used now, or did not answer in time. Try again after Retry-After.',
}
const WITH_BODY: Readonly<Record<number, string>> = { 415: 'The body has another type.' }

/** Puts a route into the OpenAPI document. */
export function describeRoute(registry: OpenAPIHono['openAPIRegistry'], route: AnyRoute): void {
  registry.registerPath({
    method: route.method,
    path: API_PREFIX + route.path,
    operationId: operationId(route),
    tags: [route.tag],
    summary: route.summary,
    description: [...(route.description === undefined ? [] : [route.description]), needsWords(route)].join(
      '\n\n',
    ),
    // OpenAPI 3.1, "Security Requirement Object": of a scheme that is not OAuth, what is needed for the operation.
    security: [{ token: [route.needs.scope] }],
    'x-trestle-needs': { scope: route.needs.scope, role: SCOPES[route.needs.scope].role },
    request: requestOf(route),
    responses: responsesOf(route),
  })
}

function needsWords({ needs: { scope, wholeInstallation } }: AnyRoute): string {
  const whole = wholeInstallation ? ' The token is one of the installation’s own tenant.' : ''
  return `Needs the scope \`${scope}\`: the role ${SCOPES[scope].role} or one above it.${whole}`
}

/** `GET /runs/{id}` is `getRunsById`. */
function operationId({ method, path }: AnyRoute): string {
  const words = path.split('/').filter((part) => part !== '')
  const named = words.map((word) => (word.startsWith('{') ? `By-${word.slice(1, -1)}` : word))
  return `${method}-${named.join('-')}`.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())
}

function requestOf(route: AnyRoute): RouteConfig['request'] {
  const content =
    route.raw ?? (route.body && { 'application/json': { schema: route.body.schema as z.ZodType } })
  return {
    ...(route.params ? { params: route.params as z.ZodObject } : {}),
    ...(route.query ? { query: route.query as z.ZodObject } : {}),
    ...(content ? { body: { required: route.body?.optional !== true, content } } : {}),
  }
}

function responsesOf(route: AnyRoute): RouteConfig['responses'] {
  const errors: Readonly<Record<number, string>> = {
    ...COMMON,
    ...(route.body || route.raw ? WITH_BODY : {}),
    ...route.errors,
  }
  return {
    [route.status ?? 200]: {
      description: route.summary,
      content: { 'application/json': { schema: route.result as z.ZodType } },
    },
    ...Object.fromEntries(
      Object.entries(errors).map(([status, description]) => [
        status,
        { description, content: PROBLEM_CONTENT },
      ]),
    ),
  }
}

/** The document, of all routes that were described. */
export function openApiDocument(app: OpenAPIHono, url: string): Record<string, unknown> {
  app.openAPIRegistry.registerComponent('securitySchemes', 'token', {
    type: 'http',
    scheme: 'bearer',
    description:
      'An API token, made with: trestle tokens create NAME --role ROLE --scope SCOPE. What an operation needs stands with it.',
  })
  return app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'Trestle',
      version: '1',
      description:
        'What came in, what was done about it and what went out; and what people may do to it. Whole numbers in data may be beyond 2^53.',
      license: { name: 'MIT', url: 'https://spdx.org/licenses/MIT.html' },
    },
    servers: [{ url }],
  }) as unknown as Record<string, unknown>
}
