import type { Queryable } from '../db/index.ts'
import type { RunRef } from '../dispatch/index.ts'
import { WAKE_AGAIN_SECONDS } from '../inbox/index.ts'

/** Runs that wait for something outside, as it is let go of: what they are found by stands in `parked_for`. */

/** Runs that were let go and have not come past what they waited for yet. */
export async function countUnderWay(
  client: Queryable,
  tenant: string,
  names: readonly string[],
): Promise<number> {
  const { rows } = await client.query<{ count: string }>({
    name: 'count_let_go',
    text: `select count(*) from runs where tenant = $1 and parked_for = any($2)
      and (state in ('queued', 'running', 'waiting') or (state = 'undoing' and (due_at is not null or node_id is not null)))`,
    values: [tenant, names],
  })
  return Number(rows[0]!.count)
}

/** The oldest that wait, and did before `parkedBefore` by the database's clock; a run's id says when it came. */
export async function firstWaiting(
  client: Queryable,
  tenant: string,
  names: readonly string[],
  most: number,
  parkedBefore?: Date,
): Promise<readonly RunRef[]> {
  const { rows } = await client.query<RunRef>({
    name: 'first_waiting',
    text: `select first.tenant, first.id
      from unnest($2::text[]) as n(name) cross join unnest(array['parked', 'undoing']) as s(state)
      cross join lateral (
        select r.tenant, r.id from runs r
        where r.tenant = $1 and r.parked_for = n.name and r.state = s.state and r.node_id is null
          and (s.state = 'parked' or r.due_at is null) and ($4::timestamptz is null or r.updated_at < $4)
        order by r.id limit $3) first
      order by first.id limit $3`,
    values: [tenant, names, most, parkedBefore ?? null],
  })
  return rows
}

/** What runs wait for, each name once; those that were let go and are not through yet have it still. */
export const WAITED_FOR = `with recursive waited as (
    (select tenant, parked_for from runs where parked_for is not null order by tenant, parked_for limit 1)
    union all
    (select next.tenant, next.parked_for from waited w cross join lateral (
      select r.tenant, r.parked_for from runs r where r.parked_for is not null
        and (r.tenant, r.parked_for) > (w.tenant, w.parked_for) order by r.tenant, r.parked_for limit 1) next))`

/** Makes those ready that wait still, and no node has. */
export async function makeReady(
  client: Queryable,
  runs: readonly RunRef[],
  now: number,
): Promise<readonly RunRef[]> {
  if (runs.length === 0) return []
  const { rows } = await client.query<RunRef>({
    name: 'let_go',
    text: `update runs r set state = case when r.state = 'undoing' then 'undoing' else 'queued' end,
        due_at = $3::timestamptz + interval '${WAKE_AGAIN_SECONDS} seconds', updated_at = now()
      from (select r.tenant, r.id from runs r where (r.tenant, r.id) in (select * from unnest($1::text[], $2::text[]))
          and r.state in ('parked', 'undoing') and r.node_id is null order by r.tenant, r.id for no key update of r) ready
      where r.tenant = ready.tenant and r.id = ready.id returning r.tenant, r.id`,
    values: [runs.map((run) => run.tenant), runs.map((run) => run.id), new Date(now)],
  })
  return rows
}
