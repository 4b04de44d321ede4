import { encodeJson, type RunId } from '../base/index.ts'
import { notTried, type PendingStep } from '../flows/index.ts'
import { lockRun, queueRun, record, refuse, waitsOf } from './lockRun.ts'
import type { ActionContext } from './operator.ts'

const HELD_BUT_RETRYABLE = new Set(['version_conflict', 'contract_broken'])

/**
 * The same run goes on: same journal, same keys. The step whose failure ended it is forgotten, with those that
 * failed after it, so that they are tried again; failures that the flow's code had caught stay. A dead letter has
 * left its lane and does not get its place back. A parked run does not wait any longer.
 */
export async function retryRun(id: RunId, context: ActionContext): Promise<void> {
  const run = await lockRun(id, context)
  if (run.state === 'dead_lettered') {
    const waits = await forgetFailedSteps(id, context)
    await context.client.query(
      'update runs set undo_to = null, failed_step = null where tenant = $1 and id = $2',
      [context.tenant, id],
    )
    await queueRun(context, run, { waits: waits.length === 0 ? null : encodeJson(waits) })
  } else if (run.state === 'parked') {
    const waits = waitsOf(run)
    await queueRun(context, run, { waits: waits.length === 0 ? null : encodeJson(waits.map(atOnce)) })
  } else if (run.state === 'held' && HELD_BUT_RETRYABLE.has(run.reason_code ?? '')) {
    await queueRun(context, run)
  } else
    refuse(
      run,
      'retried',
      run.state === 'held'
        ? 'Settle its step, release what is quarantined, or cancel it.'
        : 'Only dead letters, parked runs and version conflicts can be retried. To do it again as a new run, replay it.',
    )
  await record(context, 'run.retried', run, 'queued', { from: run.state })
}

function atOnce(step: PendingStep): PendingStep {
  const waitsForOutside = step.kind === 'operation' && (step.phase === 'parked' || step.phase === 'deferred')
  return waitsForOutside ? { ...step, until: 0 } : step
}

interface LastAttempt {
  readonly name: string
  readonly ordinal: number
  readonly number: number
  readonly generation: number
  readonly state: string | null
  readonly begun_at: Date
  readonly known_at: Date
}

/** Deletes the failures that ended the run, and what was only not begun because it ended. Answers where the calls among them go on. */
async function forgetFailedSteps(
  id: RunId,
  { client, tenant, clock }: ActionContext,
): Promise<readonly PendingStep[]> {
  const { rows } = await client.query<LastAttempt>(
    `with forgotten as (
       delete from journal j using runs r
       where r.tenant = $1 and r.id = $2 and j.tenant = r.tenant and j.run_id = r.id and j.outcome = 'failed' and j.kind <> 'undo'
         and (j.error_code = 'not_done' or j.seq >= (select f.seq from journal f where f.tenant = r.tenant and f.run_id = r.id and f.outcome = 'failed' and f.name || '#' || f.ordinal = r.failed_step))
       returning j.name, j.ordinal)
     select distinct on (a.name, a.ordinal) a.name, a.ordinal, a.number, a.generation, a.state, coalesce(a.finished_at, a.begun_at) as known_at,
       (select min(first.begun_at) from attempts first where first.tenant = a.tenant and first.run_id = a.run_id and first.name = a.name and first.ordinal = a.ordinal and first.generation = a.generation) as begun_at
     from attempts a join forgotten using (name, ordinal)
     where a.tenant = $1 and a.run_id = $2 order by a.name, a.ordinal, a.number desc`,
    [tenant, id],
  )
  return rows.map((last) => ({ kind: 'operation', ...goingOn(last, clock.now()) }))
}

/** Its attempts are numbered on and its keys are kept; they are counted anew. Where the provider may have acted, it is asked before anything is sent. */
function goingOn(last: LastAttempt, now: number): ReturnType<typeof notTried> {
  const step = {
    ...notTried(last.name, last.ordinal, now),
    lastNumber: last.number,
    generation: last.generation,
    begunAt: last.begun_at.getTime(),
  }
  const known = last.state === 'succeeded' || last.state === 'failed'
  return known ? step : { ...step, phase: 'in_doubt', until: 0, doubtedAt: last.known_at.getTime() }
}
