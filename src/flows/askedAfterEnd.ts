import type { Queryable } from '../db/index.ts'
import type { RunRef } from '../dispatch/index.ts'
import type { LedgerEntry } from '../ledger/index.ts'
import { moveEntries } from './landing.ts'
import type { ClaimedRun } from './run.ts'

/** Gives up a run that was released when its flow's code, from an await of its own, asked for a step. */
export async function giveUpAskedAfterEnd(
  client: Queryable,
  run: ClaimedRun,
  step: string,
  {
    now,
    writeEntries,
  }: {
    readonly now: number
    readonly writeEntries: (client: Queryable, entries: readonly LedgerEntry[]) => Promise<void>
  },
): Promise<readonly RunRef[]> {
  const reason = `The step "${step}" was asked for after the flow had awaited something that is no step. Put that into step(name, work).`
  const { rows } = await client.query<RunRef>(
    `update runs set undo_to = 'undone', state = 'undoing', reason_code = 'awaited_outside_step', reason = $4, due_at = now(), updated_at = now()
     where tenant = $1 and id = $2 and fence = $3 and node_id is null and state in ('waiting', 'parked') returning tenant, id`,
    [run.tenant, run.id, run.fence, reason],
  )
  const why = { to: 'undoing', undoTo: 'undone', reasonCode: 'awaited_outside_step', reason } as const
  await writeEntries(
    client,
    rows.flatMap(() => moveEntries(run, why, now)),
  )
  return rows
}
