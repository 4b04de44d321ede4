import { STATUS_CODES } from 'node:http'
import {
  JsonError,
  NotFoundError,
  type RetryableError,
  SECOND,
  TrestleError,
  UsageError,
  type Clock,
} from '../../base/index.ts'
import { asUnavailable } from '../../db/index.ts'

/** An error as the API answers it (RFC 9457), `application/problem+json`. */
export interface Problem {
  /** Always `about:blank`: the title is the status in words, and `code` says what happened. */
  readonly type: 'about:blank'
  readonly title: string
  readonly status: number
  /** What happened and what to do, for people. */
  readonly detail: string
  /** What happened, for programs: closed words such as `state_conflict`. */
  readonly code: string
  /** What is wrong with the input, place by place. */
  readonly errors?: readonly InputMistake[]
}

export interface InputMistake {
  /** JSON Pointer into the body, or the name of a parameter. */
  readonly at: string
  readonly detail: string
}

/** Thrown to answer with this status. */
export class HttpError extends Error {
  readonly problem: Problem
  readonly headers: Readonly<Record<string, string>>

  constructor(
    status: number,
    code: string,
    detail: string,
    more: {
      readonly errors?: readonly InputMistake[]
      readonly headers?: Readonly<Record<string, string>>
    } = {},
  ) {
    super(detail)
    this.name = 'HttpError'
    this.problem = {
      type: 'about:blank',
      title: STATUS_CODES[status] ?? 'Error',
      status,
      detail,
      code,
      ...(more.errors === undefined ? {} : { errors: more.errors }),
    }
    this.headers = more.headers ?? {}
  }
}

/** The state of things does not allow it now. */
const CONFLICTS: ReadonlySet<string> = new Set([
  'state_conflict',
  'effects_repeated',
  'effects_forgotten',
  'version_conflict',
  'connection_declared',
])
/** The caller has not what it wants to give. */
const FORBIDDEN: ReadonlySet<string> = new Set(['token_rights_beyond'])
/** Well said, but it cannot be done with what is configured or stored. */
const UNPROCESSABLE: ReadonlySet<string> = new Set([
  'still_quarantined',
  'connector_missing',
  'connector_invalid',
  'flow_missing',
  'no_flow',
  'step_unknown',
])
/** `Retry-After` of a 503 where the fault names no time. */
const RETRY_AFTER_SECONDS = 5

/** What to answer for something thrown. A fault of ours tells nothing of itself: `isFault` says to report it. */
export function httpErrorOf(
  thrown: unknown,
  clock: Clock,
): { readonly error: HttpError; readonly isFault: boolean } {
  const expected = expectedError(thrown, clock)
  if (expected) return { error: expected, isFault: false }
  // A permanent error of ours is worded for people and holds no secret; anything else may hold whatever.
  return thrown instanceof TrestleError
    ? { error: new HttpError(500, thrown.code, thrown.message), isFault: true }
    : {
        error: new HttpError(
          500,
          'internal_error',
          'Something went wrong within Trestle. Its log says what; please report it.',
        ),
        isFault: true,
      }
}

function expectedError(thrown: unknown, clock: Clock): HttpError | undefined {
  if (thrown instanceof HttpError) return thrown
  if (thrown instanceof NotFoundError) return new HttpError(404, thrown.code, thrown.message)
  if (thrown instanceof UsageError) return new HttpError(statusOf(thrown.code), thrown.code, thrown.message)
  if (thrown instanceof JsonError)
    return new HttpError(400, thrown.code, thrown.message, {
      errors: [{ at: thrown.path, detail: thrown.message }],
    })
  const passing = asUnavailable(thrown)
  return passing && unavailable(passing, clock)
}

function statusOf(code: string): number {
  if (CONFLICTS.has(code)) return 409
  if (FORBIDDEN.has(code)) return 403
  return UNPROCESSABLE.has(code) ? 422 : 400
}

function unavailable(error: RetryableError, clock: Clock): HttpError {
  const seconds =
    error.retryAt === undefined
      ? RETRY_AFTER_SECONDS
      : Math.max(1, Math.ceil((error.retryAt - clock.now()) / SECOND))
  // The driver's own words may name hosts and users.
  const detail =
    error.code === 'database_unavailable' ? 'The database cannot be used now. Try again.' : error.message
  return new HttpError(503, error.code, detail, { headers: { 'retry-after': String(seconds) } })
}
