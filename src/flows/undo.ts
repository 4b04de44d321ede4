import { createHash } from 'node:crypto'
import { encodeJson, parseJson } from '../base/index.ts'
import type { CallConnection } from '../calls/index.ts'
import { advanceCall, type CallStep, type StepHost } from './callStep.ts'
import { stepKey } from './playback.ts'
import { afterCrash, notTried, retryPolicy } from './retry.ts'
import type { ClaimedRun, JournalRow, PendingCall, PendingStep, Undo } from './run.ts'

/** How the undoing of a run went on. */
export type UndoEnd =
  | { readonly as: 'undone' }
  | { readonly as: 'waits'; readonly pending: readonly PendingStep[] }
  | { readonly as: 'failed'; readonly reason: string }
  | { readonly as: 'fenced' }

export interface UndoDeps {
  /** The connection by the names that the undo was journaled with. Throws where it is gone. */
  readonly connectionNamed: (tenant: string, connector: string, connection: string) => Promise<CallConnection>
  readonly stopping: () => boolean
}

/** The steps of a journal that are to be undone: those with a compensation, last first, without those done already. */
export function stepsToUndo(journal: readonly JournalRow[]): JournalRow[] {
  const done = new Set(
    journal
      .filter((row) => row.kind === 'undo' && row.outcome !== 'failed')
      .map((row) => stepKey(row.name, row.ordinal)),
  )
  return journal
    .filter(
      (row) =>
        row.undo !== undefined &&
        row.outcome === 'succeeded' &&
        !done.has(stepKey(undoName(row.name), row.ordinal)),
    )
    .sort((a, b) => b.seq - a.seq)
}

function undoName(name: string): string {
  return `undo:${name}`
}

/** Runs the compensations one after another, last step first, each with the retries of any call. */
export async function undoSteps(
  run: ClaimedRun,
  journal: readonly JournalRow[],
  host: StepHost,
  deps: UndoDeps,
): Promise<UndoEnd> {
  for (const row of stepsToUndo(journal)) {
    const undo = parseJson(row.undo!) as unknown as Undo
    if ('impossible' in undo)
      return {
        as: 'failed',
        reason: `The step ${stepKey(row.name, row.ordinal)} cannot be undone: ${undo.impossible} Undo it by hand, then settle the run.`,
      }
    const step = await undoStep(run, row, undo, deps)
    for (let pending = startingPoint(step, run, host.clock.now()); ;) {
      if (deps.stopping()) return { as: 'waits', pending: [{ kind: 'operation', ...pending }] }
      const progress = await advanceCall(step, pending, host)
      if (progress.as === 'fenced') return { as: 'fenced' }
      if (progress.as === 'finished') {
        if (progress.row.outcome === 'failed')
          return {
            as: 'failed',
            reason: `Undoing ${stepKey(row.name, row.ordinal)} failed for good: ${progress.row.error ?? ''} Undo it by hand, then settle the run.`,
          }
        break
      }
      if (progress.pending.until === null || progress.pending.until > host.clock.now())
        return { as: 'waits', pending: [{ kind: 'operation', ...progress.pending }] }
      pending = progress.pending
    }
  }
  return { as: 'undone' }
}

async function undoStep(
  run: ClaimedRun,
  row: JournalRow,
  undo: Exclude<Undo, { impossible: string }>,
  deps: UndoDeps,
): Promise<CallStep> {
  const connection = await deps.connectionNamed(run.tenant, undo.connector, undo.connection)
  const operation = connection.connector.operationsByName.get(undo.operation)
  if (!operation)
    throw new Error(
      `The connector ${undo.connector} no longer has the operation ${undo.operation}, which undoes ${stepKey(row.name, row.ordinal)}. Undo it by hand, then settle the run.`,
    )
  return {
    kind: 'undo',
    name: undoName(row.name),
    ordinal: row.ordinal,
    connection,
    operationName: undo.operation,
    operation,
    input: undo.input,
    inputDigest: createHash('sha256').update(encodeJson(undo.input)).digest(),
    options: {},
    policy: retryPolicy(operation.retry),
    askedAt: row.finishedAt,
    undoOf: undefined,
  }
}

function startingPoint(step: CallStep, run: ClaimedRun, now: number): PendingCall {
  const resumed = run.pending.find(
    (pending) =>
      pending.kind === 'operation' && pending.name === step.name && pending.ordinal === step.ordinal,
  )
  const before = resumed?.kind === 'operation' ? resumed : notTried(step.name, step.ordinal, run.claimedAt)
  const last = run.lastAttempts.find(
    (attempt) => attempt.name === step.name && attempt.ordinal === step.ordinal,
  )
  const { claims, claimedAt } = run
  return afterCrash(before, step.operation, { last, claims, claimedAt, now })
}
