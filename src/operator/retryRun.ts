import type { RunId } from '../base/index.ts'
import { lockRun, queueRun, record, refuse } from './lockRun.ts'
import type { ActionContext } from './operator.ts'

const HELD_BUT_RETRYABLE = new Set(['version_conflict', 'contract_broken'])

/**
 * The same run goes on: same journal, same keys. The step that failed last is forgotten, so that it is tried again;
 * what the flow's code had caught before stays. A dead letter has left its lane and does not get its place back.
 */
export async function retryRun(id: RunId, context: ActionContext): Promise<void> {
  const run = await lockRun(id, context)
  const retryable =
    run.state === 'dead_lettered' ||
    run.state === 'parked' ||
    (run.state === 'held' && HELD_BUT_RETRYABLE.has(run.reason_code ?? ''))
  if (!retryable)
    refuse(
      run,
      'retried',
      run.state === 'held'
        ? 'Settle its step, release what is quarantined, or cancel it.'
        : 'Only dead letters, parked runs and version conflicts can be retried. To do it again as a new run, replay it.',
    )
  if (run.state === 'dead_lettered')
    await context.client.query(
      `delete from journal j where j.tenant = $1 and j.run_id = $2 and j.outcome = 'failed'
         and j.seq = (select max(last.seq) from journal last where last.tenant = $1 and last.run_id = $2 and last.outcome = 'failed')`,
      [context.tenant, id],
    )
  await queueRun(context, run, run.state === 'dead_lettered' ? { waits: null } : {})
  await record(context, 'run.retried', run, 'queued', { from: run.state })
}
