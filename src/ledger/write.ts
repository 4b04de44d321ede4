import { newId } from '../base/index.ts'
import type { Queryable } from '../db/index.ts'
import { encodeEntry, utcDay, type LedgerEntry } from './entry.ts'
import { merkleRoot } from './merkle.ts'

/**
 * All entries of a batch carry the day of its latest entry, so that a batch is never spread over two partitions and
 * retention takes it whole. The entries' bytes travel as one value and are cut apart by PostgreSQL: an array of
 * bytea would be sent as hexadecimal text.
 */
const INSERT = `
with batch as (
  insert into ledger_batches (id, at, entries, root) values ($1, to_timestamp($2::float8 / 1000), $3, $4)
)
insert into ledger (tenant, day, id, batch_id, position, at, actor, action, target, outcome, run_id, connection_id, entry)
select tenant, $5::date, id, $1, position - 1, to_timestamp(at / 1000), actor, action, target, outcome, run_id, connection_id,
       substring($17::bytea from start for length)
from unnest($6::text[], $7::text[], $8::float8[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[],
            $14::text[], $15::integer[], $16::integer[])
     with ordinality as e (tenant, id, at, actor, action, target, outcome, run_id, connection_id, start, length, position)`

/**
 * Writes entries and the Merkle root over them, in one statement. Call it within the transaction of the change that
 * the entries speak of, so that neither exists without the other (invariant 1). Nothing in an entry can make it
 * fail; what cannot be stored as it is, is replaced as {@link encodeEntry} says.
 */
export async function writeEntries(client: Queryable, entries: readonly LedgerEntry[]): Promise<void> {
  if (entries.length === 0) return
  await client.query(INSERT, batchValues(entries))
}

/** The parameters of the statement. Exported for the benchmark, which measures this side alone. */
export function batchValues(entries: readonly LedgerEntry[]): unknown[] {
  const encoded = entries.map(encodeEntry)
  const leaves = encoded.map((entry) => Buffer.from(entry.json, 'utf8'))
  const latest = encoded.reduce((at, entry) => Math.max(at, entry.at), 0)
  let next = 1
  const starts = leaves.map((leaf) => (next += leaf.length) - leaf.length)
  return [
    newId('bat'),
    latest,
    entries.length,
    merkleRoot(leaves),
    utcDay(latest),
    encoded.map((entry) => entry.tenant),
    encoded.map((entry) => entry.id),
    encoded.map((entry) => entry.at),
    encoded.map((entry) => entry.actor),
    encoded.map((entry) => entry.action),
    encoded.map((entry) => entry.target),
    encoded.map((entry) => entry.outcome),
    encoded.map((entry) => entry.runId),
    encoded.map((entry) => entry.connectionId),
    starts,
    leaves.map((leaf) => leaf.length),
    Buffer.concat(leaves),
  ]
}
