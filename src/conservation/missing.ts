import { firstIdAt, HOUR, MINUTE } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import { entriesOfTime, type WrittenEntry } from '../ledger/index.ts'
import { BIRTHS, bornIn, hourOf } from './born.ts'

/** Most ids that are named. */
export const MISSING_NAMED = 20
/** An entry is written with what it speaks of, at the latest when a hanging database gives up. */
const LATEST_ENTRY_MS = 5 * MINUTE

/** What the ledger says came to be in an hour and is not there: its ids, at most {@link MISSING_NAMED} of them. */
export async function findMissing(
  client: Queryable,
  tenant: string,
  {
    hour,
    connectionId,
    flow,
  }: { readonly hour: number; readonly connectionId: string; readonly flow: string },
): Promise<readonly string[]> {
  const missing: string[] = []
  const look = async (entries: readonly WrittenEntry[]): Promise<boolean> => {
    const ids = bornIn(entries)
      .born.filter((one) => one.connectionId === connectionId && one.flow === flow)
      .filter((one) => hourOf(one.id) === hour)
      .map((one) => one.id)
    missing.push(...(await notThere(client, tenant, flow === '' ? 'events' : 'runs', ids)))
    return missing.length < MISSING_NAMED
  }
  const range = { from: firstIdAt('led', hour), to: firstIdAt('led', hour + HOUR + LATEST_ENTRY_MS) }
  await entriesOfTime(client, { tenant, ...range, actions: BIRTHS }, look)
  return missing.slice(0, MISSING_NAMED)
}

async function notThere(
  client: Queryable,
  tenant: string,
  table: 'events' | 'runs',
  ids: readonly string[],
): Promise<readonly string[]> {
  if (ids.length === 0) return []
  const { rows } = await client.query<{ id: string }>(
    `select id from unnest($2::text[]) as w (id) where not exists (select 1 from ${table} t where t.tenant = $1 and t.id = w.id)`,
    [tenant, ids],
  )
  return rows.map((row) => row.id)
}
