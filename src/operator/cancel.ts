import { RUN_ENDED } from '../define/index.ts'
import type { RunId } from '../base/index.ts'
import { lockRun, record, refuse } from './lockRun.ts'
import type { ActionContext } from './operator.ts'

/** Attempts in doubt are resolved, then what can be undone is undone, in reverse order; then the run is cancelled. */
export async function cancelRun(id: RunId, context: ActionContext): Promise<void> {
  const run = await lockRun(id, context)
  if (run.state === 'dead_lettered') {
    await context.client.query(
      `update runs set state = 'cancelled', updated_at = now() where tenant = $1 and id = $2`,
      [context.tenant, id],
    )
    return record(context, 'run.cancelled', run, 'cancelled', { from: run.state })
  }
  if (RUN_ENDED.has(run.state)) refuse(run, 'cancelled', 'It is over already.')
  if (run.undo_to !== null) refuse(run, 'cancelled', 'It is being undone already.')
  // While a node executes it, the node is told with its next write; else any node takes it up.
  const executing = run.node_id !== null
  await context.client.query(
    `update runs set undo_to = 'cancelled', state = case when $3 then state else 'undoing' end, due_at = case when $3 then due_at else now() end,
       reason_code = 'cancelled', reason = $4, updated_at = now() where tenant = $1 and id = $2`,
    [context.tenant, id, executing, `Cancelled by ${context.actor}.`],
  )
  if (!executing) await context.wake(context.client, [{ tenant: context.tenant, id }])
  await record(context, 'run.cancelled', run, executing ? 'asked' : 'undoing', { from: run.state })
}
