import { HOUR } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import { EVENT_MOVES, RUN_MOVES } from '../define/index.ts'

/** What there is of one connection and flow in one hour, against what the ledger says there is. */
export interface HourCount {
  readonly connectionId: string
  /** `''` counts the events. */
  readonly flow: string
  readonly expected: number
  readonly counted: number
  /** How many are in each state. */
  readonly states: Readonly<Record<string, number>>
}

/** Whether it balances: as many as the ledger says, and each in a state that there is. */
export function balances({ flow, expected, counted, states }: Omit<HourCount, 'connectionId'>): boolean {
  const known = flow === '' ? EVENT_MOVES : RUN_MOVES
  const inStates = Object.entries(states).reduce(
    (sum, [state, count]) => sum + (Object.hasOwn(known, state) ? count : 0),
    0,
  )
  return counted === expected && counted === inStates
}

export interface CountRow {
  readonly connectionId: string
  readonly flow: string
  readonly state: string
  readonly count: number
}

export interface DeclaredRow {
  readonly connectionId: string
  readonly flow: string
  readonly declared: number
}

/** Puts what was declared beside what there is: everything that either side knows. */
export function compare(
  declared: readonly DeclaredRow[],
  counted: readonly CountRow[],
): readonly HourCount[] {
  const rows = new Map<string, { -readonly [Key in keyof HourCount]: HourCount[Key] }>()
  const rowOf = (connectionId: string, flow: string) => {
    const key = `${connectionId}\0${flow}`
    const row = rows.get(key) ?? { connectionId, flow, expected: 0, counted: 0, states: {} }
    rows.set(key, row)
    return row
  }
  for (const one of declared) rowOf(one.connectionId, one.flow).expected += one.declared
  for (const { connectionId, flow, state, count } of counted) {
    const row = rowOf(connectionId, flow)
    row.counted += count
    row.states = { ...row.states, [state]: (row.states[state] ?? 0) + count }
  }
  return [...rows.values()]
}

/** Stands for the connection of a run whose event is not there. */
export const NO_EVENT = '?'

/** The transactions whose rows are counted: those that the ledger was read of. */
export interface Between {
  readonly from: string
  readonly to: string
}

/**
 * Counts the rows of one hour, by the indexes on ids, which begin with the time. Only rows of transactions of which the
 * ledger was read are counted, so that both sides know the same transactions, also while more come in.
 */
export async function countHour(
  client: Queryable,
  tenant: string,
  ids: { readonly event: readonly [string, string]; readonly run: readonly [string, string] },
  { from, to }: Between,
): Promise<readonly CountRow[]> {
  const { rows } = await client.query<{ connection_id: string; flow: string; state: string; count: string }>(
    `select connection_id, '' as flow, state, count(*)::text as count from events
     where tenant = $1 and id >= $2 and id < $3 and visible_xid >= $6::xid8 and visible_xid < $7::xid8 group by 1, 2, 3
     union all
     select coalesce(e.connection_id, '${NO_EVENT}'), r.flow, r.state, count(*)::text from runs r left join events e on e.tenant = r.tenant and e.id = r.event_id
     where r.tenant = $1 and r.id >= $4 and r.id < $5 and r.visible_xid >= $6::xid8 and r.visible_xid < $7::xid8 group by 1, 2, 3`,
    [tenant, ...ids.event, ...ids.run, from, to],
  )
  return rows.map((row) => ({
    connectionId: row.connection_id,
    flow: row.flow,
    state: row.state,
    count: Number(row.count),
  }))
}

/** The UTC day of an hour, `YYYY-MM-DD`. */
export function dayOf(hour: number): string {
  return new Date(Math.floor(hour / HOUR) * HOUR).toISOString().slice(0, 10)
}
