import { encodeJson, UsageError, type RunId } from '../base/index.ts'
import { lockRun, queueRun, record, refuse, waitsOf, type LockedRun } from './lockRun.ts'
import type { ActionContext } from './operator.ts'

/**
 * A person's word.
 * - `done`: the effect is there; `result` is what the operation would have given (checked when the flow reads it).
 * - `not_done`: it is not there, so the step is done now, as a new effect. For a step that was too late: run it now.
 * - `undone`: the undo that failed, or could not be, was done by hand; what is left is undone, and the run ends.
 */
export type Settlement =
  | { readonly as: 'done'; readonly step: string; readonly ordinal?: number; readonly result?: unknown }
  | { readonly as: 'not_done'; readonly step: string; readonly ordinal?: number }
  | { readonly as: 'undone' }

export async function settleStep(id: RunId, settlement: Settlement, context: ActionContext): Promise<void> {
  const run = await lockRun(id, context)
  if (run.state !== 'held') refuse(run, 'settled', 'Only held runs wait for a person.')
  if (settlement.as === 'undone') return settleUndo(run, context)
  const waits = waitsOf(run)
  const ordinal = settlement.ordinal ?? 1
  const at = waits.findIndex((step) => step.name === settlement.step && step.ordinal === ordinal)
  const step = waits[at]
  if (step?.kind !== 'operation' || (step.phase !== 'held' && step.phase !== 'late'))
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

/** The undo that stopped the run counts as done; the engine undoes the earlier steps and ends the run. */
async function settleUndo(run: LockedRun, context: ActionContext): Promise<void> {
  if (run.reason_code !== 'undo_failed')
    refuse(
      run,
      'settled as undone',
      `It is held for ${run.reason_code ?? 'another reason'}: settle its step instead.`,
    )
  const step = await journalUndoByHand(run.id, context)
  await context.client.query(
    `update runs set state = 'undoing', due_at = now() + interval '15 seconds', waits = null, updated_at = now() where tenant = $1 and id = $2`,
    [context.tenant, run.id],
  )
  await context.wake(context.client, [{ tenant: context.tenant, id: run.id }])
  await record(context, 'step.resolved', run, 'undone', { ...step, byHand: true })
}

/**
 * Undoing goes from the last step to the first and stops at the undo that fails, so that one is of the newest step
 * with an undo which has not succeeded: the order of `stepsToUndo` in flows.
 */
async function journalUndoByHand(
  run: RunId,
  { client, tenant }: ActionContext,
): Promise<{ readonly step: string; readonly ordinal: number } | undefined> {
  const { rows } = await client.query<{ step: string; ordinal: number }>(
    `insert into journal (tenant, run_id, seq, kind, name, ordinal, outcome, summary)
     select j.tenant, j.run_id, (select max(seq) + 1 from journal where tenant = $1 and run_id = $2), 'undo', 'undo:' || j.name, j.ordinal, 'succeeded', 'undone by hand'
     from journal j where j.tenant = $1 and j.run_id = $2 and j.outcome = 'succeeded' and j.undo is not null
       and not exists (select 1 from journal u where u.tenant = j.tenant and u.run_id = j.run_id and u.kind = 'undo'
         and u.name = 'undo:' || j.name and u.ordinal = j.ordinal and u.outcome <> 'failed')
     order by j.seq desc limit 1
     on conflict (tenant, run_id, name, ordinal) do update set seq = excluded.seq, outcome = excluded.outcome,
       summary = excluded.summary, error_code = null, error = null, finished_at = now()
     returning substr(name, 6) as step, ordinal`,
    [tenant, run],
  )
  return rows[0]
}
