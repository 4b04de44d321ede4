import { createHash } from 'node:crypto'
import type { Queryable } from '../db/index.ts'

/** What the provider's id of an event is kept as in the table of keys. */
export function idKeyHash(id: string): Buffer {
  return createHash('sha256').update(`id\0${id}`).digest()
}

/** Those of the ids whose events came over the connection already. */
export async function knownEvents(
  client: Queryable,
  connection: { readonly tenant: string; readonly id: string },
  ids: readonly string[],
): Promise<ReadonlySet<string>> {
  if (ids.length === 0) return new Set()
  const byHash = new Map(ids.map((id) => [idKeyHash(id).toString('hex'), id]))
  const { rows } = await client.query<{ hash: string }>({
    name: 'known_events',
    text: `select encode(key_hash, 'hex') as hash from event_keys
      where tenant = $1 and connection_id = $2 and key_hash = any($3::bytea[])`,
    values: [connection.tenant, connection.id, [...byHash.keys()].map((hash) => Buffer.from(hash, 'hex'))],
  })
  return new Set(rows.map((row) => byHash.get(row.hash)!))
}
