import type { IncomingMessage, ServerResponse } from 'node:http'
import { getRequestListener } from '@hono/node-server'
import type { ApiDeps } from './deps.ts'
import { problemAnswer } from './http/answers.ts'
import { HttpError } from './http/problem.ts'
import { answerHealth, answerReady } from './http/readiness.ts'
import { addApi, createRouter, type Router } from './http/router.ts'
import { createLive, type Live, type LiveAccess } from './live/index.ts'
import { addAuthorizing } from './oauth/index.ts'
import { apiRoutes } from './routes/index.ts'

/** The HTTP API and the live page, for a `node:http` server. */
export interface Api {
  /** Answers a request. It never throws. */
  handle(request: IncomingMessage, response: ServerResponse): void
  /** One-time links to the live page. */
  readonly liveAccess: LiveAccess
  /** Ends the streams of the live page, so that the server can close. `/ready` says "stopping" from then on. */
  close(): Promise<void>
}

export function createApi(deps: ApiDeps): Api {
  let closing = false
  const stopping = (): boolean => closing || deps.stopping?.() === true
  const { router, live } = buildRouter({ ...deps, stopping })
  const listen = getRequestListener((request, env) => router.fetch(request, env), {
    overrideGlobalObjects: false,
    errorHandler: () =>
      problemAnswer(new HttpError(400, 'request_invalid', 'The request is not HTTP that can be read.')),
  })
  return {
    handle(request, response) {
      listen(request, response).catch((error: unknown) => {
        deps.onFault?.('api', error)
        response.destroy()
      })
    },
    liveAccess: live.access,
    async close() {
      closing = true
      await live.close()
      // What is not written then is a time of last use, to the minute.
      await deps.vault.tokens.saveUses().catch(() => {})
    },
  }
}

/** Everything that answers. */
export function buildRouter(deps: ApiDeps & { readonly stopping: () => boolean }): {
  readonly router: Router
  readonly live: Live
} {
  const { database, clock, stopping, openHold } = deps
  const router = createRouter(deps)
  router.get('/health', () => answerHealth())
  router.get('/ready', () =>
    answerReady({ database: database.pool, clock, stopping, ...(openHold && { openHold }) }),
  )
  addApi(router, apiRoutes(deps), deps)
  addAuthorizing(router, deps)
  const live = createLive(deps)
  live.addTo(router)
  return { router, live }
}
