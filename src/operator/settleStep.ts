import { encodeJson, parseJson, UsageError, type RunId } from '../base/index.ts'
import { lockRun, queueRun, record, refuse } from './lockRun.ts'
import type { ActionContext } from './operator.ts'

/**
 * A person's word.
 * - `done`: the effect is there; `result` is what the operation would have given (checked when the flow reads it).
 * - `not_done`: it is not there, so the step is done now, as a new effect. For a step that was too late: run it now.
 * - `undone`: what could not be undone was undone by hand; the run ends.
 */
export type Settlement =
  | { readonly as: 'done'; readonly step: string; readonly ordinal?: number; readonly result?: unknown }
  | { readonly as: 'not_done'; readonly step: string; readonly ordinal?: number }
  | { readonly as: 'undone' }

interface WaitingStep {
  readonly name: string
  readonly ordinal: number
  readonly phase?: string
}

export async function settleStep(id: RunId, settlement: Settlement, context: ActionContext): Promise<void> {
  const run = await lockRun(id, context)
  if (run.state !== 'held') refuse(run, 'settled', 'Only held runs wait for a person.')
  if (settlement.as === 'undone') {
    if (run.reason_code !== 'undo_failed')
      refuse(
        run,
        'settled as undone',
        `It is held for ${run.reason_code ?? 'another reason'}: settle its step instead.`,
      )
    await context.client.query(
      `update runs set state = undo_to, lane_open = false, finished_at = now(), updated_at = now(), waits = null where tenant = $1 and id = $2`,
      [context.tenant, id],
    )
    return record(context, 'run.undone', run, run.undo_to ?? 'undone', { byHand: true })
  }
  const waits = run.waits === null ? [] : (parseJson(run.waits) as unknown as WaitingStep[])
  const ordinal = settlement.ordinal ?? 1
  const at = waits.findIndex((step) => step.name === settlement.step && step.ordinal === ordinal)
  if (at === -1 || (waits[at]!.phase !== 'held' && waits[at]!.phase !== 'late'))
    throw new UsageError(
      'step_unknown',
      `Run ${id} does not wait for a word on ${settlement.step}#${ordinal}. It waits on: ${waits.map((step) => `${step.name}#${step.ordinal}`).join(', ') || 'nothing'}.`,
    )
  const settled =
    settlement.as === 'done' ? { as: 'done', result: settlement.result ?? null } : { as: 'not_done' }
  await queueRun(context, run, {
    waits: encodeJson(waits.map((step, i) => (i === at ? { ...step, settled } : step))),
  })
  await record(context, 'step.resolved', run, settlement.as, { step: settlement.step, ordinal })
}
