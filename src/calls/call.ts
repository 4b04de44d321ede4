import { codeOf, PermanentError, reasonOf, RetryableError, SECOND, type Clock } from '../base/index.ts'
import { checkInput } from '../contracts/index.ts'
import type { Egress, EgressRequest, EgressResult } from '../egress/index.ts'
import type { Redactor } from '../ledger/index.ts'
import type {
  AfterUnauthorized,
  AuthorizationContext,
  AuthorizedRequest,
  UnauthorizedRequest,
} from '../vault/index.ts'
import { readAnswer } from './answer.ts'
import type { Breakers, SeenCall } from './breakers.ts'
import { healthOf } from './classify.ts'
import type { Budgets, BudgetTicket } from './budgets/index.ts'
import { judge, type Unauthorized } from './judge.ts'
import { notDone, type CallOutcome, type CredentialRef } from './outcome.ts'
import { exchangeOf, withRedactedReason, type Redactors } from './redaction.ts'
import {
  buildRequest,
  isMail,
  mailServerFor,
  type CallConnection,
  type CallRequest,
  type RecordedRequest,
} from './request.ts'

/** What a call is made of. */
export interface CallParts {
  readonly clock: Clock
  readonly breakers: Breakers
  readonly budgets: Budgets
  readonly send: Egress['send']
  readonly mail: Egress['mail']
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
  readonly redactors: Redactors
}

/** How long an exchange may take where its operation says nothing else. */
export const DEFAULT_TIMEOUT_MS = 30 * SECOND
/** When to ask again for a credential that cannot be had now and names no time. */
const CREDENTIAL_WAIT_MS = 5 * SECOND

/** Makes ONE attempt: prepare → admit → authorize → begin → send → judge. Every way out is a {@link CallOutcome}. */
export async function makeCall(call: CallRequest, parts: CallParts): Promise<CallOutcome> {
  const prepared = await prepare(call)
  if (prepared.as === 'failed') return prepared

  const before = parts.breakers.ask(call)
  if (before.as === 'refused') return heldBack(before)
  const leave = await parts.budgets.admit(call)
  if (leave.as === 'deferred') return leave
  // The provider may have gone away while the call waited for its turn.
  const permission = parts.breakers.ask(call)
  if (permission.as === 'refused') {
    leave.ticket.notMade()
    leave.ticket.close()
    return heldBack(permission)
  }

  const attempt: Attempt = {
    call,
    parts,
    ...prepared,
    ticket: leave.ticket,
    begunAt: parts.clock.monotonic(),
    seen: NOTHING_SEEN,
  }
  try {
    const authorized = await authorize(attempt)
    if (authorized.as !== 'authorized') return authorized
    attempt.begunAt = parts.clock.monotonic()
    await call.begin?.(prepared.request)
    const first = await sendAndJudge(attempt, authorized)
    if (first.as !== 'unauthorized') return first
    const again = await reauthorize(attempt, authorized, first)
    if (again.as !== 'authorized') return again
    const turnedAway = await takeAnotherTurn(attempt)
    if (turnedAway !== undefined) return turnedAway
    const second = await sendAndJudge(attempt, again)
    return second.as === 'unauthorized' ? { ...second, as: 'parked', credential: refusedOf(call) } : second
  } finally {
    attempt.ticket.close()
    permission.pass(attempt.seen)
  }
}

function heldBack({ reason, outage }: Extract<ReturnType<Breakers['ask']>, { as: 'refused' }>): CallOutcome {
  return { as: 'parked', code: 'circuit_open', reason, outage }
}

/** One attempt under way. */
interface Attempt {
  readonly call: CallRequest
  readonly parts: CallParts
  /** As the operation's input contract gave it out. */
  readonly input: unknown
  readonly request: RecordedRequest
  ticket: BudgetTicket
  /** On the monotonic clock, from before the beginning is committed: the exchange's time counts from here. */
  begunAt: number
  /** What it showed of the provider's health. */
  seen: SeenCall
}

const NOTHING_SEEN: SeenCall = { health: 'neutral', ms: 0, timedOut: false, boundMs: 0, code: '', words: '' }

type Prepared = { readonly as: 'prepared'; readonly input: unknown; readonly request: RecordedRequest }
type Failed = Extract<CallOutcome, { as: 'failed' }>

/** Checks the input and makes the bytes; the bytes of an earlier attempt with the same key are taken as they are. */
async function prepare(call: CallRequest): Promise<Prepared | Failed> {
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
    const request = recorded ?? (await buildRequest(call, checked.value))
    if (isMail(request)) mailServerFor(call.connection)
    return { as: 'prepared', input: checked.value, request }
  } catch (error) {
    return notDone(codeOf(error, 'request_invalid'), `The request could not be made: ${reasonOf(error)}`)
  }
}

/** A request with its credential, and what will take that out of everything that is kept. */
interface Authorized {
  readonly as: 'authorized'
  readonly request: AuthorizedRequest
  readonly redactor: Redactor
}

async function authorize(attempt: Attempt): Promise<Authorized | CallOutcome> {
  const { call, parts } = attempt
  const { method, path, headers, body } = attempt.request
  const url = call.connection.baseUrl + path
  const context = { idempotencyKey: call.idempotencyKey, now: parts.clock.now() }
  try {
    const request = await parts.authorize(call.connection, { method, url, headers, body }, context)
    return { as: 'authorized', request, redactor: await parts.redactors.of(call, request) }
  } catch (error) {
    return withoutCredential(error, call, parts.clock)
  }
}

/** After a 401: another credential, once. A refused request was not acted on, so nothing is in doubt. */
async function reauthorize(
  attempt: Attempt,
  refused: Authorized,
  answer: Unauthorized,
): Promise<Authorized | CallOutcome> {
  const { call, parts } = attempt
  let after: AfterUnauthorized
  try {
    after = await parts.refreshAfterUnauthorized(call.connection, refused.request.credentialVersion)
  } catch (error) {
    return withoutCredential(error, call, parts.clock)
  }
  if (after.as === 'refreshed') return authorize(attempt)
  if (after.as === 'postponed')
    return { as: 'deferred', until: after.retryAt, code: after.code, reason: after.reason }
  const reason = `${answer.reason} ${after.reason}`
  return { as: 'parked', code: after.code, reason, exchange: answer.exchange, credential: refusedOf(call) }
}

/** What is sent a second time counts a second time. Gives what becomes of a call that cannot go now. */
async function takeAnotherTurn(attempt: Attempt): Promise<CallOutcome | undefined> {
  attempt.ticket.close()
  const leave = await attempt.parts.budgets.admit(attempt.call)
  if (leave.as === 'deferred') return leave
  attempt.ticket = leave.ticket
  return undefined
}

/** No credential for now: wait for it, or for a person. Faults of ours are thrown on. */
function withoutCredential(error: unknown, call: CallRequest, clock: Clock): CallOutcome {
  if (error instanceof PermanentError) {
    const missing = error.code === 'needs_reauthorization'
    const credential = missing ? { ...refusedOf(call), as: 'missing' as const } : refusedOf(call)
    return { as: 'parked', code: error.code, reason: error.message, credential }
  }
  if (!(error instanceof RetryableError)) throw error
  const until = error.retryAt ?? clock.now() + CREDENTIAL_WAIT_MS
  return { as: 'deferred', until, code: error.code, reason: error.message }
}

function refusedOf({ connection }: CallRequest): CredentialRef {
  return { connectionId: connection.id, as: 'refused' }
}

async function sendAndJudge(attempt: Attempt, authorized: Authorized): Promise<CallOutcome | Unauthorized> {
  const { call, parts, input, ticket } = attempt
  const { request, redactor } = authorized
  const boundMs = call.operation.timeoutMs ?? DEFAULT_TIMEOUT_MS
  const begun = parts.clock.monotonic()
  const around = {
    timeoutMs: parts.breakers.timeoutMs(call, boundMs),
    allowPrivate: call.connection.allowPrivate,
    spentMs: begun - attempt.begunAt,
    mayLeave: () => call.mayLeave?.() !== false && ticket.leaves(),
    onBehalfOf: {
      tenant: call.tenant,
      connectionId: call.connection.id,
      ...(call.runId !== '' && { runId: call.runId }),
    },
  }
  const result = isMail(attempt.request)
    ? await mailOut(attempt, request, around)
    : await parts.send({
        method: request.method,
        url: request.url,
        headers: request.headers,
        body: request.body,
        ...around,
      })
  const ms = parts.clock.monotonic() - begun
  const exchange = exchangeOf(redactor, request, result, Math.round(ms))
  const seen = result.as === 'answered' ? readAnswer(result) : result
  const verdict = judge({ call, input, now: parts.clock.now() }, seen, exchange)
  if (!('as' in seen)) ticket.learn(seen, verdict.as === 'failed' ? verdict.retryAt : undefined)
  const redacted = withRedactedReason(verdict, redactor)
  const health = healthOf(result, isMail(attempt.request))
  attempt.seen = seenOf(result, { ms, boundMs, health }, redacted)
  return redacted
}

/** The same for a mail, or for the greeting alone. */
function mailOut(
  { call, parts, request }: Attempt,
  { login }: AuthorizedRequest,
  around: Pick<EgressRequest, 'timeoutMs' | 'allowPrivate' | 'spentMs' | 'mayLeave' | 'onBehalfOf'>,
): Promise<EgressResult> {
  const { envelope, body, headers } = request
  return parts.mail({
    server: mailServerFor(call.connection),
    login,
    ...(envelope && body && { mail: { ...envelope, bytes: body, messageId: headers['message-id'] ?? '' } }),
    ...around,
  })
}

/** What an exchange shows of the provider's health, and its answer in words that hold no secret. */
function seenOf(
  result: EgressResult,
  took: Pick<SeenCall, 'ms' | 'boundMs' | 'health'>,
  outcome: CallOutcome | Unauthorized,
): SeenCall {
  const code = 'code' in outcome ? outcome.code : outcome.as
  const words = 'reason' in outcome ? outcome.reason : outcome.as
  const timedOut = result.as === 'unknown' && result.code === 'timeout'
  return { ...took, timedOut, code, words }
}
