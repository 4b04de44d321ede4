import { RUN_ENDED } from '../define/index.ts'
import type { RunId } from '../base/index.ts'
import { lockRun, record, refuse, type LockedRun } from './lockRun.ts'
import type { ActionContext } from './operator.ts'

/**
 * Attempts in doubt are resolved, then what can be undone is undone, in reverse order; then the run is cancelled.
 * A run that is being undone already goes on with that, and ends cancelled.
 */
export async function cancelRun(id: RunId, context: ActionContext): Promise<void> {
  const run = await lockRun(id, context)
  if (RUN_ENDED.has(run.state) && run.state !== 'dead_lettered')
    refuse(run, 'cancelled', 'It is over already.')
  if (run.state === 'held' && run.undo_to === 'cancelled')
    refuse(run, 'cancelled', 'It was cancelled already, and waits for a word on its step: settle it.')
  const outcome = await cancelIn(run, context)
  await record(context, 'run.cancelled', run, outcome, { from: run.state })
}

/** Cancels as the run's state asks for, and answers what it is now. */
async function cancelIn(run: LockedRun, context: ActionContext): Promise<string> {
  const { client, tenant } = context
  // A dead letter has nothing left to undo.
  if (run.state === 'dead_lettered') {
    await client.query(
      `update runs set state = 'cancelled', undo_to = null, updated_at = now() where tenant = $1 and id = $2`,
      [tenant, run.id],
    )
    return 'cancelled'
  }
  // Trying the same undo again would end as before: a person does it by hand and settles the run.
  const undoFailed = run.state === 'held' && run.reason_code === 'undo_failed'
  // The node that executes it is told with its next write; else any node takes it up. `claims` stays: it tells
  // whether a node died with a call under way, of which it is learned whether it is to be undone.
  const asked = undoFailed || run.node_id !== null
  await client.query(
    `update runs set undo_to = 'cancelled', state = case when $3 then state else 'undoing' end, due_at = case when $3 then due_at else now() + interval '15 seconds' end,
       reason_code = case when $4 then reason_code else 'cancelled' end,
       reason = case when $4 then reason else $5 end, updated_at = now() where tenant = $1 and id = $2`,
    [tenant, run.id, asked, undoFailed, `Cancelled by ${context.actor}.`],
  )
  if (!asked) await context.wake(client, [{ tenant, id: run.id }])
  return asked ? 'asked' : 'undoing'
}
