import { durationWords } from '../../base/index.ts'
import type { PendingStep } from '../../flows/index.ts'
import { stepKey, type AttemptRow, type StepRow } from './runs.ts'

/**
 * One step of a run, whether it is finished (`step`), waits (`waits`), or an attempt of it is under way (neither).
 */
export interface TimelineStep {
  readonly name: string
  readonly ordinal: number
  readonly kind: StepRow['kind']
  readonly state: 'succeeded' | 'failed' | 'skipped' | 'waiting' | 'running'
  readonly operation: string | undefined
  readonly connectionId: string | undefined
  readonly step: StepRow | undefined
  readonly waits: PendingStep | undefined
  readonly attempts: readonly AttemptRow[]
  /** When it began, as far as that is known: its first attempt; else when the step before it had ended. */
  readonly begunAt: number
  /** `undefined` while it is not finished. */
  readonly finishedAt: number | undefined
}

/** A run's steps in the order in which they finished, then those that wait or are under way. */
export function timelineOf(
  runCreatedAt: number,
  steps: readonly StepRow[],
  attempts: readonly AttemptRow[],
  waits: readonly PendingStep[],
): readonly TimelineStep[] {
  const attemptsOf = groupAttempts(attempts)
  const timeline: TimelineStep[] = []
  let before = runCreatedAt
  for (const step of steps) {
    const own = attemptsOf.get(stepKey(step)) ?? []
    timeline.push({
      name: step.name,
      ordinal: step.ordinal,
      kind: step.kind,
      state: step.outcome,
      operation: step.operation ?? undefined,
      connectionId: step.connection_id ?? undefined,
      step,
      waits: undefined,
      attempts: own,
      begunAt: own[0]?.begun_at.getTime() ?? Math.min(before, step.finished_at.getTime()),
      finishedAt: step.finished_at.getTime(),
    })
    before = step.finished_at.getTime()
  }
  const finished = new Set(steps.map(stepKey))
  for (const wait of waits)
    if (!finished.has(stepKey(wait)))
      timeline.push(openStep(wait, attemptsOf.get(stepKey(wait)) ?? [], before))
  const known = new Set(timeline.map(stepKey))
  for (const own of attemptsOf.values())
    if (!known.has(stepKey(own[0]!))) timeline.push(openStep(undefined, own, before))
  return timeline
}

function groupAttempts(attempts: readonly AttemptRow[]): ReadonlyMap<string, readonly AttemptRow[]> {
  const groups = new Map<string, AttemptRow[]>()
  for (const attempt of attempts) {
    const group = groups.get(stepKey(attempt))
    if (group) group.push(attempt)
    else groups.set(stepKey(attempt), [attempt])
  }
  return groups
}

function openStep(
  waits: PendingStep | undefined,
  attempts: readonly AttemptRow[],
  before: number,
): TimelineStep {
  const { name, ordinal } = waits ?? attempts[0]!
  const kind = waits?.kind ?? 'operation'
  return {
    name,
    ordinal,
    kind: name.startsWith('undo:') ? 'undo' : kind,
    state: waits === undefined ? 'running' : 'waiting',
    operation: attempts[0]?.operation ?? undefined,
    connectionId: attempts[0]?.connection_id ?? undefined,
    step: undefined,
    waits,
    attempts,
    begunAt: attempts[0]?.begun_at.getTime() ?? before,
    finishedAt: undefined,
  }
}

/** What a step did, in business words: the operation's own, else its name. */
export function stepWords({ step, name, kind, waits, begunAt, finishedAt }: TimelineStep): string {
  if (step?.summary) return step.summary
  if (kind === 'sleep')
    return finishedAt === undefined ? 'sleeps' : `slept ${durationWords(finishedAt - begunAt)}`
  if (waits?.kind === 'wait') return `waits for ${waits.connector} "${waits.type}"`
  return name
}
