import { codeOf, PermanentError, reasonOf, SECOND } from '../base/index.ts'
import { checkAnswer } from '../contracts/index.ts'
import type { AnyOperation, Classification, IdempotencyKind, LostExchange } from '../define/index.ts'
import type { NotSent, Unknown } from '../egress/index.ts'
import { readAnswer, type ReadAnswer } from './answer.ts'
import { byStatus, classify, classifyLost } from './classify.ts'
import { notDone, type CallOutcome, type Exchange } from './outcome.ts'
import { idempotencyAt, lookupOf, type CallRequest } from './request.ts'

/** The credential was refused; whoever asked may try another one. */
export interface Unauthorized {
  readonly as: 'unauthorized'
  readonly code: string
  readonly reason: string
  readonly exchange: Exchange
}

export interface Judging {
  readonly call: CallRequest
  /** As the operation's input contract gave it out. */
  readonly input: unknown
  readonly now: number
}

const SUMMARY_LIMIT = 300
/** When to ask again for what was not sent because the node could not be sure of its runs; a heartbeat later. */
const UNSENT_WAIT_MS = SECOND

/** What became of what was sent, as far as can be known. Decides, and does nothing. */
export function judge(
  judging: Judging,
  result: ReadAnswer | NotSent | Unknown,
  exchange: Exchange,
): CallOutcome | Unauthorized {
  const { call, now } = judging
  if ('as' in result && result.as === 'not_sent') {
    // Not the provider's doing, and no attempt: whoever has the run now, or this node again, goes on with it.
    if (result.code === 'withdrawn' || result.code === 'expired')
      return { as: 'deferred', until: now + UNSENT_WAIT_MS, code: result.code, reason: result.reason }
    // The policy's refusal is no one's opinion.
    if (result.code === 'egress_denied') return { ...notDone(result.code, result.reason), exchange }
  }

  // A look-up is a read, whatever the operation is.
  const kind = call.kind === 'lookup' ? 'natural' : idempotencyAt(call.operation, call.begunAt, now).kind
  const { connector } = call.connection
  // An operation's own rules are for its own exchanges, not for those of its look-up.
  const context = { operation: call.kind === 'send' ? call.operation : undefined, connector, kind, now }
  if (!('as' in result))
    return meant(classify(result, context), { ...judging, kind, answer: result, exchange })
  if (result.as === 'unknown' && result.status !== undefined && isRefusal(result.status)) {
    // The status line alone says that it was refused, though the rest did not come.
    const answer = readAnswer({ status: result.status, headers: {}, body: Buffer.alloc(0) })
    return meant(byStatus(answer, kind), { ...judging, kind, answer, exchange })
  }
  return lostFor(classifyLost(lostExchange(result), context), kind, exchange)
}

function isRefusal(status: number): boolean {
  return status >= 400 && status < 500
}

const LOST_CODES = {
  reset: 'connection_lost',
  timeout: 'timed_out',
  truncated: 'answer_truncated',
  too_large: 'answer_too_large',
} as const

/** How far the exchange came, in the words of connectors. */
function lostExchange(result: NotSent | Unknown): LostExchange {
  const { reason } = result
  if (result.as === 'not_sent') return { phase: 'connecting', code: result.code, reason }
  const code = LOST_CODES[result.code]
  return result.status === undefined
    ? { phase: 'waiting', code, reason }
    : { phase: 'reading', code, reason, status: result.status }
}

/** The outcome that a lost exchange gives. Doubt about what may be repeated is none. */
function lostFor(
  meaning: ReturnType<typeof classifyLost>,
  kind: IdempotencyKind,
  exchange: Exchange,
): CallOutcome {
  const { code, reason } = meaning
  if (meaning.as === 'failed') return { ...notDone(code, reason), exchange }
  const named = meaning.retryAt === undefined ? {} : { retryAt: meaning.retryAt }
  if (meaning.as === 'in_doubt' && kind !== 'natural')
    return { as: 'in_doubt', code, reason, ...named, exchange }
  return { ...notDone(code, reason), retryable: true, ...named, exchange }
}

interface Answered extends Judging {
  readonly kind: IdempotencyKind
  readonly answer: ReadAnswer
  readonly exchange: Exchange
}

/** The outcome that a classified answer gives. */
function meant(meaning: Classification, answered: Answered): CallOutcome | Unauthorized {
  const { call, kind, answer, exchange } = answered
  if (meaning.as === 'succeeded') return accept(answered)
  const { code, reason } = meaning
  if (meaning.as === 'unauthorized') return { as: 'unauthorized', code, reason, exchange }
  if (meaning.as === 'failed') return { ...notDone(code, reason), exchange }
  const named = meaning.retryAt === undefined ? {} : { retryAt: meaning.retryAt }
  if (meaning.as === 'in_doubt' && kind !== 'natural')
    return { as: 'in_doubt', code, reason, ...named, exchange }
  return {
    ...notDone(code, reason),
    retryable: true,
    newKey: kind === 'key' && storesError(call.operation, answer),
    ...named,
    exchange,
  }
}

/**
 * Whether the provider will answer this key with this error again. Then the next attempt needs a new key, which is
 * safe only because the connector has said that it was definitely not done: `retry`, and never mere doubt. Only a
 * 5xx is taken as stored: what is refused before it is acted on (429, 409, a 4xx of a check) is not (Stripe,
 * docs.stripe.com/api/idempotent_requests, read 2026-11-22), and the old key stays the safer one.
 */
function storesError(operation: AnyOperation, answer: ReadAnswer): boolean {
  return operation.idempotency.kind === 'key' && operation.idempotency.replaysErrors && answer.status >= 500
}

/** The answer to what was done, or to a look-up, held against its contract. */
function accept(answered: Answered): CallOutcome {
  const { call, input, answer, exchange } = answered
  const { operation } = call
  const read = call.kind === 'lookup' ? readLookup(answered) : readOutput(answered)
  if ('outcome' in read) return read.outcome
  const checked = checkAnswer(operation.output, read.raw)
  if (checked.as === 'valid') {
    const summary = summaryOf(operation, input, checked.value)
    return { as: 'succeeded', output: checked.value, summary, exchange, body: answer.body }
  }
  const problem = call.kind === 'send' ? (answer.jsonProblem ?? checked) : checked
  return quarantined(problem, answered)
}

type Read = { readonly raw: unknown } | { readonly outcome: CallOutcome }

function readOutput(answered: Answered): Read {
  const { call, input, answer } = answered
  if (call.operation.answer === undefined) {
    // A contract that takes anything takes "nothing", too: what came must not be lost in that.
    if (answer.jsonProblem !== undefined) return { outcome: quarantined(answer.jsonProblem, answered) }
    return { raw: answer.json }
  }
  try {
    return { raw: call.operation.answer(answer, input) }
  } catch (error) {
    const problem = { path: '', reason: `The answer could not be read: ${reasonOf(error)}` }
    return { outcome: quarantined(answer.jsonProblem ?? problem, answered) }
  }
}

/**
 * Only a clear answer settles a doubt: one that cannot be read is asked for again. A `PermanentError` of the
 * connector says that asking again will not make it clearer.
 */
function readLookup(answered: Answered): Read {
  const { call, input, answer, exchange } = answered
  const { connection, idempotencyKey } = call
  const begunAt = call.askedAt ?? call.begunAt
  try {
    if (answer.jsonProblem !== undefined) throw new Error(answer.jsonProblem.reason)
    const raw = lookupOf(call).found(answer, input, {
      settings: connection.settings,
      idempotencyKey,
      begunAt,
    })
    return raw === undefined ? { outcome: { as: 'not_found', exchange } } : { raw }
  } catch (error) {
    const reason = `The answer to the look-up does not tell whether it was done: ${reasonOf(error)}`
    const code = codeOf(error, 'lookup_inconclusive')
    const retryable = !(error instanceof PermanentError)
    return { outcome: { ...notDone(code, reason), retryable, exchange } }
  }
}

function quarantined(
  problem: { readonly path: string; readonly reason: string },
  answered: Answered,
): CallOutcome {
  const { path, reason } = problem
  return { as: 'quarantined', path, reason, payload: answered.answer.body, exchange: answered.exchange }
}

function summaryOf(operation: AnyOperation, input: unknown, output: unknown): string | undefined {
  try {
    return operation.describe?.(input, output).slice(0, SUMMARY_LIMIT)
  } catch {
    return undefined // A summary is for reading; what was done is done.
  }
}
