import { codeOf, encodeJson, reasonOf } from '../base/index.ts'
import { parkedFor, parkedForCredential } from '../calls/index.ts'
import type { RunState } from '../define/index.ts'
import { StepFailedError, VersionConflictError } from './errors.ts'
import { stepKey } from './playback.ts'
import { waitsForOutside } from './retry.ts'
import type { ClaimedRun, PendingCall, PendingStep, RunMove } from './run.ts'

/** Pure decisions: where an execution leaves its run. */

const STAY: Omit<RunMove, 'to'> = {
  dueAt: undefined,
  pending: [],
  undoTo: undefined,
  reasonCode: undefined,
  reason: undefined,
  failedStep: undefined,
  result: undefined,
  parkedFor: undefined,
  holdsLane: true,
  keepsClaim: false,
  clearsWaits: false,
}

/** Bytes of what a flow returns, as JSON. */
export const FLOW_RESULT_LIMIT_BYTES = 1_048_576

/** The run is over, and frees its lane. */
function ended(run: ClaimedRun, to: RunState, over: Partial<RunMove> = {}): RunMove {
  return { ...STAY, to, holdsLane: false, clearsWaits: hasWaited(run), ...over }
}

function hasWaited(run: ClaimedRun): boolean {
  return run.pending.some((step) => step.kind === 'wait') || run.journal.some((row) => row.kind === 'wait')
}

/** The flow returned. A value that cannot be kept is left out, with the reason on the run: its effects are done. */
export function succeeded(run: ClaimedRun, value: unknown): RunMove {
  if (value === undefined) return ended(run, 'succeeded')
  try {
    const result = Buffer.from(encodeJson(value))
    if (result.length <= FLOW_RESULT_LIMIT_BYTES) return ended(run, 'succeeded', { result })
    return ended(run, 'succeeded', {
      reasonCode: 'result_too_large',
      reason: `The flow's return value was not kept: it has ${result.length} bytes, and at most ${FLOW_RESULT_LIMIT_BYTES} are kept. Return an id or a summary.`,
    })
  } catch (error) {
    return ended(run, 'succeeded', {
      reasonCode: 'result_unserializable',
      reason: `The flow's return value was not kept. ${reasonOf(error)}`,
    })
  }
}

/** The flow threw: a conflict of versions waits for a person; everything else gives up, undoing what can be undone. */
export function threw(run: ClaimedRun, error: unknown, hasUndos: boolean): RunMove {
  const failedStep = error instanceof StepFailedError ? stepKey(error.step, error.ordinal) : undefined
  const why = { reasonCode: codeOf(error, 'flow_threw'), reason: reasonOf(error), failedStep }
  if (error instanceof VersionConflictError) return { ...STAY, to: 'held', pending: run.pending, ...why }
  if (hasUndos) return { ...STAY, to: 'undoing', undoTo: 'undone', keepsClaim: true, ...why }
  return ended(run, 'dead_lettered', why)
}

/** Only waits remain: the row says for what and until when. */
export function suspended(run: ClaimedRun, pending: readonly PendingStep[], holdsLane: boolean): RunMove {
  const heldFor = pending.find(
    (step) => step.kind === 'operation' && (step.phase === 'held' || step.phase === 'late'),
  )
  if (heldFor?.kind === 'operation')
    return { ...STAY, to: 'held', pending, reasonCode: heldFor.code, reason: heldFor.reason }
  const parked = pending.find((step) => step.kind === 'operation' && isParked(step))
  const why = parked?.kind === 'operation' ? { reasonCode: parked.code, reason: parked.reason } : {}
  return {
    ...STAY,
    ...why,
    to: parked ? 'parked' : 'waiting',
    dueAt: earliest(pending),
    pending,
    parkedFor: outsideOf(pending),
    holdsLane,
  }
}

/** A step in doubt that something outside keeps from being resolved is parked, too. */
function isParked(step: PendingCall): boolean {
  return step.phase === 'parked' || waitsForOutside(step)
}

/** The breaker or the credential that the first of these steps waits for, or was let go by. */
function outsideOf(pending: readonly PendingStep[]): string | undefined {
  for (const step of pending) {
    if (step.kind !== 'operation') continue
    if (step.outage !== undefined) return parkedFor(step.outage)
    if (step.credential !== undefined) return parkedForCredential(step.credential)
  }
  return undefined
}

/** The node stops: any other may go on at once. */
export function handedBack(run: ClaimedRun, pending: readonly PendingStep[], now: number): RunMove {
  return {
    ...STAY,
    to: run.state === 'undoing' ? 'undoing' : 'queued',
    dueAt: now,
    pending,
    undoTo: run.undoTo,
    reasonCode: run.reasonCode,
    reason: run.reason,
  }
}

/** On the way to being undone, something must be waited for or a person asked. */
export function undoWaits(
  run: ClaimedRun,
  pending: readonly PendingStep[],
  undoTo: 'undone' | 'cancelled',
): RunMove {
  const heldFor = pending.find(
    (step) => step.kind === 'operation' && (step.phase === 'held' || step.phase === 'late'),
  )
  const why = { reasonCode: run.reasonCode, reason: run.reason }
  if (heldFor?.kind === 'operation')
    return { ...STAY, to: 'held', pending, undoTo, reasonCode: heldFor.code, reason: heldFor.reason }
  const dueAt = earliest(pending)
  return { ...STAY, ...why, to: 'undoing', dueAt, pending, undoTo, parkedFor: outsideOf(pending) }
}

/** An undo failed for good, or could not be computed: a person must finish what the run began. */
export function undoFailed(
  pending: readonly PendingStep[],
  undoTo: 'undone' | 'cancelled',
  reason: string,
): RunMove {
  return { ...STAY, to: 'held', pending, undoTo, reasonCode: 'undo_failed', reason }
}

/** Its compensations are done. A run that had made nothing that can be undone is a dead letter, unless a person ended it. */
export function undone(
  run: ClaimedRun,
  undoTo: 'undone' | 'cancelled',
  madeAnything: boolean,
  why: Pick<RunMove, 'reasonCode' | 'reason'>,
): RunMove {
  return ended(run, undoTo === 'undone' && !madeAnything ? 'dead_lettered' : undoTo, why)
}

/** Something outside the run keeps it from going on; it looks again at `dueAt`, or a person retries it. */
export function parked(run: ClaimedRun, code: string, reason: string, dueAt: number | undefined): RunMove {
  return { ...STAY, to: 'parked', pending: run.pending, dueAt, reasonCode: code, reason }
}

/** A person must decide. */
export function heldRun(run: ClaimedRun, code: string, reason: string): RunMove {
  return { ...STAY, to: 'held', pending: run.pending, reasonCode: code, reason }
}

function earliest(pending: readonly PendingStep[]): number | undefined {
  const times = pending.flatMap((step) => (step.until === null ? [] : [step.until]))
  return times.length === 0 ? undefined : Math.min(...times)
}
