import { MINUTE, reasonOf, SECOND } from '../base/index.ts'
import { asUnavailable } from '../db/index.ts'
import { mayMove, type AnyFlow, type FlowEvent } from '../define/index.ts'
import { eventOf } from '../inbox/index.ts'
import { VersionConflictError } from './errors.ts'
import type { ExecutionDeps } from './asking.ts'
import { Execution } from './execution.ts'
import type { ClaimedRun, JournalRow, PendingStep, RunMove } from './run.ts'
import type { RunWriteAnswer } from './runWriter.ts'
import type { StepWrite } from './callStep.ts'
import { giveUpAt, noLaterThan, tooLong } from './giveUpAfter.ts'
import {
  handedBack,
  heldRun,
  parked,
  succeeded,
  suspended,
  threw,
  undone,
  undoFailed,
  undoWaits,
} from './settle.ts'
import { applying, datedEvent, mayBeSkipped, staleMove, type AppliedEvent, type Dated } from './stale.ts'
import { stepsToUndo, undoSteps, type UndoDeps } from './undo.ts'

/** Claims without progress after which a run is parked: it takes its node down with it each time. */
export const CLAIMS_WITHOUT_PROGRESS = 5
const FLOW_MISSING_RECHECK_MS = 5 * MINUTE

export interface AdvanceDeps extends Omit<ExecutionDeps, 'write'>, UndoDeps {
  /** The code for a run that began with this version; `newer`: only other nodes have it. */
  readonly flowFor: (name: string, version: number) => AnyFlow | 'newer' | undefined
  readonly connectorNamed: (name: string) => Parameters<ExecutionDeps['connectionFor']>[1] | undefined
  /** The newer event about the same subject that the flow has applied already. */
  readonly newerApplied: (run: ClaimedRun, dated: Dated) => Promise<AppliedEvent | undefined>
  readonly write: (
    run: ClaimedRun,
    write: StepWrite & { readonly move?: RunMove; readonly flowVersion?: number },
  ) => Promise<RunWriteAnswer>
  /** Tells the caller the execution, so that it can be handed back while it runs. */
  readonly onExecution: (execution: Execution) => void
  /** A step was asked for after the execution had ended and the run was released. */
  readonly onAskedAfterEnd: (run: ClaimedRun, step: string) => void
}

/** Where the run was left; `undefined`: it was taken from this node. */
export type Advanced = RunMove | undefined

/** Advances a claimed run as far as it goes now, and commits where it was left. */
export async function advanceRun(run: ClaimedRun, given: AdvanceDeps): Promise<Advanced> {
  const { flow, event, refused } = prepare(run, given)
  if (refused?.to === 'queued' || refused?.to === 'undoing') return settle(run, refused, given)
  const deps = stampingVersion(run, flow, given)
  if (run.undoTo !== undefined) return cancelOrUndo(run, refused, flow ?? NO_FLOW, event ?? NO_EVENT, deps)
  if (refused) return settle(run, refused, deps)
  if (deps.clock.now() >= giveUpAt(run, flow)) return giveUpLate(run, flow, event, deps)
  const dated = datedEvent(run, flow, event)
  const newer = dated && mayBeSkipped(run) ? await deps.newerApplied(run, dated) : undefined
  if (dated && newer) return settle(run, staleMove(run, dated, newer), deps)

  const execution = executionOf(run, flow, event, 'run', deps)
  const end = await untilGivingUp(execution, giveUpAt(run, flow), deps)
  switch (end.as) {
    case 'fenced':
      return undefined
    case 'faulted':
      throw end.error
    case 'returned':
      return settle(run, applying(run, dated, succeeded(run, end.value)), deps)
    case 'threw':
      return giveUp(run, end.error, execution, deps)
    case 'suspended':
      return settle(
        run,
        deps.stopping()
          ? handedBack(run, end.pending, deps.clock.now())
          : noLaterThan(giveUpAt(run, flow), suspended(run, end.pending, flow.hold !== 'untilFirstWait')),
        deps,
      )
    case 'cancelling':
      return afterResolving(run, 'cancelled', execution.doubts(), execution, deps)
  }
}

/** Until another node takes it: soon at first, while a deploy is under way, and seldom later. */
function newerLaterMs(ageMs: number): number {
  return Math.min(MINUTE, Math.max(SECOND, ageMs / 8))
}

/**
 * What a newer version of the flow writes must be gone on with by it: its version is written with it. Not where the
 * run cannot go on with it.
 */
function stampingVersion(run: ClaimedRun, flow: AnyFlow | undefined, deps: AdvanceDeps): AdvanceDeps {
  const version = flow?.version ?? 1
  if (flow === undefined || version === run.flowVersion) return deps
  return {
    ...deps,
    write: (of, write) =>
      deps.write(
        of,
        write.move?.reasonCode === 'version_conflict' ? write : { ...write, flowVersion: version },
      ),
  }
}

/** Stand in for what is gone where a run is only undone: undoing needs its journal and the connectors. */
const NO_FLOW = { name: 'gone', run: () => undefined } as unknown as AnyFlow
const NO_EVENT = {} as FlowEvent

type Prepared =
  | { readonly refused: RunMove; readonly flow?: undefined; readonly event?: undefined }
  | { readonly refused?: undefined; readonly flow: AnyFlow; readonly event: FlowEvent }

function prepare(run: ClaimedRun, deps: AdvanceDeps): Prepared {
  if (run.claims >= CLAIMS_WITHOUT_PROGRESS)
    return {
      refused: parked(
        run,
        run.reasonCode ?? 'no_progress',
        run.reason ??
          `It was begun ${run.claims} times without getting on; its node died each time. Look for what it does between its steps, then retry it.`,
        undefined,
      ),
    }
  const flow = deps.flowFor(run.flow, run.flowVersion)
  if (flow === 'newer') {
    const now = deps.clock.now()
    return { refused: handedBack(run, run.pending, now + newerLaterMs(now - run.createdAt)) }
  }
  if (!flow)
    return {
      refused: parked(
        run,
        'flow_missing',
        `The flow "${run.flow}" is not in the configuration. Add it again, or cancel the run.`,
        deps.clock.now() + FLOW_MISSING_RECHECK_MS,
      ),
    }
  const connector = deps.connectorNamed(run.connector)
  if (!connector)
    return {
      refused: parked(
        run,
        'connector_missing',
        `The connector "${run.connector}" is not in the configuration. Add a connection of it again, or cancel the run.`,
        deps.clock.now() + FLOW_MISSING_RECHECK_MS,
      ),
    }
  try {
    return { flow, event: eventOf(run.event, connector) }
  } catch (error) {
    return { refused: heldRun(run, 'contract_broken', reasonOf(error)) }
  }
}

function executionOf(
  run: ClaimedRun,
  flow: AnyFlow,
  event: FlowEvent,
  mode: 'run' | 'resolve',
  deps: AdvanceDeps,
): Execution {
  const execution = new Execution(run, flow, event, mode, {
    ...deps,
    write: (write) => deps.write(run, write),
  })
  execution.onAskedAfterEnd = (step) => deps.onAskedAfterEnd(run, step)
  deps.onExecution(execution)
  return execution
}

async function settle(run: ClaimedRun, move: RunMove, deps: AdvanceDeps): Promise<Advanced> {
  if (!mayMove(run.state, move.to)) throw new Error(`A run that is ${run.state} may not become ${move.to}.`)
  const answer = await deps.write(run, { move, entries: [] })
  return answer === 'fenced' ? undefined : move
}

/** The flow failed. What can be undone is undone; else the run is a dead letter. */
async function giveUp(
  run: ClaimedRun,
  error: unknown,
  execution: Execution,
  deps: AdvanceDeps,
): Promise<Advanced> {
  const journal = wholeJournal(run, execution)
  const move = threw(run, error, !(error instanceof VersionConflictError) && stepsToUndo(journal).length > 0)
  if (move.to !== 'undoing') return settle(run, move, deps)
  if ((await deps.write(run, { move, entries: [] })) === 'fenced') return undefined
  return undo(
    { ...run, pending: [], reasonCode: move.reasonCode, reason: move.reason },
    'undone',
    journal,
    execution,
    deps,
  )
}

/** Executes the run. When its flow's time is over it is handed back, and gives up when it is taken again. */
async function untilGivingUp(
  execution: Execution,
  at: number,
  { clock }: AdvanceDeps,
): Promise<Awaited<ReturnType<Execution['start']>>> {
  if (at === Number.POSITIVE_INFINITY) return execution.start()
  const cancel = clock.after(at - clock.now(), () => execution.handBack())
  try {
    return await execution.start()
  } finally {
    cancel()
  }
}

/** The flow has had the time that it gives itself. What is in doubt is resolved, and what was done is undone. */
async function giveUpLate(
  run: ClaimedRun,
  flow: AnyFlow,
  event: FlowEvent,
  deps: AdvanceDeps,
): Promise<Advanced> {
  const error = tooLong(run, flow, deps.clock.now())
  const move = threw(run, error, stepsToUndo(run.journal).length > 0 || mayHoldDoubts(run))
  if (move.to !== 'undoing') return settle(run, move, deps)
  if ((await deps.write(run, { move, entries: [] })) === 'fenced') return undefined
  const { reasonCode, reason } = move
  return cancelOrUndo({ ...run, undoTo: 'undone', reasonCode, reason }, undefined, flow, event, deps)
}

/** A run on its way to being undone: first learn what came of attempts in doubt, then undo. */
async function cancelOrUndo(
  run: ClaimedRun,
  refused: RunMove | undefined,
  flow: AnyFlow,
  event: FlowEvent,
  deps: AdvanceDeps,
): Promise<Advanced> {
  const undoTo = run.undoTo!
  const execution = executionOf(run, flow, event, 'resolve', deps)
  if (refused && (mayHoldDoubts(run) || run.claims >= CLAIMS_WITHOUT_PROGRESS)) {
    const reason = `${refused.reason} What came of its attempts in doubt must be looked up at the provider. Undo it by hand, then settle the run.`
    return settle(run, undoFailed(run.pending, undoTo, reason), deps)
  }
  if (!mayHoldDoubts(run)) return undo(run, undoTo, run.journal, execution, deps)
  const end = await execution.start()
  if (end.as === 'fenced') return undefined
  if (end.as === 'faulted') throw end.error
  return afterResolving(run, undoTo, execution.doubts(), execution, deps)
}

function mayHoldDoubts(run: ClaimedRun): boolean {
  if (run.journal.some((row) => row.kind === 'undo')) return false
  return (
    run.pending.some((step) => step.kind === 'operation' && !step.name.startsWith('undo:')) ||
    run.lastAttempts.some((attempt) => attempt.open) ||
    run.lost !== undefined ||
    run.claims > 1
  )
}

async function afterResolving(
  run: ClaimedRun,
  undoTo: 'undone' | 'cancelled',
  doubts: readonly PendingStep[],
  execution: Execution,
  deps: AdvanceDeps,
): Promise<Advanced> {
  if (doubts.length > 0) return settle(run, undoWaits(run, doubts, undoTo), deps)
  return undo(run, undoTo, wholeJournal(run, execution), execution, deps)
}

async function undo(
  run: ClaimedRun,
  undoTo: 'undone' | 'cancelled',
  journal: readonly JournalRow[],
  execution: Execution,
  deps: AdvanceDeps,
): Promise<Advanced> {
  const why = { reasonCode: run.reasonCode, reason: run.reason }
  let end: Awaited<ReturnType<typeof undoSteps>>
  try {
    end = await undoSteps(run, journal, execution.host, deps)
  } catch (error) {
    if (asUnavailable(error)) throw error
    end = { as: 'failed', reason: reasonOf(error) }
  }
  switch (end.as) {
    case 'fenced':
      return undefined
    case 'undone':
      return settle(
        run,
        undone(
          run,
          undoTo,
          journal.some((row) => row.undo !== undefined),
          why,
        ),
        deps,
      )
    case 'waits':
      return settle(
        run,
        deps.stopping()
          ? { ...handedBack({ ...run, state: 'undoing' }, end.pending, deps.clock.now()), undoTo }
          : undoWaits(run, end.pending, undoTo),
        deps,
      )
    case 'failed':
      return settle(run, undoFailed([], undoTo, end.reason), deps)
  }
}

function wholeJournal(run: ClaimedRun, execution: Execution): readonly JournalRow[] {
  return [...run.journal, ...execution.live]
}
