import { DAY } from '../../base/index.ts'
import type { Queryable } from '../../db/index.ts'
import type { Peak, Spent } from './spending.ts'

/** Adds to what was spent by whom, and keeps each day's fullest window. */
export async function recordSpending(
  client: Queryable,
  spent: readonly Spent[],
  peaks: readonly Peak[],
): Promise<void> {
  const column = <Of, Value>(of: readonly Of[], read: (one: Of) => Value): Value[] => of.map(read)
  if (spent.length > 0)
    await client.query({
      name: 'record_spending',
      text: `insert into budget_spending as s (tenant, connection_id, limit_name, hour, flow, calls, points, refused)
        select * from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[])
          as n (tenant, connection_id, limit_name, hour, flow, calls, points, refused)
        order by 1, 2, 3, 4, 5
        on conflict (tenant, connection_id, limit_name, hour, flow) do update
          set calls = s.calls + excluded.calls, points = s.points + excluded.points, refused = s.refused + excluded.refused`,
      values: [
        column(spent, (one) => one.tenant),
        column(spent, (one) => one.connectionId),
        column(spent, (one) => one.limit),
        column(spent, (one) => new Date(one.hour)),
        column(spent, (one) => one.flow),
        column(spent, (one) => one.calls),
        column(spent, (one) => one.points),
        column(spent, (one) => one.refused),
      ],
    })
  if (peaks.length > 0)
    await client.query({
      name: 'record_peaks',
      text: `insert into budget_peaks as p (tenant, connection_id, limit_name, day, peak)
        select tenant, connection_id, limit_name, (now() at time zone 'utc')::date, peak
        from unnest($1::text[], $2::text[], $3::text[], $4::real[]) as n (tenant, connection_id, limit_name, peak)
        order by 1, 2, 3
        on conflict (tenant, connection_id, limit_name, day) do update set peak = greatest(p.peak, excluded.peak)`,
      values: [
        column(peaks, (one) => one.tenant),
        column(peaks, (one) => one.connectionId),
        column(peaks, (one) => one.limit),
        column(peaks, (one) => one.peak),
      ],
    })
}

/** How long it is kept who spent what, for forecasts. */
export const SPENDING_KEPT_MS = 90 * DAY

/** Forgets what is older, and budgets of connections that are no more. */
export async function forgetSpending(client: Queryable): Promise<void> {
  const days = SPENDING_KEPT_MS / DAY
  await client.query(`delete from budget_spending where hour < now() - $1 * interval '1 day'`, [days])
  await client.query(`delete from budget_peaks where day < now() - $1 * interval '1 day'`, [days])
  await client.query(`delete from budgets where updated_at < now() - $1 * interval '1 day'`, [days])
}
