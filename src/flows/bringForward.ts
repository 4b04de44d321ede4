import type { Queryable } from '../db/index.ts'
import type { RunRef } from '../dispatch/index.ts'

/** A run and the time until which a call of it was deferred, in milliseconds since 1970. */
export interface DeferredRun {
  readonly tenant: string
  readonly runId: string
  readonly until: number
}

/**
 * Makes runs due now that wait for a time that a budget gave to a call of theirs. One that waits for another time by
 * now, or is executed, is left as it is. The sweep finds them, so that lanes keep their order.
 */
export async function bringForward(
  client: Queryable,
  calls: readonly DeferredRun[],
  now: number,
): Promise<readonly RunRef[]> {
  const { rows } = await client.query<RunRef>({
    name: 'bring_forward',
    text: `update runs r set due_at = $4, updated_at = now()
      from (select r.tenant, r.id from runs r
          join unnest($1::text[], $2::text[], $3::timestamptz[]) as d(tenant, id, until)
            on r.tenant = d.tenant and r.id = d.id and r.due_at = d.until
          where r.state in ('waiting', 'undoing') and r.node_id is null and r.due_at > $4
          order by r.tenant, r.id for no key update of r) deferred
      where r.tenant = deferred.tenant and r.id = deferred.id returning r.tenant, r.id`,
    values: [
      calls.map(({ tenant }) => tenant),
      calls.map(({ runId }) => runId),
      calls.map(({ until }) => new Date(until)),
      new Date(now),
    ],
  })
  return rows
}
