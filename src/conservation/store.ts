import type { Queryable } from '../db/index.ts'
import { balances, type DeclaredRow, type HourCount } from './balance.ts'
import { hourOf, type Born } from './born.ts'

/** Adds what the ledger says came to be. */
export async function addDeclared(client: Queryable, tenant: string, born: readonly Born[]): Promise<void> {
  const counts = new Map<string, { hour: number; connectionId: string; flow: string; count: number }>()
  for (const { id, connectionId, flow } of born) {
    const hour = hourOf(id)
    const key = `${hour} ${connectionId} ${flow}`
    const known = counts.get(key)
    if (known) known.count++
    else counts.set(key, { hour, connectionId, flow, count: 1 })
  }
  const rows = [...counts.values()]
  if (rows.length === 0) return
  await client.query(
    `insert into conservation as c (tenant, hour, connection_id, flow, declared)
     select $1, * from unnest($2::timestamptz[], $3::text[], $4::text[], $5::bigint[])
     on conflict (tenant, hour, connection_id, flow) do update set declared = c.declared + excluded.declared`,
    [
      tenant,
      rows.map((row) => new Date(row.hour)),
      rows.map((row) => row.connectionId),
      rows.map((row) => row.flow),
      rows.map((row) => row.count),
    ],
  )
}

export async function readDeclared(
  client: Queryable,
  tenant: string,
  hour: number,
): Promise<readonly DeclaredRow[]> {
  const { rows } = await client.query<{ connection_id: string; flow: string; declared: string }>(
    'select connection_id, flow, declared::text from conservation where tenant = $1 and hour = $2',
    [tenant, new Date(hour)],
  )
  return rows.map((row) => ({
    connectionId: row.connection_id,
    flow: row.flow,
    declared: Number(row.declared),
  }))
}

/** Keeps what one look at an hour found. */
export async function writeCounts(
  client: Queryable,
  tenant: string,
  hour: number,
  counts: readonly (HourCount & { readonly missing: readonly string[] })[],
  now: number,
): Promise<void> {
  if (counts.length === 0) return
  await client.query(
    `insert into conservation (tenant, hour, connection_id, flow, expected, counted, states, missing, broken, checked_at)
     select $1, $2, u.*, $9 from unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], $10::boolean[])
       as u (connection_id, flow, expected, counted, states, missing, broken)
     on conflict (tenant, hour, connection_id, flow) do update set expected = excluded.expected, counted = excluded.counted,
       states = excluded.states, missing = excluded.missing, broken = excluded.broken, checked_at = excluded.checked_at`,
    [
      tenant,
      new Date(hour),
      counts.map((row) => row.connectionId),
      counts.map((row) => row.flow),
      counts.map((row) => row.expected),
      counts.map((row) => row.counted),
      counts.map((row) => JSON.stringify(row.states)),
      counts.map((row) => JSON.stringify(row.missing)),
      new Date(now),
      counts.map((row) => !balances(row)),
    ],
  )
}

/** When an hour was last looked at, in milliseconds; `undefined` where it never was. */
export async function checkedAt(
  client: Queryable,
  tenant: string,
  hour: number,
): Promise<number | undefined> {
  const { rows } = await client.query<{ at: Date | null }>(
    'select max(checked_at) as at from conservation where tenant = $1 and hour = $2',
    [tenant, new Date(hour)],
  )
  return rows[0]?.at?.getTime()
}

/** The hour that was looked at the longest ago, or never, of those from `since` on. */
export async function stalestHour(
  client: Queryable,
  tenant: string,
  since: number,
): Promise<number | undefined> {
  const { rows } = await client.query<{ hour: Date }>(
    'select hour from conservation where tenant = $1 and hour >= $2 order by checked_at nulls first, hour limit 1',
    [tenant, new Date(since)],
  )
  return rows[0]?.hour.getTime()
}

/** The hours of which anything is known, the newest first. */
export async function newestHours(
  client: Queryable,
  tenant: string,
  limit: number,
): Promise<readonly number[]> {
  const { rows } = await client.query<{ hour: Date }>(
    'select distinct hour from conservation where tenant = $1 order by hour desc limit $2',
    [tenant, limit],
  )
  return rows.map((row) => row.hour.getTime())
}

/** One connection, flow and UTC day. */
export interface Balance {
  /** `YYYY-MM-DD` */
  readonly day: string
  readonly connectionId: string
  /** Name of the connection, its id where it has none any more. */
  readonly connection: string
  /** `null` counts the events. */
  readonly flow: string | null
  /** What the ledger says there is. */
  readonly expected: number
  /** What there is. */
  readonly counted: number
  readonly states: Readonly<Record<string, number>>
  readonly balanced: boolean
  /** Ids of some that are missing. */
  readonly missing: readonly string[]
  /** When the newest of its hours was looked at, in milliseconds. */
  readonly checkedAt: number
}

interface BalanceRow {
  readonly day: string
  readonly connection_id: string
  readonly name: string | null
  readonly flow: string
  readonly expected: string
  readonly counted: string
  readonly broken: boolean
  readonly states: readonly string[]
  readonly missing: readonly string[]
  readonly checked_at: Date
}

const COLUMNS = `to_char(k.hour at time zone 'UTC', 'YYYY-MM-DD') as day, k.connection_id, c.name, k.flow,
    sum(k.expected)::text as expected, sum(k.counted)::text as counted, bool_or(k.broken) as broken, array_agg(k.states) as states,
    array_agg(k.missing) filter (where k.broken) as missing, max(k.checked_at) as checked_at`
const NAMED = `left join connections c on c.tenant = k.tenant and c.id = k.connection_id`

/** The balances of the days from `from` to before `to`, in milliseconds, by day, connection and flow. */
export async function listBalances(
  client: Queryable,
  tenant: string,
  { from, to }: { readonly from: number; readonly to: number },
): Promise<readonly Balance[]> {
  const { rows } = await client.query<BalanceRow>(
    `select ${COLUMNS} from conservation k ${NAMED}
     where k.tenant = $1 and k.checked_at is not null and k.hour >= $2 and k.hour < $3 group by 1, 2, 3, 4 order by 1 desc, 3, 2, 4`,
    [tenant, new Date(from), new Date(to)],
  )
  return rows.map(asBalance)
}

/** Those that do not balance, the oldest first. Read by an index that has nothing else in it. */
export async function brokenBalances(
  client: Queryable,
  tenant: string,
  limit: number,
): Promise<readonly Balance[]> {
  const { rows } = await client.query<BalanceRow>(
    `select ${COLUMNS} from (
       select distinct connection_id, flow, date_trunc('day', hour, 'UTC') as day from conservation where tenant = $1 and broken order by 3, 1, 2 limit $2) b
     join conservation k on k.tenant = $1 and k.connection_id = b.connection_id and k.flow = b.flow and k.hour >= b.day and k.hour < b.day + interval '24 hours'
       and k.checked_at is not null ${NAMED} group by 1, 2, 3, 4 order by 1, 2, 4`,
    [tenant, limit],
  )
  return rows.map(asBalance)
}

function asBalance(row: BalanceRow): Balance {
  const states: Record<string, number> = {}
  for (const text of row.states)
    for (const [state, count] of Object.entries(JSON.parse(text) as Record<string, number>))
      states[state] = (states[state] ?? 0) + count
  return {
    day: row.day,
    connectionId: row.connection_id,
    connection: row.name ?? row.connection_id,
    flow: row.flow === '' ? null : row.flow,
    expected: Number(row.expected),
    counted: Number(row.counted),
    states,
    balanced: !row.broken,
    missing: (row.missing ?? []).flatMap((text) => JSON.parse(text) as string[]).slice(0, 20),
    checkedAt: row.checked_at.getTime(),
  }
}
