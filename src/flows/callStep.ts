import {
  crashPoint,
  encodeJson,
  newId,
  parseJson,
  reasonOf,
  type Clock,
  type JsonValue,
  type Random,
} from '../base/index.ts'
import {
  encodeRecorded,
  type CallConnection,
  type CallOutcome,
  type CallRequest,
  type RecordedRequest,
} from '../calls/index.ts'
import { checkAnswer, checkInput } from '../contracts/index.ts'
import type { AnyOperation, AttemptState, Priority, IdempotencyKind, StepOptions } from '../define/index.ts'
import type { LedgerAction, LedgerEntry } from '../ledger/index.ts'
import { stepKey } from './playback.ts'
import { afterRestore } from './restored.ts'
import {
  afterAttempt,
  idempotencyKey,
  nextMove,
  noLongerThanValid,
  withWord,
  type ResolvedRetryPolicy,
} from './retry.ts'
import type { RetryBudgets } from './retryBudgets.ts'
import type { ClaimedRun, JournalRow, PendingCall, PendingStep, StepKind, Undo } from './run.ts'
import type { AttemptWrite, QuarantineWrite, RunWriteAnswer } from './runWriter.ts'

/** A step that is a call to a provider. */
export interface CallStep {
  readonly kind: Extract<StepKind, 'operation' | 'undo'>
  readonly name: string
  readonly ordinal: number
  readonly connection: CallConnection
  readonly operationName: string
  readonly operation: AnyOperation
  readonly input: unknown
  readonly inputDigest: Buffer
  readonly options: StepOptions<unknown>
  readonly policy: ResolvedRetryPolicy
  /** When the step was asked for, by the run's own time: the same in every execution. */
  readonly askedAt: number
  /** Computes the compensation of what was made. */
  readonly undoOf: ((made: unknown) => Undo) | undefined
}

/** What a step needs of the execution that it belongs to. */
export interface StepHost {
  readonly run: ClaimedRun
  readonly clock: Clock
  readonly random: Random
  readonly call: (request: CallRequest) => Promise<CallOutcome>
  readonly mayLeave: () => boolean
  /** Who goes first where a budget is short. */
  readonly priority: Priority
  /** How many retries this node may make. */
  readonly retries: Pick<RetryBudgets, 'heldUntil' | 'made'>
  /** The answer that a person released from quarantine, as JSON bytes; `undefined` while nobody has. */
  readonly releasedAnswer: (quarantineId: string) => Promise<Buffer | 'discarded' | undefined>
  readonly append: (row: Omit<JournalRow, 'seq'>) => JournalRow
  /** What earlier attempts of steps sent, by name and ordinal: the same key is only ever sent with the same bytes. */
  readonly recorded: Map<string, { readonly generation: number; readonly request: RecordedRequest }>
  /** An attempt that would be in doubt if the node ended now has begun or ended. */
  readonly mustFinish?: (change: 1 | -1) => void
  readonly write: (write: StepWrite) => Promise<RunWriteAnswer>
}

export interface StepWrite {
  readonly journal?: JournalRow
  readonly attempt?: AttemptWrite
  readonly quarantine?: QuarantineWrite
  /** How far the step has come: kept on the run's row, so that a crash forgets nothing of it. */
  readonly pending?: PendingCall
  /** The same with the run's other waits. */
  readonly waits?: readonly PendingStep[]
  readonly entries: readonly LedgerEntry[]
}

/** How far one move brought the step. */
export type StepProgress =
  | { readonly as: 'finished'; readonly row: JournalRow; readonly cancelling: boolean }
  | { readonly as: 'wait'; readonly pending: PendingCall; readonly cancelling: boolean }
  | { readonly as: 'fenced' }

class FencedError extends Error {}

/** Makes the step's next move: at most one attempt, journaled with its ledger entry before anybody hears of it. */
export async function advanceCall(
  step: CallStep,
  pending: PendingCall,
  host: StepHost,
  resolving = false,
): Promise<StepProgress> {
  const known = afterRestore(pending, step.operation, host.run, host.clock.now())
  const state = await withReleasedAnswer(step, withWord(known, host.clock.now()), host)
  if ('failed' in state) return finish(step, { outcome: 'failed', ...state.failed }, {}, host)
  const move = nextMove(state, step.operation, step.options, host.clock.now(), resolving)
  switch (move.as) {
    case 'wait':
      return { as: 'wait', pending: move.pending, cancelling: false }
    case 'skip':
      return finish(
        step,
        { outcome: 'skipped', summary: 'skipped: too late' },
        { entries: [entryOf(step, host, 'step.skipped', 'skipped', undefined)] },
        host,
      )
    case 'not_done':
      return finish(
        step,
        { outcome: 'failed', code: 'not_done', reason: 'It was not done before the run was ended.' },
        {},
        host,
      )
    case 'done':
      return finish(step, { outcome: 'succeeded', output: move.result }, {}, host)
    case 'send':
      return attempt(step, move.step, 'send', host)
    case 'look_up':
      return attempt(step, state, 'lookup', host)
  }
}

type Finish =
  | { readonly outcome: 'succeeded'; readonly output: unknown; readonly summary?: string }
  | { readonly outcome: 'failed'; readonly code: string; readonly reason: string }
  | { readonly outcome: 'skipped'; readonly summary: string }

async function withReleasedAnswer(
  step: CallStep,
  pending: PendingCall,
  host: StepHost,
): Promise<PendingCall | { readonly failed: { readonly code: string; readonly reason: string } }> {
  if (pending.quarantineId === undefined || pending.settled !== undefined) return pending
  const released = await host.releasedAnswer(pending.quarantineId)
  if (released === undefined) return pending
  if (released === 'discarded')
    return { failed: { code: 'answer_discarded', reason: 'The quarantined answer was discarded.' } }
  // A person vouches for it: it passes as it is where the contract still refuses it.
  const raw = outputIn(released, step)
  const checked = checkAnswer(step.operation.output, raw)
  return { ...pending, settled: { as: 'done', result: checked.as === 'valid' ? checked.value : raw } }
}

/** What the operation gives, taken out of the whole answer that was kept; of one that is no JSON, nothing. */
function outputIn(body: Buffer, { operation, input }: CallStep): unknown {
  let json: JsonValue | undefined
  try {
    json = parseJson(body)
  } catch {
    json = undefined
  }
  if (!operation.answer) return json
  const checked = checkInput(operation.input, input)
  try {
    return operation.answer(
      { status: 200, headers: {}, json, text: body.toString('utf8') },
      checked.as === 'valid' ? checked.value : input,
    )
  } catch {
    return json
  }
}

async function attempt(
  step: CallStep,
  before: PendingCall,
  asked: 'send' | 'lookup',
  host: StepHost,
): Promise<StepProgress> {
  const started = { begun: false }
  try {
    return await attemptOnce(step, before, asked, host, started)
  } finally {
    if (started.begun) host.mustFinish?.(-1)
  }
}

async function attemptOnce(
  step: CallStep,
  before: PendingCall,
  asked: 'send' | 'lookup',
  host: StepHost,
  started: { begun: boolean },
): Promise<StepProgress> {
  const began = host.clock.now()
  const isRetry = before.attempts > 0
  const heldBack = isRetry ? heldBackRetry(step, before, asked, host) : undefined
  if (heldBack) return heldBack
  const number = (before.lastNumber ?? 0) + 1
  const state: PendingCall = {
    ...before,
    attempts: before.attempts + 1,
    lastNumber: number,
    firstAt: before.firstAt ?? began,
    begunAt: before.begunAt ?? began,
    outage: undefined,
    credential: undefined,
  }
  const key = idempotencyKey(host.run.rootRunId, state)
  const attemptId = newId('att')
  const kind = step.operation.idempotency.kind
  const record = (over: Partial<AttemptWrite>): AttemptWrite => ({
    id: attemptId,
    name: step.name,
    ordinal: step.ordinal,
    number,
    connectionId: step.connection.id,
    operation: step.operationName,
    generation: state.generation,
    idempotencyKey: key,
    request: undefined,
    state: undefined,
    status: undefined,
    code: undefined,
    reason: undefined,
    excerpt: undefined,
    begunAt: began,
    finishedAt: undefined,
    ...over,
  })

  const earlier = host.recorded.get(stepKey(step.name, step.ordinal))
  const sameBytes = asked === 'send' && earlier?.generation === state.generation ? earlier.request : undefined
  let sent: RecordedRequest | undefined
  const begin = async (request: RecordedRequest): Promise<void> => {
    sent = request
    if (!recordsBegin(kind)) return
    if ((await host.write({ attempt: record({}), entries: [] })) === 'fenced') throw new FencedError()
    started.begun = true
    host.mustFinish?.(1)
  }

  let outcome: CallOutcome
  try {
    outcome = await host.call({
      tenant: host.run.tenant,
      connection: step.connection,
      operationName: step.operationName,
      operation: step.operation,
      input: step.input,
      idempotencyKey: key,
      begunAt: state.begunAt!,
      ...(recordsBegin(kind) ? {} : { askedAt: step.askedAt }),
      runId: host.run.id,
      stepName: step.name,
      attempt: number,
      kind: asked,
      flow: host.run.flow,
      priority: host.priority,
      ...(before.phase === 'deferred' && before.until !== null && { promisedAt: before.until }),
      mayLeave: host.mayLeave,
      waited: hasWaited(host.run, step.connection),
      ...(sameBytes && { recorded: sameBytes }),
      begin: asked === 'send' ? begin : undefined,
    })
  } catch (error) {
    if (error instanceof FencedError) return { as: 'fenced' }
    throw error
  }

  host.retries.made(step.connection, isRetry, outcome)
  crashPoint('call.answered')
  const now = host.clock.now()
  const context = { operation: step.operation, policy: step.policy, now, random: host.random, asked }
  if (outcome.as === 'deferred' || outcome.as === 'parked') {
    // Nothing was attempted, so nothing is counted and nothing is written.
    const after = afterAttempt(before, outcome, context)
    const pending = noLongerThanValid((after as { pending: PendingCall }).pending, step.options)
    if (!started.begun) return { as: 'wait', pending, cancelling: false }
    // Begun, and turned away before the provider looked at it: the record must not look as if it had left.
    const closed = record({ state: 'failed', code: outcome.code, reason: outcome.reason, finishedAt: now })
    const answer = await host.write({
      attempt: closed,
      entries: [],
      pending: { ...pending, lastNumber: number },
    })
    if (answer === 'fenced') return { as: 'fenced' }
    return { as: 'wait', pending: { ...pending, lastNumber: number }, cancelling: answer === 'cancelling' }
  }
  const after = afterAttempt(state, outcome, context)
  const attemptWrite = record({
    state: attemptState(outcome),
    status: 'exchange' in outcome ? outcome.exchange?.status : undefined,
    code: 'code' in outcome ? outcome.code : undefined,
    reason: 'reason' in outcome ? outcome.reason : undefined,
    excerpt: excerptOf(outcome),
    finishedAt: now,
  })
  const entries = [
    entryOf(step, host, ACTIONS[outcome.as], attemptWrite.state ?? outcome.as, outcome, number),
  ]
  if (after.as === 'succeeded')
    return finish(
      step,
      { outcome: 'succeeded', output: after.output, summary: after.summary },
      { attempt: attemptWrite, entries },
      host,
    )
  if (after.as === 'failed')
    return finish(
      step,
      { outcome: 'failed', code: after.code, reason: after.reason },
      { attempt: attemptWrite, entries },
      host,
    )
  const quarantine = outcome.as === 'quarantined' ? quarantined(step, outcome) : undefined
  if (sent && kind === 'key')
    host.recorded.set(stepKey(step.name, step.ordinal), { generation: state.generation, request: sent })
  const pending: PendingCall = {
    ...noLongerThanValid(after.pending, step.options),
    quarantineId: quarantine?.id ?? after.pending.quarantineId,
  }
  const withBytes = sent && kind === 'key' ? { ...attemptWrite, request: encodeRecorded(sent) } : attemptWrite
  const answer = await host.write({ attempt: withBytes, entries, quarantine, pending })
  if (answer === 'fenced') return { as: 'fenced' }
  return { as: 'wait', pending, cancelling: answer === 'cancelling' }
}

/** Whether the beginning of each attempt is committed before anything leaves. */
function recordsBegin(kind: IdempotencyKind): boolean {
  return kind === 'lookup' || kind === 'none'
}

/** The connection has made more retries than its share: this one waits, which costs no attempt and no row. */
function heldBackRetry(
  step: CallStep,
  before: PendingCall,
  asked: 'send' | 'lookup',
  host: StepHost,
): StepProgress | undefined {
  const until = host.retries.heldUntil(step.connection)
  if (until === undefined) return undefined
  const now = host.clock.now()
  const why = {
    as: 'deferred',
    until,
    code: 'retry_budget_used_up',
    reason: `Too many retries over connection "${step.connection.name}" are failing`,
  } as const
  const context = { operation: step.operation, policy: step.policy, now, random: host.random, asked }
  const { pending } = afterAttempt(before, why, context) as { pending: PendingCall }
  return { as: 'wait', pending: noLongerThanValid(pending, step.options), cancelling: false }
}

/** Whether the run has waited for an outage of the connection: then it goes before those who come now. */
function hasWaited(run: ClaimedRun, connection: CallConnection): boolean {
  return run.pending.some(
    (pending) => pending.kind === 'operation' && pending.outage?.connectionId === connection.id,
  )
}

/** Characters of an answer that are kept with its attempt. */
const EXCERPT_LENGTH = 300

/** The beginning of what the provider answered to an attempt that failed; redacted already. */
function excerptOf(outcome: CallOutcome): string | undefined {
  if (outcome.as === 'succeeded' || outcome.as === 'not_found' || !('exchange' in outcome)) return undefined
  const body = outcome.exchange?.answer?.body
  const text = body?.kind === 'text' ? body.text.trim() : ''
  if (text === '') return undefined
  return text.length > EXCERPT_LENGTH ? `${text.slice(0, EXCERPT_LENGTH)}…` : text
}

const ACTIONS: Readonly<Record<Exclude<CallOutcome['as'], 'deferred' | 'parked'>, LedgerAction>> = {
  succeeded: 'call.succeeded',
  not_found: 'call.looked_up',
  failed: 'call.failed',
  in_doubt: 'call.in_doubt',
  quarantined: 'call.quarantined',
}

function attemptState(outcome: CallOutcome): AttemptState {
  switch (outcome.as) {
    case 'succeeded':
    case 'not_found':
      return 'succeeded'
    case 'in_doubt':
      return 'in_doubt'
    case 'quarantined':
      return 'quarantined'
    default:
      return 'failed'
  }
}

function quarantined(step: CallStep, outcome: Extract<CallOutcome, { as: 'quarantined' }>): QuarantineWrite {
  return {
    id: newId('qrn'),
    connectionId: step.connection.id,
    name: step.name,
    ordinal: step.ordinal,
    operation: step.operationName,
    path: outcome.path,
    reason: outcome.reason,
    payload: outcome.payload,
  }
}

async function finish(
  step: CallStep,
  end: Finish,
  write: Omit<Partial<StepWrite>, 'journal'>,
  host: StepHost,
): Promise<StepProgress> {
  const row = host.append({ ...rowOf(step, end), finishedAt: host.clock.now() })
  const answer = await host.write({ entries: [], ...write, journal: row })
  return answer === 'fenced' ? { as: 'fenced' } : { as: 'finished', row, cancelling: answer === 'cancelling' }
}

function rowOf(step: CallStep, end: Finish): Omit<JournalRow, 'seq' | 'finishedAt'> {
  const base = {
    kind: step.kind,
    name: step.name,
    ordinal: step.ordinal,
    connectionId: step.connection.id,
    operation: `${step.connection.connector.name}.${step.operationName}`,
    inputDigest: step.inputDigest,
    outcome: end.outcome,
    result: undefined,
    errorCode: undefined,
    error: undefined,
    undo: undefined,
    summary: undefined,
  }
  if (end.outcome === 'failed') return { ...base, errorCode: end.code, error: end.reason }
  if (end.outcome === 'skipped') return { ...base, summary: end.summary }
  const result = end.output === undefined ? undefined : Buffer.from(encodeJson(end.output))
  return { ...base, result, undo: step.undoOf && undoBytes(step.undoOf, end.output), summary: end.summary }
}

function undoBytes(undoOf: (made: unknown) => Undo, made: unknown): Buffer {
  try {
    return Buffer.from(encodeJson(undoOf(made)))
  } catch (error) {
    return Buffer.from(encodeJson({ impossible: reasonOf(error) } satisfies Undo))
  }
}

function entryOf(
  step: CallStep,
  host: StepHost,
  action: LedgerAction,
  outcome: string,
  result: CallOutcome | undefined,
  attemptNumber?: number,
): LedgerEntry {
  const exchange = result && 'exchange' in result ? result.exchange : undefined
  return {
    tenant: host.run.tenant,
    at: host.clock.now(),
    actor: `flow:${host.run.flow}`,
    action,
    target: `${step.connection.name}.${step.operationName}`,
    outcome,
    runId: host.run.id,
    connectionId: step.connection.id,
    detail: {
      step: step.name,
      ordinal: step.ordinal,
      ...(attemptNumber === undefined ? {} : { attempt: attemptNumber }),
      ...(result && 'code' in result ? { code: result.code, reason: result.reason } : {}),
      ...(exchange === undefined ? {} : { exchange }),
    },
  }
}
