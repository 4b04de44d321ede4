import { codeOf, PermanentError, reasonOf, RetryableError, SECOND, type Clock } from '../base/index.ts'
import { checkInput } from '../contracts/index.ts'
import type { Egress, EgressResult } from '../egress/index.ts'
import type { BreakerResult } from '../resilience/index.ts'
import type {
  AfterUnauthorized,
  AuthorizationContext,
  AuthorizedRequest,
  UnauthorizedRequest,
} from '../vault/index.ts'
import { readAnswer } from './answer.ts'
import { healthOf } from './classify.ts'
import type { ConnectionStates, Ticket } from './connectionStates.ts'
import { judge, type Unauthorized } from './judge.ts'
import { notDone, type CallOutcome, type CapturedExchange, type Exchange } from './outcome.ts'
import { buildRequest, type CallConnection, type CallRequest, type RecordedRequest } from './request.ts'

/** What a call is made of. */
export interface CallParts {
  readonly clock: Clock
  readonly states: ConnectionStates
  readonly send: Egress['send']
  /** The vault's, for this connection. */
  readonly authorize: (
    connection: CallConnection,
    request: UnauthorizedRequest,
    context: AuthorizationContext,
  ) => Promise<AuthorizedRequest>
  readonly refreshAfterUnauthorized: (
    connection: CallConnection,
    credentialVersion: string,
  ) => Promise<AfterUnauthorized>
  /** Makes an exchange fit for the ledger. */
  readonly redact: (captured: CapturedExchange) => Promise<Exchange> | Exchange
}

const DEFAULT_TIMEOUT_MS = 30 * SECOND
/** When to ask again for a credential that cannot be had now and names no time. */
const CREDENTIAL_WAIT_MS = 5 * SECOND

/** Makes ONE attempt: prepare → admit → authorize → begin → send → judge. Every way out is a {@link CallOutcome}. */
export async function makeCall(call: CallRequest, parts: CallParts): Promise<CallOutcome> {
  const prepared = prepare(call)
  if (prepared.as === 'failed') return prepared

  const leave = parts.states.admit(call)
  if (leave.as === 'deferred') return leave

  const attempt: Attempt = { call, parts, ...prepared, ticket: leave.ticket, health: 'neutral' }
  try {
    const authorized = await authorize(attempt)
    if ('as' in authorized) return authorized
    await call.begin?.(prepared.request)
    const first = await sendAndJudge(attempt, authorized)
    if (first.as !== 'unauthorized') return first
    const again = await reauthorize(attempt, authorized, first)
    if ('as' in again) return again
    const second = await sendAndJudge(attempt, again)
    return second.as === 'unauthorized' ? { ...second, as: 'parked' } : second
  } finally {
    attempt.ticket.close(attempt.health)
  }
}

/** One attempt under way. */
interface Attempt {
  readonly call: CallRequest
  readonly parts: CallParts
  /** As the operation's input contract gave it out. */
  readonly input: unknown
  readonly request: RecordedRequest
  readonly ticket: Ticket
  health: BreakerResult
}

type Prepared = { readonly as: 'prepared'; readonly input: unknown; readonly request: RecordedRequest }
type Failed = Extract<CallOutcome, { as: 'failed' }>

/** Checks the input and makes the bytes; the bytes of an earlier attempt with the same key are taken as they are. */
function prepare(call: CallRequest): Prepared | Failed {
  const checked = checkInput(call.operation.input, call.input)
  if (checked.as === 'broken') {
    const where = checked.path === '' ? 'The input' : `The input at ${checked.path}`
    return notDone(
      'input_invalid',
      `${where} of ${call.operationName} is not what it takes: ${checked.reason}.`,
    )
  }
  try {
    const recorded = call.kind === 'send' ? call.recorded : undefined
    return { as: 'prepared', input: checked.value, request: recorded ?? buildRequest(call, checked.value) }
  } catch (error) {
    return notDone(codeOf(error, 'request_invalid'), `The request could not be made: ${reasonOf(error)}`)
  }
}

async function authorize(attempt: Attempt): Promise<AuthorizedRequest | CallOutcome> {
  const { call, parts, request } = attempt
  const { connection } = call
  const url = connection.baseUrl + request.path
  try {
    return await parts.authorize(
      connection,
      { method: request.method, url, headers: request.headers, body: request.body },
      { idempotencyKey: call.idempotencyKey, now: parts.clock.now() },
    )
  } catch (error) {
    return withoutCredential(error, parts.clock)
  }
}

/** After a 401: another credential, once. A refused request was not acted on, so nothing is in doubt. */
async function reauthorize(
  attempt: Attempt,
  refused: AuthorizedRequest,
  answer: Unauthorized,
): Promise<AuthorizedRequest | CallOutcome> {
  const { call, parts } = attempt
  let after: AfterUnauthorized
  try {
    after = await parts.refreshAfterUnauthorized(call.connection, refused.credentialVersion)
  } catch (error) {
    return withoutCredential(error, parts.clock)
  }
  if (after.as === 'refreshed') return authorize(attempt)
  if (after.as === 'postponed')
    return { as: 'deferred', until: after.retryAt, code: after.code, reason: after.reason }
  const reason = `${answer.reason} ${after.reason}`
  return { as: 'parked', code: after.code, reason, exchange: answer.exchange }
}

/** No credential for now: wait for it, or for a person. Faults of ours are thrown on. */
function withoutCredential(error: unknown, clock: Clock): CallOutcome {
  if (error instanceof PermanentError) return { as: 'parked', code: error.code, reason: error.message }
  if (!(error instanceof RetryableError)) throw error
  const until = error.retryAt ?? clock.now() + CREDENTIAL_WAIT_MS
  return { as: 'deferred', until, code: error.code, reason: error.message }
}

async function sendAndJudge(
  attempt: Attempt,
  authorized: AuthorizedRequest,
): Promise<CallOutcome | Unauthorized> {
  const { call, parts, input, ticket } = attempt
  const begun = parts.clock.monotonic()
  const result = await parts.send({
    method: authorized.method,
    url: authorized.url,
    headers: authorized.headers,
    body: authorized.body,
    timeoutMs: call.operation.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    allowPrivate: call.connection.allowPrivate,
  })
  attempt.health = healthOf(result)
  const ms = Math.round(parts.clock.monotonic() - begun)
  const exchange = await parts.redact(captureOf(call, authorized, result, ms))
  const seen = result.as === 'answered' ? readAnswer(result) : result
  const verdict = judge({ call, input, now: parts.clock.now() }, seen, exchange)
  if (!('as' in seen)) ticket.learn(seen, verdict.as === 'failed' ? verdict.retryAt : undefined)
  return verdict
}

function captureOf(
  call: CallRequest,
  authorized: AuthorizedRequest,
  result: EgressResult,
  ms: number,
): CapturedExchange {
  const { method, url, body, secretHeaders } = authorized
  const headers = Object.entries(authorized.headers).filter(
    ([name]) => !secretHeaders.includes(name.toLowerCase()),
  )
  return {
    connection: { tenant: call.connection.tenant, id: call.connection.id },
    request: { method, url, headers: Object.fromEntries(headers), body },
    ...(result.as === 'answered'
      ? { answer: { status: result.status, headers: result.headers, body: result.body } }
      : { fault: `${result.code}: ${result.reason}` }),
    ms,
    secretPaths: call.operation.secret ?? [],
  }
}
