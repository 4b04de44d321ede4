import type pg from 'pg'
import { PermanentError, SECOND, type Clock } from '../base/index.ts'
import { transaction, type Queryable } from '../db/index.ts'
import {
  batchLeaf,
  blockHash,
  readCheckpoint,
  headerBytes,
  NO_BLOCK,
  makeCheckpoint,
  type Batch,
  type Block,
  type Checkpoint,
} from './block.ts'
import type { LedgerKey } from './key.ts'
import { MerkleTree } from './merkle.ts'

/** Batches in one block at most. What is beyond goes into the next block at once. */
const BATCHES_PER_BLOCK = 10_000
/** Taken by the node that seals. */
const SEAL_LOCK = 7_234_002

export interface SealerOptions {
  readonly pool: pg.Pool
  readonly key: LedgerKey
  readonly clock: Clock
  /** Takes a checkpoint out of the database: appends it to a file, to a log that leaves the machine. */
  readonly publish: (checkpoint: Checkpoint) => Promise<void> | void
  /** The newest checkpoint that was ever published, such as the last line of the file: a rollback while the platform was down is then noticed at start. */
  readonly known?: Checkpoint
  /** A turn failed and will be tried again; or the ledger was seen to have been rolled back. */
  readonly onError: (error: unknown) => void
  /** Between two turns. Default 25 s, so that a block is never later than 30 s. */
  readonly everyMs?: number
  /** After which the newest block is published again although nothing is new. Default 50 s: a silence over 60 s means that no sealer runs. */
  readonly publishEveryMs?: number
}

/**
 * Seals batches into signed blocks, and publishes the newest block as a checkpoint. Every node may run one: in each
 * turn one of them seals, and all publish what they see.
 */
export class LedgerSealer {
  readonly #options: SealerOptions
  #turn: Promise<void> = Promise.resolve()
  #cancel: (() => void) | undefined
  #stopped = false
  #published: { readonly block: Block; readonly at: number } | undefined

  constructor(options: SealerOptions) {
    this.#options = options
    const known = options.known && readCheckpoint(options.known)
    if (known) this.#published = { block: known, at: -Infinity }
  }

  start(): void {
    if (this.#stopped || this.#cancel) return
    this.#cancel = this.#options.clock.after(0, () => this.#wake())
  }

  /** Seals and publishes what there is, and ends. A second call waits for the first. */
  async stop(): Promise<void> {
    if (!this.#stopped) {
      this.#stopped = true
      this.#cancel?.()
      void this.sealNow()
    }
    await this.#turn
  }

  /** One turn now. Never rejects; faults go to `onError`. */
  sealNow(): Promise<void> {
    this.#turn = this.#turn.then(() =>
      this.#takeTurn().catch((error: unknown) => this.#options.onError(error)),
    )
    return this.#turn
  }

  #wake(): void {
    void this.sealNow().then(() => {
      if (!this.#stopped)
        this.#cancel = this.#options.clock.after(this.#options.everyMs ?? 25 * SECOND, () => this.#wake())
    })
  }

  async #takeTurn(): Promise<void> {
    const { pool, key, clock } = this.#options
    await this.#compareWithSeen()
    await sealBatches({ pool, key, clock })
    await this.#publishHead()
  }

  /** What was published once must still be there: a running platform notices a rollback by itself. */
  async #compareWithSeen(): Promise<void> {
    const seen = this.#published?.block
    if (!seen) return
    const now = await readBlock(this.#options.pool, seen.number)
    if (now && blockHash(now).equals(blockHash(seen))) return
    this.#published = undefined
    this.#options.onError(
      new PermanentError(
        'ledger_rolled_back',
        `Block ${seen.number} of the ledger, published before, ${now ? 'is another one now' : 'is gone'}. The database was restored from an older copy or tampered with. Run: trestle audit verify`,
      ),
    )
  }

  async #publishHead(): Promise<void> {
    const { pool, key, clock, publish, publishEveryMs = 50 * SECOND } = this.#options
    const head = await readHead(pool)
    if (!head) return
    const now = clock.now()
    const last = this.#published
    if (last && last.block.number === head.number && now - last.at < publishEveryMs) return
    await publish(makeCheckpoint(head, key.publicKey))
    this.#published = { block: head, at: now }
  }
}

/**
 * Seals every committed batch that is in no block yet. Returns the blocks made; none if another node is sealing.
 *
 * Whether a batch is sealed stands in its own row, not in a position that sealing has reached: a batch whose
 * transaction commits late, with an old id, is simply found in the next turn, and no open transaction holds up
 * the others.
 */
export async function sealBatches(options: {
  readonly pool: pg.Pool
  readonly key: LedgerKey
  readonly clock: Pick<Clock, 'now'>
}): Promise<readonly Block[]> {
  const blocks: Block[] = []
  for (;;) {
    const block = await transaction(options.pool, async (client) => {
      if (!(await lockSealing(client))) return undefined
      const batches = await unsealedBatches(client)
      if (batches.length === 0) return undefined
      const made = makeBlock(await readHead(client), batches, options.key, options.clock.now())
      await insertBlock(client, made, batches)
      return made
    })
    if (!block) return blocks
    blocks.push(block)
    if (block.batches < BATCHES_PER_BLOCK) return blocks
  }
}

/** The next block over these batches, which are in the order of their ids. */
export function makeBlock(
  head: Block | undefined,
  batches: readonly Batch[],
  key: LedgerKey,
  now: number,
): Block {
  const tree = new MerkleTree()
  let entries = 0
  for (const batch of batches) {
    tree.add(batchLeaf(batch))
    entries += batch.entries
  }
  const header = {
    number: (head?.number ?? 0) + 1,
    at: Math.max(now, head?.at ?? 0),
    batches: batches.length,
    entries,
    root: tree.root(),
    previous: head ? blockHash(head) : NO_BLOCK,
    keyId: key.id,
  }
  return { ...header, signature: key.sign(headerBytes(header)) }
}

async function lockSealing(client: Queryable): Promise<boolean> {
  const { rows } = await client.query<{ locked: boolean }>(
    `select pg_try_advisory_xact_lock(${SEAL_LOCK}) as locked`,
  )
  return rows[0]!.locked
}

async function unsealedBatches(client: Queryable): Promise<Batch[]> {
  const { rows } = await client.query<{ id: string; at: Date; entries: number; root: Buffer }>(
    `select id, at, entries, root from ledger_batches where block is null order by id collate "C" limit ${BATCHES_PER_BLOCK}`,
  )
  return rows.map((row) => ({ ...row, at: row.at.getTime() }))
}

async function insertBlock(client: Queryable, block: Block, batches: readonly Batch[]): Promise<void> {
  await client.query(
    `insert into ledger_blocks (number, at, batches, entries, root, previous, key_id, signature)
     values ($1, to_timestamp($2::float8 / 1000), $3, $4, $5, $6, $7, $8)`,
    [
      block.number,
      block.at,
      block.batches,
      block.entries,
      block.root,
      block.previous,
      block.keyId,
      block.signature,
    ],
  )
  await client.query('update ledger_batches set block = $1 where id = any($2::text[])', [
    block.number,
    batches.map((batch) => batch.id),
  ])
}

const BLOCK_COLUMNS = 'number, at, batches, entries, root, previous, key_id, signature'

export interface BlockRow extends Record<string, unknown> {
  readonly number: string
  readonly at: Date
  readonly batches: number
  readonly entries: string
  readonly root: Buffer
  readonly previous: Buffer
  readonly key_id: string
  readonly signature: Buffer
}

export function blockOfRow(row: BlockRow): Block {
  return {
    number: Number(row.number),
    at: row.at.getTime(),
    batches: row.batches,
    entries: Number(row.entries),
    root: row.root,
    previous: row.previous,
    keyId: row.key_id,
    signature: row.signature,
  }
}

async function readHead(client: Queryable): Promise<Block | undefined> {
  const { rows } = await client.query<BlockRow>(
    `select ${BLOCK_COLUMNS} from ledger_blocks order by number desc limit 1`,
  )
  return rows[0] && blockOfRow(rows[0])
}

async function readBlock(client: Queryable, number: number): Promise<Block | undefined> {
  const { rows } = await client.query<BlockRow>(
    `select ${BLOCK_COLUMNS} from ledger_blocks where number = $1`,
    [number],
  )
  return rows[0] && blockOfRow(rows[0])
}
