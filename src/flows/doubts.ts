import { stepKey } from './playback.ts'
import { mayHaveBeenDone, notTried } from './retry.ts'
import type { ClaimedRun, PendingStep } from './run.ts'

/** Pure decisions: what a run waits for, and of what nobody knows whether it was done. */

/** What is known of the run's steps besides those that wait now. */
export interface KnownSteps {
  /** Steps that waited when the run was last suspended, by {@link stepKey}. */
  readonly resumed: ReadonlyMap<string, PendingStep>
  readonly lastAttempts: ClaimedRun['lastAttempts']
  /** Whether the journal holds a result of the step that was not delivered yet. */
  readonly isFinished: (name: string, ordinal: number) => boolean
}

/**
 * Steps of which nobody knows whether they were done. One that the flow's code does not ask for any more, because
 * it was changed or awaits something of its own, is held for a person.
 */
export function doubtsOf(pending: readonly PendingStep[], known: KnownSteps): PendingStep[] {
  const asked = new Set(pending.map((step) => stepKey(step.name, step.ordinal)))
  const unasked = (step: PendingStep): boolean => !asked.has(stepKey(step.name, step.ordinal))
  return [...withResumed(pending, known), ...openUnasked(pending, known)].flatMap((step): PendingStep[] => {
    // What undoes a step is not asked for by the flow's code: the undoing itself goes on with it.
    if (step.kind !== 'operation' || isUndo(step) || !mayHaveBeenDone(step)) return []
    if (!unasked(step)) return [step]
    if (step.settled !== undefined) return []
    return [
      {
        ...step,
        phase: 'held',
        until: null,
        code: 'outcome_unknown',
        reason: `${step.reason ?? ''} The flow no longer asks for it.`.trim(),
      },
    ]
  })
}

/** Attempts that were begun, of steps that nothing else tells of. */
function openUnasked(
  pending: readonly PendingStep[],
  { resumed, lastAttempts, isFinished }: KnownSteps,
): PendingStep[] {
  const known = new Set([...pending, ...resumed.values()].map((step) => stepKey(step.name, step.ordinal)))
  return lastAttempts
    .filter(
      (last) =>
        last.open &&
        !last.name.startsWith('undo:') &&
        !known.has(stepKey(last.name, last.ordinal)) &&
        !isFinished(last.name, last.ordinal),
    )
    .map((last) => ({
      kind: 'operation',
      ...notTried(last.name, last.ordinal, last.begunAt),
      phase: 'in_doubt',
      lastNumber: last.number,
      generation: last.generation,
      begunAt: last.begunAt,
      doubtedAt: last.begunAt,
      code: 'node_died',
      reason: 'The node died while it was under way.',
    }))
}

/** Steps that waited before and have not been asked for again yet keep waiting. */
export function withResumed(
  pending: readonly PendingStep[],
  { resumed, isFinished }: KnownSteps,
): PendingStep[] {
  const known = new Set(pending.map((step) => stepKey(step.name, step.ordinal)))
  const unreached = [...resumed]
    .filter(([key, step]) => !known.has(key) && !isFinished(step.name, step.ordinal))
    .map(([, step]) => step)
  return [...pending, ...unreached]
}

function isUndo(step: PendingStep): boolean {
  return step.name.startsWith('undo:')
}
