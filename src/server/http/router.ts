import type { HttpBindings } from '@hono/node-server'
import { OpenAPIHono } from '@hono/zod-openapi'
import type { Context } from 'hono'
import { jsonAnswer, problemAnswer } from './answers.ts'
import { authenticate, type Caller } from './bearer.ts'
import { within } from './deadline.ts'
import { API_PREFIX, describeRoute, openApiDocument } from './openapi.ts'
import { refuseOpen, refuseWithout } from './permission.ts'
import { HttpError, httpErrorOf } from './problem.ts'
import { ANSWER_LIMIT_MS, readInput, type AnyRoute } from './route.ts'
import type { ApiDeps } from '../deps.ts'

type ServerEnv = { Bindings: HttpBindings; Variables: { caller: Caller } }
export type ServerContext = Context<ServerEnv>
export type Router = OpenAPIHono<ServerEnv>

/** A router that answers every error as a problem, and 405 where only the method is wrong. */
export function createRouter({ clock, onFault }: Pick<ApiDeps, 'clock' | 'onFault'>): Router {
  const router = new OpenAPIHono<ServerEnv>()
  router.onError((thrown) => {
    const { error, isFault } = httpErrorOf(thrown, clock)
    if (isFault) onFault?.('api', thrown)
    return problemAnswer(error)
  })
  router.notFound((context) => problemAnswer(nothingHere(router, context)))
  return router
}

/** Adds the routes of the API behind the check of the token, and the document that describes them. */
export function addApi(router: Router, routes: readonly AnyRoute[], deps: ApiDeps): void {
  const { vault, clock, publicUrl } = deps
  router.use(`${API_PREFIX}/*`, async (context, next) => {
    const caller = await authenticate(context.req.header('authorization'), vault.tokens, clock)
    context.set('caller', caller)
    await next()
    // Whoever uses a token learns in time that it ends.
    if (caller.expiresAt) context.res.headers.set('trestle-token-expires', caller.expiresAt.toISOString())
  })
  for (const route of routes) {
    refuseOpen(route)
    describeRoute(router.openAPIRegistry, route)
    router.on(route.method.toUpperCase(), API_PREFIX + honoPath(route.path), (context) =>
      answerRoute(route, context, deps),
    )
  }
  let document: Record<string, unknown> | undefined
  router.get(`${API_PREFIX}/openapi.json`, () => {
    document ??= openApiDocument(router as unknown as OpenAPIHono, publicUrl())
    return jsonAnswer(200, document)
  })
}

async function answerRoute(
  route: AnyRoute,
  context: ServerContext,
  { clock, tenant }: ApiDeps,
): Promise<Response> {
  refuseWithout(route, context.get('caller'), tenant)
  const input = await readInput(route, {
    params: context.req.param(),
    query: new URL(context.req.url).searchParams,
    request: context.env.incoming,
    caller: context.get('caller'),
  })
  const limit = route.limitMs ?? ANSWER_LIMIT_MS
  const result: unknown = await within(clock, limit, 'Trestle', route.answer(input) as Promise<unknown>)
  return jsonAnswer(route.status ?? 200, result)
}

/** `/runs/{id}` is `/runs/:id`. */
function honoPath(path: string): string {
  return path.replace(/\{(\w+)\}/g, ':$1')
}

/** 404, or 405 with the methods that there are (RFC 9110, 15.5.6). */
function nothingHere(router: Router, context: ServerContext): HttpError {
  const { path, method } = context.req
  const allowed = new Set(
    router.routes
      .filter((route) => route.method !== 'ALL' && matches(route.path, path))
      .map((route) => route.method),
  )
  if (allowed.size === 0 || allowed.has(method))
    return new HttpError(404, 'not_found', `There is nothing at ${method} ${path.slice(0, 200)}.`)
  if (allowed.has('GET')) allowed.add('HEAD')
  const allow = [...allowed].join(', ')
  return new HttpError(405, 'method_not_allowed', `${method} is not for this path. Use ${allow}.`, {
    headers: { allow },
  })
}

function matches(pattern: string, path: string): boolean {
  const parts = pattern.split('/')
  const given = path.split('/')
  return (
    parts.length === given.length &&
    parts.every((part, i) => (part.startsWith(':') ? given[i] !== '' : part === given[i]))
  )
}
