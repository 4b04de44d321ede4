import { createHash } from 'node:crypto'
import { DAY, durationMs, durationWords, HOUR, MINUTE, SECOND, type Random } from '../base/index.ts'
import type { CallOutcome } from '../calls/index.ts'
import type { AnyOperation, Idempotency, RetryPolicy, StepOptions } from '../define/index.ts'
import { LONGEST_RETRY_AFTER_MS, nextAttempt } from '../resilience/index.ts'
import type { LastAttempt, PendingCall } from './run.ts'

/**
 * The one owner of retries: pure decisions about what a step does next. A call makes one attempt and reports;
 * these functions turn its outcome into what the run's row says.
 */

/** What a step is to do now. */
export type NextMove =
  /** An attempt; `step` has the generation that its key is of. */
  | { readonly as: 'send'; readonly step: PendingCall }
  /** Ask the provider whether an attempt in doubt was done. */
  | { readonly as: 'look_up' }
  | { readonly as: 'wait'; readonly pending: PendingCall }
  | { readonly as: 'skip' }
  /** The run is on its way to being undone, and for certain the effect is not there: nothing is begun any more. */
  | { readonly as: 'not_done' }
  /** A person's word, or a released answer: the step is done with this result. */
  | { readonly as: 'done'; readonly result: unknown }

/** What a finished attempt means for its step. */
export type AfterAttempt =
  | { readonly as: 'succeeded'; readonly output: unknown; readonly summary: string | undefined }
  | { readonly as: 'failed'; readonly code: string; readonly reason: string }
  | { readonly as: 'wait'; readonly pending: PendingCall }

export const RETRY_DEFAULTS = {
  first: SECOND,
  cap: 15 * MINUTE,
  horizon: 72 * HOUR,
  attempts: Number.POSITIVE_INFINITY,
} as const
/** The longest that an exchange takes where its operation says nothing else. */
const CALL_TIMEOUT_MS = 30 * SECOND
/** Parked runs look again after this time, in case nobody told them. */
const PARKED_RECHECK_MS = 5 * MINUTE
/** An unanswered question ("was it done?") is asked again for this long, then a person is asked. */
const LOOK_UP_HORIZON_MS = DAY

export interface ResolvedRetryPolicy {
  readonly first: number
  readonly cap: number
  readonly horizon: number
  readonly attempts: number
}

/** The policy of a step, field by field: its own, else its flow's, else its operation's, else the defaults. */
export function retryPolicy(...given: readonly (RetryPolicy | undefined)[]): ResolvedRetryPolicy {
  const said = <Name extends keyof RetryPolicy>(name: Name): RetryPolicy[Name] =>
    given.find((policy) => policy?.[name] !== undefined)?.[name]
  return {
    first: durationMs(said('first') ?? RETRY_DEFAULTS.first),
    cap: durationMs(said('cap') ?? RETRY_DEFAULTS.cap),
    horizon: durationMs(said('horizon') ?? RETRY_DEFAULTS.horizon),
    attempts: said('attempts') ?? RETRY_DEFAULTS.attempts,
  }
}

/** A step before its first attempt. */
export function notTried(name: string, ordinal: number, now: number): PendingCall {
  return {
    name,
    ordinal,
    phase: 'none',
    until: null,
    attempts: 0,
    generation: 0,
    begunAt: undefined,
    spentMs: 0,
    since: now,
    code: undefined,
    reason: undefined,
    quarantineId: undefined,
    settled: undefined,
  }
}

/**
 * Where a call step begins after its execution died: as it was last written, in doubt where an attempt may have left
 * of which nobody wrote the outcome. `lookup` and `none` commit the begin of each attempt (`last`); of `key` and
 * `natural` all that is known is that nothing left before the run's claim.
 */
export function afterCrash(
  step: PendingCall,
  operation: AnyOperation,
  crashed: {
    readonly last: LastAttempt | undefined
    readonly claims: number
    readonly claimedAt: number
    readonly now: number
  },
): PendingCall {
  const { last, claims, claimedAt, now } = crashed
  const why = {
    phase: 'in_doubt',
    code: 'node_died',
    reason: 'The node died while an attempt may have been under way.',
    since: now,
  } as const
  if (last?.open && last.number > (step.lastNumber ?? 0)) {
    const begunAt = (step.generation === last.generation ? step.begunAt : undefined) ?? last.begunAt
    // A node that lost its database may still have the request under way, for as long as an exchange may take.
    const doubtedAt = last.begunAt + (operation.timeoutMs ?? CALL_TIMEOUT_MS)
    return {
      ...step,
      ...why,
      attempts: step.attempts + 1,
      lastNumber: last.number,
      generation: last.generation,
      begunAt,
      doubtedAt,
      until: 0,
    }
  }
  const recorded = operation.idempotency.kind === 'lookup' || operation.idempotency.kind === 'none'
  const numbered = { ...step, lastNumber: Math.max(step.lastNumber ?? 0, last?.number ?? 0) }
  if (claims <= 1 || recorded || (step.phase !== 'none' && step.phase !== 'retry')) return numbered
  return { ...numbered, ...why, begunAt: step.begunAt ?? claimedAt, doubtedAt: now, until: step.until ?? 0 }
}

/** The key that lets the provider recognise the same effect: of root run, step and generation; 43 characters. */
export function idempotencyKey(
  rootRunId: string,
  step: { readonly name: string; readonly ordinal: number; readonly generation: number },
): string {
  return createHash('sha256')
    .update(`${rootRunId}\0${step.name}\0${step.ordinal}\0${step.generation}`)
    .digest('base64url')
}

/** How an operation behaves when repeated at `now`: past its key's lifetime a key no longer protects. */
export function effectiveIdempotency(
  operation: AnyOperation,
  begunAt: number | undefined,
  now: number,
): Idempotency<unknown, unknown> {
  const declared = operation.idempotency as Idempotency<unknown, unknown>
  if (declared.kind !== 'key' || begunAt === undefined || now - begunAt < declared.lifetimeMs) return declared
  return declared.afterLifetime ?? { kind: 'none' }
}

/** A step with a person's word taken: "not done" is a definite answer; for a late step it means "run it now". */
export function withWord(step: PendingCall, now: number): PendingCall {
  if (step.settled?.as !== 'not_done') return step
  if (step.phase === 'late')
    return { ...step, phase: 'none', until: null, since: now, settled: undefined, lateAllowed: true }
  return notDone(step, now)
}

/** What the step does now. Waits that are not over stay waits. */
export function nextMove(
  step: PendingCall,
  operation: AnyOperation,
  options: StepOptions<unknown>,
  now: number,
  /** Only what came of attempts in doubt is to be learned. */
  resolving = false,
): NextMove {
  if (step.settled?.as === 'done') return { as: 'done', result: step.settled.result }
  if (resolving && !mayHaveBeenDone(step)) return { as: 'not_done' }
  if (!waitsForOutside(step)) {
    if (step.until === null && step.phase !== 'none') return { as: 'wait', pending: step }
    if (step.until !== null && step.until > now) {
      const wait: NextMove = { as: 'wait', pending: step }
      // What was not done for certain need not wait for its turn to find that it is too late.
      return step.phase === 'in_doubt' || resolving ? wait : lateOr(options, now, step, wait)
    }
  }
  if (step.phase === 'in_doubt') {
    const move = resolveDoubt(step, operation, now)
    // What may be learned only by doing it now is not done late.
    return move.as === 'send' && !resolving ? lateOr(options, now, step, move) : move
  }
  const next = withFreshKey(step, operation, now)
  return lateOr(options, now, next, { as: 'send', step: next })
}

/**
 * What waits for an outage or a credential asks again whenever its run is begun: only the breaker and the vault know
 * whether that is over.
 */
export function waitsForOutside(step: PendingCall): boolean {
  if (step.outage === undefined && step.credential === undefined) return false
  if (step.phase === 'in_doubt') return step.until === null || step.credential !== undefined
  return step.phase === 'parked'
}

/** Whether the provider may have acted on an attempt of this step, and nobody knows yet. */
export function mayHaveBeenDone(step: PendingCall): boolean {
  return (
    step.phase === 'in_doubt' ||
    (step.phase === 'held' && step.code !== 'too_late') ||
    (step.phase === 'late' && step.doubtedAt !== undefined)
  )
}

/** A step whose last attempt was, for certain, not done: the next one is a new effect with a new key. */
export function notDone(step: PendingCall, now: number): PendingCall {
  return {
    ...step,
    phase: 'none',
    until: null,
    since: now,
    generation: step.generation + 1,
    begunAt: undefined,
    doubtedAt: undefined,
    settled: undefined,
    code: undefined,
    reason: undefined,
  }
}

/** A key that the provider may have forgotten is not sent again; without doubt a new one is a new effect for certain. */
function withFreshKey(step: PendingCall, operation: AnyOperation, now: number): PendingCall {
  const outlived =
    operation.idempotency.kind === 'key' && effectiveIdempotency(operation, step.begunAt, now).kind !== 'key'
  return outlived ? notDone(step, now) : step
}

/** The time until which to wait: no longer than the step is valid, where it is known that it was not done. */
export function noLongerThanValid(step: PendingCall, options: StepOptions<unknown>): PendingCall {
  if (step.phase === 'in_doubt' || step.phase === 'held') return step
  if (step.until === null && step.outage === undefined && step.credential === undefined) return step
  if (options.validUntil === undefined || options.onLate === 'run' || step.lateAllowed === true) return step
  const late = new Date(options.validUntil).getTime() + 1
  return step.until === null || late < step.until ? { ...step, until: late } : step
}

function lateOr(
  options: StepOptions<unknown>,
  now: number,
  step: PendingCall,
  otherwise: NextMove,
): NextMove {
  if (options.validUntil === undefined || options.onLate === 'run' || step.lateAllowed === true)
    return otherwise
  const validUntil = new Date(options.validUntil)
  if (Number.isNaN(validUntil.getTime()) || now <= validUntil.getTime()) return otherwise
  if (options.onLate === 'skip') return { as: 'skip' }
  return {
    as: 'wait',
    pending: {
      ...step,
      phase: 'late',
      until: null,
      since: now,
      code: 'too_late',
      reason: `It was valid until ${validUntil.toISOString()}. Decide whether it still makes sense.`,
    },
  }
}

function resolveDoubt(step: PendingCall, operation: AnyOperation, now: number): NextMove {
  const idempotency = effectiveIdempotency(operation, step.begunAt, now)
  switch (idempotency.kind) {
    case 'key':
    case 'natural':
      return { as: 'send', step }
    case 'lookup': {
      const settled = (step.doubtedAt ?? step.since) + idempotency.settleAfterMs
      return settled > now ? { as: 'wait', pending: { ...step, until: settled } } : { as: 'look_up' }
    }
    case 'none':
      return {
        as: 'wait',
        pending: held(
          step,
          now,
          'outcome_unknown',
          step.reason ?? 'The provider may have acted, and gives no way to ask.',
        ),
      }
  }
}

function held(step: PendingCall, now: number, code: string, reason: string): PendingCall {
  return { ...step, phase: 'held', until: null, since: now, code, reason }
}

export interface AfterAttemptContext {
  readonly operation: AnyOperation
  readonly policy: ResolvedRetryPolicy
  readonly now: number
  readonly random: Random
  /** The kind of attempt that this is the outcome of. */
  readonly asked: 'send' | 'lookup'
}

/** What the outcome of an attempt means for its step. `step` already counts the attempt. */
export function afterAttempt(
  step: PendingCall,
  outcome: CallOutcome,
  context: AfterAttemptContext,
): AfterAttempt {
  const { now } = context
  switch (outcome.as) {
    case 'succeeded':
      return { as: 'succeeded', output: outcome.output, summary: outcome.summary }
    case 'not_found':
      return { as: 'wait', pending: { ...notDone(step, now), phase: 'retry', until: now } }
    case 'deferred':
      return {
        as: 'wait',
        pending: {
          ...step,
          phase: step.phase === 'in_doubt' ? 'in_doubt' : 'deferred',
          until: outcome.until,
          since: now,
          code: outcome.code,
          reason: outcome.reason,
        },
      }
    case 'parked':
      return {
        as: 'wait',
        pending: {
          ...step,
          phase: step.phase === 'in_doubt' ? 'in_doubt' : 'parked',
          until: isToldOf(outcome) ? null : now + PARKED_RECHECK_MS,
          since: now,
          code: outcome.code,
          reason: outcome.reason,
          outage: outcome.outage,
          credential: outcome.credential,
        },
      }
    case 'quarantined':
      return {
        as: 'wait',
        pending: held(
          step,
          now,
          'contract_broken',
          `The answer does not fit its contract at ${outcome.path || 'its root'}: ${outcome.reason}`,
        ),
      }
    case 'in_doubt':
      return { as: 'wait', pending: doubted(step, outcome, context) }
    case 'failed':
      return context.asked === 'lookup'
        ? { as: 'wait', pending: askAgain(step, outcome, context) }
        : failedOnce(step, outcome, context)
  }
}

function failedOnce(
  step: PendingCall,
  outcome: Extract<CallOutcome, { as: 'failed' }>,
  context: AfterAttemptContext,
): AfterAttempt {
  const { policy, now, random } = context
  // What never reached the provider, or was turned away before it looked at the key, settles no earlier doubt.
  const doubtful =
    step.doubtedAt !== undefined && !outcome.newKey && (outcome.retryable || outcome.exchange === undefined)
  const unknown = (why: string): AfterAttempt => ({
    as: 'wait',
    pending: held(step, now, 'outcome_unknown', `${why} An earlier attempt may have been done.`),
  })
  if (!outcome.retryable)
    return doubtful ? unknown(outcome.reason) : { as: 'failed', code: outcome.code, reason: outcome.reason }
  const next = nextAttempt({
    attempt: step.attempts,
    policy,
    elapsedMs: step.spentMs,
    retryAt: outcome.retryAt,
    now,
    random,
  })
  const gaveUp = `Gave up after ${triedWords(step, now)}: ${outcome.reason}`
  if (next.as === 'exhausted')
    return doubtful ? unknown(gaveUp) : { as: 'failed', code: 'attempts_exhausted', reason: gaveUp }
  const base = outcome.newKey ? notDone(step, now) : step
  const why = { code: outcome.code, reason: outcome.reason, since: now }
  if (next.as === 'park') {
    const until = outcome.retryAt ?? now + PARKED_RECHECK_MS
    return { as: 'wait', pending: { ...base, ...why, phase: doubtful ? 'in_doubt' : 'parked', until } }
  }
  return {
    as: 'wait',
    pending: {
      ...base,
      ...why,
      phase: doubtful ? 'in_doubt' : 'retry',
      until: next.at,
      spentMs: step.spentMs + (next.at - now),
    },
  }
}

/** Whether somebody lets the run go when what it waits for is there, so that it need not look again. */
function isToldOf({ outage, credential }: Extract<CallOutcome, { as: 'parked' }>): boolean {
  return outage !== undefined || credential?.as === 'missing'
}

/** `7 attempts over 2 h 5 min`. */
function triedWords({ attempts, firstAt }: PendingCall, now: number): string {
  const many = attempts === 1 ? '1 attempt' : `${attempts} attempts`
  return firstAt === undefined || now - firstAt < SECOND
    ? many
    : `${many} over ${durationWords(now - firstAt)}`
}

/** In doubt: by key or by nature it is sent again after a back-off; by look-up it is asked; else a person is. */
function doubted(
  step: PendingCall,
  { code, reason, retryAt }: Extract<CallOutcome, { as: 'in_doubt' }>,
  context: AfterAttemptContext,
): PendingCall {
  const { policy, now, random, operation } = context
  const idempotency = effectiveIdempotency(operation, step.begunAt, now)
  const doubtedAt = context.asked === 'send' ? now : step.doubtedAt
  const base: PendingCall = { ...step, phase: 'in_doubt', since: now, doubtedAt, code, reason }
  if (idempotency.kind === 'none')
    return held(
      base,
      now,
      'outcome_unknown',
      `${reason} The provider may have acted, and gives no way to ask.`,
    )
  if (idempotency.kind === 'lookup' && context.asked === 'send')
    return { ...base, until: Math.max(now + idempotency.settleAfterMs, bounded(retryAt, now)) }
  const next = nextAttempt({ attempt: step.attempts, policy, elapsedMs: step.spentMs, retryAt, now, random })
  // Longer than is waited for. What is in doubt must not wait until nobody can tell any more: it is taken up after a day.
  if (next.as === 'park') return { ...base, until: bounded(retryAt, now) }
  if (next.as !== 'retry')
    return held(base, now, 'outcome_unknown', `${reason} It stayed unknown after ${triedWords(step, now)}.`)
  return { ...base, until: next.at, spentMs: step.spentMs + (next.at - now) }
}

/** A time that the provider named, no later than is waited for. */
function bounded(retryAt: number | undefined, now: number): number {
  return Math.min(retryAt ?? now, now + LONGEST_RETRY_AFTER_MS)
}

/** The question itself failed: it is asked again, since only an answer may let the step go on. */
function askAgain(
  step: PendingCall,
  outcome: Extract<CallOutcome, { as: 'failed' }>,
  context: AfterAttemptContext,
): PendingCall {
  const { policy, now, random } = context
  if (!outcome.retryable || step.spentMs > LOOK_UP_HORIZON_MS)
    return held(step, now, 'outcome_unknown', `Whether it was done could not be asked: ${outcome.reason}`)
  const next = nextAttempt({
    attempt: step.attempts,
    policy,
    elapsedMs: 0,
    retryAt: outcome.retryAt,
    now,
    random,
  })
  const until = next.as === 'retry' ? next.at : now + PARKED_RECHECK_MS
  return {
    ...step,
    phase: 'in_doubt',
    until,
    since: now,
    spentMs: step.spentMs + (until - now),
    code: outcome.code,
    reason: outcome.reason,
  }
}
