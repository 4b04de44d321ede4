import type { Queryable } from '../db/index.ts'
import type { RunRef } from '../dispatch/index.ts'
import { WAKE_AGAIN_SECONDS } from '../inbox/index.ts'

/** What a person decided of a quarantined answer: its payload, that it is discarded, or nothing yet. */
export async function releasedAnswer(
  client: Queryable,
  tenant: string,
  id: string,
): Promise<Buffer | 'discarded' | undefined> {
  const { rows } = await client.query<{ state: string; payload: Buffer }>(
    'select state, payload from quarantine where tenant = $1 and id = $2',
    [tenant, id],
  )
  const row = rows[0]
  if (row?.state === 'released') return row.payload
  return row?.state === 'discarded' ? 'discarded' : undefined
}

/** Makes a held run ready if somebody has decided of one of these answers meanwhile. */
export async function goOnIfReleased(
  client: Queryable,
  run: RunRef,
  quarantineIds: readonly string[],
): Promise<readonly RunRef[]> {
  const { rows } = await client.query<RunRef>(
    `update runs set state = case when undo_to is null then 'queued' else 'undoing' end, due_at = now() + interval '${WAKE_AGAIN_SECONDS} seconds', updated_at = now()
     where tenant = $1 and id = $2 and state = 'held' and node_id is null
       and exists (select 1 from quarantine q where q.tenant = $1 and q.id = any($3) and q.state <> 'quarantined') returning tenant, id`,
    [run.tenant, run.id, quarantineIds],
  )
  return rows
}
