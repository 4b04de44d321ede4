import type { Queryable } from '../db/index.ts'
import { makeCheckpoint, type Checkpoint } from './block.ts'
import { blockOfRow, type BlockRow } from './sealer.ts'

const BLOCK = 'number, at, batches, entries, root, previous, key_id, signature'

/** The newest signed block of the database, as a checkpoint to hold a copy against; `undefined` before the first. */
export function newestBlock(client: Queryable): Promise<Checkpoint | undefined> {
  return readBlock(client, 'order by number desc limit 1', [])
}

/** The block with this number; `undefined` where there is none. */
export function blockAt(client: Queryable, number: number): Promise<Checkpoint | undefined> {
  return readBlock(client, 'where number = $1', [number])
}

async function readBlock(
  client: Queryable,
  which: string,
  values: unknown[],
): Promise<Checkpoint | undefined> {
  const { rows } = await client.query<BlockRow & { public_key: Buffer | null }>(
    `select ${BLOCK}, (select value from installation where name = 'ledger.public_key') as public_key from ledger_blocks ${which}`,
    values,
  )
  const row = rows[0]
  return row?.public_key ? makeCheckpoint(blockOfRow(row), row.public_key) : undefined
}
