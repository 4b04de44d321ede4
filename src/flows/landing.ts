import type { LedgerAction, LedgerEntry } from '../ledger/index.ts'
import type { ClaimedRun, RunMove } from './run.ts'

/** Pure decisions: where a run lands that a person may have cancelled meanwhile, and what the ledger says of it. */

/** The run's row as it is when it is written, locked. */
export interface Row {
  readonly undo_to: string | null
  readonly reason_code: string | null
  readonly reason: string | null
}

const BEFORE_ITS_END: ReadonlySet<string> = new Set(['queued', 'waiting', 'held', 'parked'])

/**
 * The move as it comes to be. A person's word that came while the execution was under way goes before what it found: what
 * would wait is undone at once, and what gave up or was undone ends cancelled.
 */
export function landing(move: RunMove, row: Row, now: number): RunMove {
  if (row.undo_to === null) return move
  if (move.undoTo === undefined && BEFORE_ITS_END.has(move.to)) {
    const why = { reasonCode: row.reason_code ?? undefined, reason: row.reason ?? undefined }
    return { ...move, ...why, to: 'undoing', dueAt: now }
  }
  if (row.undo_to !== 'cancelled') return move
  if (move.to === 'dead_lettered' || move.to === 'undone') return { ...move, to: 'cancelled' }
  return move.undoTo === undefined ? move : { ...move, undoTo: 'cancelled' }
}

const RUN_ACTIONS: Partial<Record<RunMove['to'], LedgerAction>> = {
  succeeded: 'run.succeeded',
  undone: 'run.undone',
  dead_lettered: 'run.dead_lettered',
  cancelled: 'run.cancelled',
  held: 'run.held',
  parked: 'run.parked',
  undoing: 'run.gave_up',
}

/**
 * Ends and stops that people ask about are in the ledger; moves between queued, running and waiting are not. Nor is that
 * the run is being undone, where it was already or where a person's word of it is in the ledger.
 */
export function moveEntries(
  run: Pick<ClaimedRun, 'tenant' | 'id' | 'flow'>,
  move: Pick<RunMove, 'to' | 'undoTo' | 'reasonCode' | 'reason'> & { readonly event?: RunMove['event'] },
  now: number,
  from?: string,
): LedgerEntry[] {
  if (move.to === 'undoing' && (move.undoTo === undefined || from === 'undoing')) return []
  const action = move.event?.as === 'stale' ? 'run.found_stale' : RUN_ACTIONS[move.to]
  if (!action) return []
  return [
    {
      tenant: run.tenant,
      at: now,
      actor: `flow:${run.flow}`,
      action,
      target: run.id,
      outcome: move.to,
      runId: run.id,
      detail: {
        flow: run.flow,
        ...(move.reasonCode === undefined ? {} : { code: move.reasonCode, reason: move.reason }),
      },
    },
  ]
}
