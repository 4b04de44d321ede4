import { UsageError } from '../base/index.ts'

/** What speaks PostgreSQL's protocol behind DATABASE_URL. */
export const BACKENDS = ['postgres', 'citus', 'cockroachdb'] as const
export type Backend = (typeof BACKENDS)[number]

/** Reads `TRESTLE_DATABASE_BACKEND`; nothing or '' is `postgres`. Throws `backend_unknown`. */
export function readBackend(text: string | undefined): Backend {
  const backend = BACKENDS.find((known) => known === (text || 'postgres'))
  if (backend) return backend
  throw new UsageError(
    'backend_unknown',
    `TRESTLE_DATABASE_BACKEND is "${text}". There are: ${BACKENDS.join(', ')}. Leave it out for PostgreSQL.`,
  )
}
