import type { Database, Queryable } from '../db/index.ts'
import { transaction } from '../db/index.ts'
import type { RunId } from '../base/index.ts'
import type { RunRef } from '../dispatch/index.ts'

/** A run that the database holds for a node, under one claim. */
export interface ClaimedRef extends RunRef {
  readonly fence: string
}

/** Runs that the database holds for this node. */
export async function runsClaimedBy(client: Queryable, node: string): Promise<readonly ClaimedRef[]> {
  const { rows } = await client.query<{ tenant: string; id: RunId; fence: string }>({
    name: 'runs_claimed_by',
    text: `select tenant, id, fence from runs where node_id = $1 and state in ('running', 'undoing')`,
    values: [node],
  })
  return rows
}

/**
 * Gives back runs that this node holds without knowing it: the answer to their claim was lost, or giving them back
 * failed, because the database was away. Nobody else would take them, since the node lives.
 */
export async function giveBackStrays(
  strays: readonly ClaimedRef[],
  node: string,
  {
    database,
    wake,
  }: { database: Database; wake: (client: Queryable, runs: readonly RunRef[]) => Promise<void> },
): Promise<void> {
  if (strays.length === 0) return
  await transaction(database.pool, async (client) => {
    const { rows } = await client.query<RunRef>(
      `update runs r set state = case when r.state = 'undoing' or r.undo_to is not null then 'undoing' else 'queued' end,
         fence = r.fence + 1, node_id = null, claims = 1, due_at = now(), updated_at = now()
       from (select r.tenant, r.id from runs r join unnest($1::text[], $2::text[], $3::bigint[]) as s(tenant, id, fence)
               on r.tenant = s.tenant and r.id = s.id and r.fence = s.fence
             where r.node_id = $4 and r.state in ('running', 'undoing') order by r.tenant, r.id for no key update of r) stray
       where r.tenant = stray.tenant and r.id = stray.id returning r.tenant, r.id`,
      [strays.map((run) => run.tenant), strays.map((run) => run.id), strays.map((run) => run.fence), node],
    )
    await wake(client, rows)
  })
}

/** After a fault of ours: the claim is given up, unless the run was settled after all. */
export async function giveBackClaim(
  client: Queryable,
  run: ClaimedRef,
  { node, dueAt }: { readonly node: string; readonly dueAt: number },
): Promise<void> {
  await client.query(
    `update runs set state = case when state = 'undoing' or undo_to is not null then 'undoing' else 'queued' end, fence = fence + 1, node_id = null,
       claims = 1, due_at = $4, updated_at = now()
     where tenant = $1 and id = $2 and fence = $3 and node_id = $5`,
    [run.tenant, run.id, run.fence, new Date(dueAt), node],
  )
}
