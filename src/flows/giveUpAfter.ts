import { durationMs, durationWords, PermanentError } from '../base/index.ts'
import type { AnyFlow } from '../define/index.ts'
import type { ClaimedRun, PendingStep, RunMove } from './run.ts'

/** When the run gives up by its flow's `giveUpAfter`, in milliseconds since 1970; infinity where the flow has none. */
export function giveUpAt(run: Pick<ClaimedRun, 'goesOnSince'>, flow: Pick<AnyFlow, 'giveUpAfter'>): number {
  return flow.giveUpAfter === undefined
    ? Number.POSITIVE_INFINITY
    : run.goesOnSince + durationMs(flow.giveUpAfter)
}

/** A run that waits by itself looks up in time to give up. One that waits for a person is left to them. */
export function noLaterThan(at: number, move: RunMove): RunMove {
  if ((move.to !== 'waiting' && move.to !== 'parked') || at === Number.POSITIVE_INFINITY) return move
  return { ...move, dueAt: Math.min(move.dueAt ?? at, at) }
}

/** Why a run gives up that has not ended in its flow's time, and what it still waited for. */
export function tooLong(
  run: Pick<ClaimedRun, 'goesOnSince' | 'pending' | 'journal'>,
  flow: Pick<AnyFlow, 'giveUpAfter'>,
  now: number,
): PermanentError {
  const allowed = durationWords(durationMs(flow.giveUpAfter!))
  const passed = durationWords(now - run.goesOnSince)
  return new PermanentError(
    'gave_up_after',
    `It had not ended after ${passed}, and its flow gives up after ${allowed}. ${stoodAt(run)}`,
  )
}

function stoodAt({ pending, journal }: Pick<ClaimedRun, 'pending' | 'journal'>): string {
  const [first] = pending
  if (first === undefined)
    return journal.length === 0 ? 'Nothing of it had begun.' : 'It was between two steps.'
  return `It waited for ${waitWords(first)}.`
}

function waitWords(step: PendingStep): string {
  if (step.kind === 'sleep') return 'its sleep to end'
  if (step.kind === 'wait') return `${step.connector} "${step.type}" with ${step.field} = ${step.value}`
  const tried =
    step.attempts === 0 ? 'not tried' : step.attempts === 1 ? 'tried once' : `tried ${step.attempts} times`
  const why = step.reason === undefined ? '' : `: ${step.reason.replace(/[.!?…]+$/, '')}`
  return `${step.name}, which was ${tried}${why}`
}
