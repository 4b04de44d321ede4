import type { Queryable } from '../../db/index.ts'

/** Names of a tenant's connections by id, for those asked for. */
export async function connectionNames(
  client: Queryable,
  tenant: string,
  ids: readonly (string | null)[],
): Promise<ReadonlyMap<string, string>> {
  const wanted = [...new Set(ids.filter((id) => id !== null))]
  if (wanted.length === 0) return new Map()
  const { rows } = await client.query<{ id: string; name: string }>(
    'select id, name from connections where tenant = $1 and id = any($2)',
    [tenant, wanted],
  )
  return new Map(rows.map((row) => [row.id, row.name]))
}

export interface EventSummary {
  readonly id: string
  readonly type: string
  readonly summary: string | null
  readonly connection_id: string
}

/** What events were, in a few words, by id. */
export async function eventSummaries(
  client: Queryable,
  tenant: string,
  ids: readonly string[],
): Promise<ReadonlyMap<string, EventSummary>> {
  if (ids.length === 0) return new Map()
  const { rows } = await client.query<EventSummary>(
    'select id, type, summary, connection_id from events where tenant = $1 and id = any($2)',
    [tenant, [...new Set(ids)]],
  )
  return new Map(rows.map((row) => [row.id, row]))
}
