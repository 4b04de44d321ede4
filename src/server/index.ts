/**
 * HTTP for people and programs: the API at `/api/v1`, `/health` and `/ready`, and the live page at `/`.
 *
 * Owns: who may ask (bearer tokens, sessions of the live page), what is asked and answered, the OpenAPI document,
 * errors as RFC 9457 says, reading for listings and screens.
 * Leaves to others: webhooks (webhooks), every change (operator, inbox), the server that listens (runtime).
 *
 * Invariants
 * 1. Without a token or a session nothing answers but `/health`, `/ready` and the way to sign in.
 * 2. Who asks sees one tenant: its token's, or its session's. Every statement names it.
 * 3. Events are answered 202 only after their commit; what keeps us from it is 503, within 500 ms of their last byte.
 * 4. Who follows a listing with `oldest_first` misses nothing, however late it commits.
 * 5. What was stored is given losslessly: whole numbers beyond 2^53, and bytes that are no text.
 * 6. Every body, page, stream and answer has a limit of size or time.
 * 7. Text of others is escaped and isolated on every screen; no screen runs a script but our own.
 */
export { createApi, type Api } from './api.ts'
export type { ApiDeps } from './deps.ts'
export { boundConnections, CONNECTION_LIMITS, type ConnectionLimits } from './http/connections.ts'
export { writeJson } from './http/json.ts'
export type { AnyRoute } from './http/route.ts'
export { apiRoutes } from './routes/index.ts'
export { createProbes } from './probes.ts'
