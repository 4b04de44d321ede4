import { codeOf, type Clock } from '../../base/index.ts'
import { missingMigrations, type Queryable } from '../../db/index.ts'
import { jsonAnswer } from './answers.ts'
import { within } from './deadline.ts'

/** Why a node takes no work; empty: it does. */
type NotReady = {
  readonly code: 'stopping' | 'database_unavailable' | 'migrations_missing'
  readonly reason: string
}

/** A probe gets its answer within this time, whatever hangs. */
export const READY_LIMIT_MS = 500

export interface ReadinessDeps {
  readonly database: Queryable
  readonly clock: Clock
  readonly stopping: () => boolean
  /** The hold that is open: what comes in is taken all the same, so the node is ready. Default: none. */
  readonly openHold?: () => OpenHold | undefined
}

/** What anybody may know of a hold. */
export interface OpenHold {
  readonly kind: string
  readonly beganAt: Date
}

/** The process answers: that is all it says. */
export function answerHealth(): Response {
  return jsonAnswer(200, { status: 'ok' })
}

/** 200, which also says whether a hold is open, or 503 with every reason. */
export async function answerReady(deps: ReadinessDeps): Promise<Response> {
  const reasons = await findReasons(deps)
  return reasons.length === 0
    ? jsonAnswer(200, { status: 'ready', ...holdOf(deps.openHold?.()) })
    : jsonAnswer(503, { status: 'not_ready', reasons }, { 'retry-after': '5' })
}

function holdOf(open: OpenHold | undefined): object {
  return open ? { hold: { kind: open.kind, since: open.beganAt.toISOString() } } : {}
}

async function findReasons({ database, clock, stopping }: ReadinessDeps): Promise<readonly NotReady[]> {
  const reasons: NotReady[] = stopping() ? [{ code: 'stopping', reason: 'This node is stopping.' }] : []
  try {
    const missing = await within(clock, READY_LIMIT_MS, 'The database', missingMigrations(database))
    if (missing.length > 0)
      reasons.push({
        code: 'migrations_missing',
        reason: `The database has not had: ${missing.join(', ')}. Start a node of this version; it brings it up to date.`,
      })
  } catch (error) {
    // The driver's words name hosts; whoever has no token need not know them.
    const late = codeOf(error, '') === 'deadline_exceeded'
    reasons.push({
      code: 'database_unavailable',
      reason: late
        ? `The database did not answer within ${READY_LIMIT_MS} ms.`
        : 'The database cannot be reached, or refuses us.',
    })
  }
  return reasons
}
