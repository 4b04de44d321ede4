import { NotFoundError, parseJson, UsageError, type EventId, type RunId } from '../base/index.ts'
import type { RunState } from '../define/index.ts'
import type { PendingStep } from '../flows/index.ts'
import type { LedgerAction } from '../ledger/index.ts'
import type { ActionContext } from './operator.ts'

export interface LockedRun {
  readonly id: RunId
  readonly flow: string
  readonly state: RunState
  readonly event_id: EventId
  readonly node_id: string | null
  readonly lane_key: string | null
  readonly lane_open: boolean
  readonly waits: string | null
  readonly undo_to: 'undone' | 'cancelled' | null
  readonly reason_code: string | null
}

/** Locks the run for the rest of the transaction. Throws {@link NotFoundError}. */
export async function lockRun(run: RunId, { client, tenant }: ActionContext): Promise<LockedRun> {
  const { rows } = await client.query<LockedRun>(
    'select id, flow, state, event_id, node_id, lane_key, lane_open, waits, undo_to, reason_code from runs where tenant = $1 and id = $2 for no key update',
    [tenant, run],
  )
  if (!rows[0]) throw new NotFoundError('run', run, 'List them with: trestle runs list')
  return rows[0]
}

/** The steps that the run waited on when it was last suspended. */
export function waitsOf(run: Pick<LockedRun, 'waits'>): readonly PendingStep[] {
  return run.waits === null ? [] : (parseJson(run.waits) as unknown as PendingStep[])
}

/** The state does not allow the action: nothing was changed. */
export function refuse(run: LockedRun, action: string, instead: string): never {
  throw new UsageError(
    'state_conflict',
    `Run ${run.id} is ${run.state}, so it cannot be ${action}. ${instead}`,
  )
}

/** Writes that the action was done. */
export async function record(
  context: ActionContext,
  action: LedgerAction,
  run: Pick<LockedRun, 'id'>,
  outcome: string,
  detail?: unknown,
): Promise<void> {
  await context.writeEntries(context.client, [
    {
      tenant: context.tenant,
      at: context.clock.now(),
      actor: context.actor,
      action,
      target: run.id,
      outcome,
      runId: run.id,
      ...(detail === undefined ? {} : { detail }),
    },
  ])
}

/** Queues the run and wakes it, in the transaction. */
export async function queueRun(
  context: ActionContext,
  run: LockedRun,
  over: { readonly waits?: string | null } = {},
): Promise<void> {
  await context.client.query(
    `update runs set state = case when undo_to is null then 'queued' else 'undoing' end, due_at = now() + interval '15 seconds', claims = least(claims, 1), goes_on_since = now(), reason_code = null, reason = null,
       waits = case when $4 then $3 else waits end, finished_at = null, updated_at = now()
     where tenant = $1 and id = $2`,
    [context.tenant, run.id, over.waits ?? null, 'waits' in over],
  )
  await context.wake(context.client, [{ tenant: context.tenant, id: run.id }])
}
