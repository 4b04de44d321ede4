import { DAY } from '../base/index.ts'
import {
  batchLeaf,
  blockHash,
  readCheckpoint,
  headerBytes,
  NO_BLOCK,
  type Batch,
  type Block,
  type Checkpoint,
} from './block.ts'
import { decodeEntry, utcDay, type WrittenEntry } from './entry.ts'
import { isSignedBy, keyIdOf, publicKeyObject } from './key.ts'
import { MerkleTree } from './merkle.ts'
import { KEEP_DAYS } from './partitions.ts'
import { ReportBuilder, type VerifyReport } from './report.ts'

/** An entry's row: the bytes that were hashed, and the copies beside them. */
export interface EntryRow {
  readonly tenant: string
  /** `YYYY-MM-DD` */
  readonly day: string
  readonly id: string
  readonly batchId: string
  readonly position: number
  readonly at: number
  readonly actor: string
  readonly action: string
  readonly target: string
  readonly outcome: string
  readonly runId: string | null
  readonly connectionId: string | null
  readonly entry: Buffer
}

export interface BatchRow extends Batch {
  /** The block that it is sealed in; null while in the unsealed tail. */
  readonly block: number | null
}

/**
 * A copy of the ledger to read from: the database, or files exported from it. Each function is called once. Ids are
 * ordered by their bytes, which is not what every collation of PostgreSQL does.
 */
export interface LedgerSource {
  /** By day, then batch id, then position. */
  readonly entries: () => AsyncIterable<EntryRow>
  /** By the UTC day of their time, then id. */
  readonly batches: () => AsyncIterable<BatchRow>
  /** Those that are in a block: by block, then id. */
  readonly sealedBatches: () => AsyncIterable<BatchRow>
  /** By number. */
  readonly blocks: () => AsyncIterable<Block>
}

export interface VerifyOptions {
  readonly source: LedgerSource
  /** Those that were kept outside the database, in any order. Without any, the loss of the newest blocks cannot be noticed. */
  readonly checkpoints: Iterable<Checkpoint>
  /** Raw Ed25519 public keys that are trusted, from outside the database. */
  readonly publicKeys: readonly Uint8Array[]
  /** Days of entries that must be there whatever the ledger says. Default 30. */
  readonly keepDays?: number
}

/**
 * Checks a whole ledger against its blocks' signatures and against checkpoints kept elsewhere, without trusting the
 * database. Memory is bounded, whatever the ledger's size, but for about 200 bytes for each block that has a checkpoint.
 *
 * - Each entry is hashed into its batch's root, each batch into its block's root, each block into the next, and each
 *   block is signed: a changed, inserted, removed or moved entry is found, wherever it lies in a block. So is a changed
 *   column beside the entry.
 * - A checkpoint's block must still be there unchanged: a truncated or rolled back ledger is found.
 * - The tail that is in no block yet (normally under 30 s) proves nothing, and is reported as such. So are the blocks
 *   after the newest checkpoint, whose removal together would go unnoticed.
 * - Entries that are missing are a gap, not a problem, only if (1) an entry `ledger.expired` states that everything
 *   before a day was dropped; (2) that entry lies in a signed block whose checks all hold; (3) what is missing dates
 *   from at least `keepDays` (the verifier's own option) before that block was sealed, by times that are signed; and
 *   (4) whole batches are missing, or all batches of blocks up to the one that the entry names. So whoever can write
 *   to the database but not sign can at most remove what retention would have removed.
 */
export async function verifyLedger(options: VerifyOptions): Promise<VerifyReport> {
  const report = new ReportBuilder()
  const keys = new Map(options.publicKeys.map((key) => [keyIdOf(key), publicKeyObject(key)]))
  const checkpoints = collectCheckpoints(options.checkpoints, report)
  const isSigned = (block: Block): boolean => {
    const key = keys.get(block.keyId)
    return key !== undefined && isSignedBy(key, headerBytes(block), block.signature)
  }

  const statements = await verifyBatches(options.source, report)
  await verifyBlocks({ source: options.source, report, checkpoints, statements, isSigned })
  verifyCheckpoints(checkpoints, isSigned, report)
  judgeGaps(statements, options.keepDays ?? KEEP_DAYS, report)
  return report.done()
}

/** What an entry `ledger.expired` says, and what its block turned out to be. */
interface Statement {
  readonly block: number | null
  readonly keptSince: string
  readonly prunedThrough: number
  /** When the block that holds it was sealed; undefined until that block has passed every check. */
  sealedAt?: number
}

/** First pass: entries against their batches, both in the order of batch ids. */
async function verifyBatches(source: LedgerSource, report: ReportBuilder): Promise<Statement[]> {
  const statements: Statement[] = []
  const entries = new Peekable(source.entries())
  let last = ''
  for await (const batch of source.batches()) {
    const place = `${utcDay(batch.at)} ${batch.id}`
    if (place <= last)
      report.problem(
        'batch_inserted',
        batch.id,
        'The batch comes twice or out of order. Batches are read by the UTC day of their time, then by id in byte order.',
      )
    last = place
    await skipOrphans(entries, place, report)
    const found = await readBatch(entries, batch, report)
    if (found.intact) statements.push(...found.statements)
  }
  await skipOrphans(entries, undefined, report)
  return statements
}

/** Entries of a batch that does not exist, or that do not lie in their batch's day. */
async function skipOrphans(
  entries: Peekable<EntryRow>,
  before: string | undefined,
  report: ReportBuilder,
): Promise<void> {
  for (let row = await entries.peek(); row; row = await entries.peek()) {
    if (before !== undefined && placeOf(row) >= before) return
    await entries.next()
    report.problem(
      'entry_inserted',
      row.id,
      `The entry belongs to batch ${row.batchId} of ${row.day}, which does not exist.`,
    )
  }
}

function placeOf(row: EntryRow): string {
  return `${row.day} ${row.batchId}`
}

async function readBatch(
  entries: Peekable<EntryRow>,
  batch: BatchRow,
  report: ReportBuilder,
): Promise<{ intact: boolean; statements: readonly Statement[] }> {
  const tree = new MerkleTree()
  const statements: Statement[] = []
  const day = utcDay(batch.at)
  const place = `${day} ${batch.id}`
  let inOrder = true
  let agree = true
  for (let row = await entries.peek(); row && placeOf(row) === place; row = await entries.peek()) {
    await entries.next()
    if (row.position !== tree.size) inOrder = false
    tree.add(row.entry)
    const entry = readEntry(row)
    const differs = entry ? differingColumn(row, entry) : 'entry'
    if (differs) {
      agree = false
      report.problem(
        'column_changed',
        row.id,
        `The column ${differs} does not agree with the entry that was hashed.`,
      )
    }
    if (entry?.action === 'ledger.expired') statements.push(statementOf(entry, batch))
  }
  if (tree.size === 0 && batch.entries > 0) {
    report.missing(batch, day)
    return { intact: false, statements: [] }
  }
  report.batch(batch, tree.size)
  const intact = tree.size === batch.entries && inOrder && tree.root().equals(batch.root)
  if (!intact)
    report.problem(
      'batch_changed',
      batch.id,
      `Its ${tree.size} entries do not make its Merkle root over ${batch.entries}: entries were changed, added, removed or moved.`,
    )
  return { intact: intact && agree, statements }
}

function readEntry(row: EntryRow): WrittenEntry | undefined {
  try {
    return decodeEntry(row.entry)
  } catch {
    return undefined
  }
}

/** The first column that says something else than the entry; undefined if all agree. */
function differingColumn(row: EntryRow, entry: WrittenEntry): string | undefined {
  if (row.id !== entry.id) return 'id'
  if (row.tenant !== entry.tenant) return 'tenant'
  if (row.at !== entry.at) return 'at'
  if (row.actor !== entry.actor) return 'actor'
  if (row.action !== entry.action) return 'action'
  if (row.target !== entry.target) return 'target'
  if (row.outcome !== entry.outcome) return 'outcome'
  if (row.runId !== (entry.runId ?? null)) return 'run_id'
  if (row.connectionId !== (entry.connectionId ?? null)) return 'connection_id'
  return undefined
}

function statementOf(entry: WrittenEntry, batch: BatchRow): Statement {
  const detail = (entry.detail ?? {}) as { keptSince?: unknown; prunedThrough?: unknown }
  return {
    block: batch.block,
    keptSince: typeof detail.keptSince === 'string' ? detail.keptSince : '',
    prunedThrough: typeof detail.prunedThrough === 'number' ? detail.prunedThrough : 0,
  }
}

interface BlockPass {
  readonly source: LedgerSource
  readonly report: ReportBuilder
  readonly checkpoints: Checkpoints
  readonly statements: readonly Statement[]
  readonly isSigned: (block: Block) => boolean
}

/** Second pass: batches against their blocks, and the blocks against each other, the key and the checkpoints. */
async function verifyBlocks(pass: BlockPass): Promise<void> {
  const { source, report, checkpoints } = pass
  const batches = new Peekable(source.sealedBatches())
  let number = 0
  let previous: Buffer = NO_BLOCK
  for await (const block of source.blocks()) {
    await skipStrayBatches(batches, block.number, report)
    if (block.number !== number + 1)
      report.problem(
        'block_missing',
        String(number + 1),
        `Block ${number + 1} is followed by block ${block.number}.`,
      )
    else if (!block.previous.equals(previous))
      report.problem('chain_broken', String(block.number), 'It does not name the block before it.')
    number = block.number
    previous = blockHash(block)
    const signed = pass.isSigned(block)
    if (!signed)
      report.problem(
        'signature_invalid',
        String(number),
        'It is not signed by a trusted key: it was changed or forged.',
      )
    const intact = await readBlockBatches(batches, block, report)
    if (signed && intact)
      for (const statement of pass.statements) if (statement.block === number) statement.sealedAt = block.at
    checkpoints.meet(block, previous, report)
    report.block(block, number > checkpoints.newest)
  }
  await skipStrayBatches(batches, undefined, report)
}

/** Batches that name a block which is not there. */
async function skipStrayBatches(
  batches: Peekable<BatchRow>,
  before: number | undefined,
  report: ReportBuilder,
): Promise<void> {
  for (let row = await batches.peek(); row; row = await batches.peek()) {
    if (before !== undefined && row.block! >= before) return
    await batches.next()
    report.problem('batch_inserted', row.id, `The batch names block ${row.block}, which does not exist.`)
  }
}

async function readBlockBatches(
  batches: Peekable<BatchRow>,
  block: Block,
  report: ReportBuilder,
): Promise<boolean> {
  const tree = new MerkleTree()
  let entries = 0
  for (let row = await batches.peek(); row?.block === block.number; row = await batches.peek()) {
    await batches.next()
    tree.add(batchLeaf(row))
    entries += row.entries
  }
  if (tree.size === 0 && block.batches > 0) {
    report.pruned(block)
    return false
  }
  if (tree.size === block.batches && entries === block.entries && tree.root().equals(block.root)) return true
  report.problem(
    'block_changed',
    String(block.number),
    `Its ${tree.size} batches do not make its Merkle root over ${block.batches}: batches were changed, added, removed or moved.`,
  )
  return false
}

/** Checkpoints by block number; two that differ for one number contradict each other. */
class Checkpoints {
  readonly #waiting = new Map<number, Block[]>()
  newest = 0
  given = 0

  add(block: Block): void {
    this.given++
    if (block.number > this.newest) this.newest = block.number
    const known = this.#waiting.get(block.number) ?? []
    if (known.some((other) => isSameBlock(other, block))) return
    this.#waiting.set(block.number, [...known, block])
  }

  /** Compares the checkpoints of this number with the block that the ledger has. */
  meet(block: Block, hash: Buffer, report: ReportBuilder): void {
    for (const checkpoint of this.#waiting.get(block.number) ?? []) {
      if (blockHash(checkpoint).equals(hash)) report.matched()
      else
        report.problem(
          'checkpoint_differs',
          String(block.number),
          `A checkpoint kept outside says that block ${block.number} was another one: the database was rolled back to an older copy, or rewritten.`,
        )
    }
  }

  *[Symbol.iterator](): Iterator<Block> {
    for (const blocks of this.#waiting.values()) yield* blocks
  }
}

function isSameBlock(one: Block, other: Block): boolean {
  return one.signature.equals(other.signature) && blockHash(one).equals(blockHash(other))
}

function collectCheckpoints(given: Iterable<Checkpoint>, report: ReportBuilder): Checkpoints {
  const checkpoints = new Checkpoints()
  for (const checkpoint of given) {
    const block = readCheckpoint(checkpoint)
    if (block) checkpoints.add(block)
    else
      report.problem(
        'checkpoint_forged',
        '?',
        `Not a checkpoint: ${JSON.stringify(checkpoint)?.slice(0, 100)}`,
      )
  }
  return checkpoints
}

/** The checkpoints themselves must be signed; and those beyond the ledger's end say that it was cut. */
function verifyCheckpoints(
  checkpoints: Checkpoints,
  isSigned: (block: Block) => boolean,
  report: ReportBuilder,
): void {
  report.checkpointsGiven(checkpoints.given, checkpoints.newest)
  let beyond = 0
  for (const checkpoint of checkpoints) {
    if (!isSigned(checkpoint))
      report.problem(
        'checkpoint_forged',
        String(checkpoint.number),
        'The checkpoint is not signed by a trusted key: the checkpoints were changed, or the key is not the right one.',
      )
    else if (checkpoint.number > report.lastBlock) beyond++
  }
  if (beyond > 0)
    report.problem(
      'truncated',
      String(checkpoints.newest),
      `Checkpoints kept outside show blocks up to ${checkpoints.newest}, but the ledger ends with block ${report.lastBlock}: its end was cut off, or it was rolled back to an older copy.`,
    )
}

/** Missing entries and pruned blocks are retention's where a sealed statement covers them; else they are a problem. */
function judgeGaps(statements: readonly Statement[], keepDays: number, report: ReportBuilder): void {
  let keptSince = ''
  let prunedThrough = 0
  for (const statement of statements) {
    if (statement.sealedAt === undefined) continue
    const mayGo = utcDay(statement.sealedAt - keepDays * DAY)
    const gone = statement.keptSince < mayGo ? statement.keptSince : mayGo
    if (gone > keptSince) keptSince = gone
    if (statement.prunedThrough > prunedThrough) prunedThrough = statement.prunedThrough
  }
  report.judgeGaps({ keptSince, prunedThrough })
}

/** An iterator that can be looked into one ahead. */
class Peekable<Row> {
  readonly #rows: AsyncIterator<Row>
  #ahead: Row | undefined
  #done = false

  constructor(rows: AsyncIterable<Row>) {
    this.#rows = rows[Symbol.asyncIterator]()
  }

  async peek(): Promise<Row | undefined> {
    if (this.#ahead === undefined && !this.#done) {
      const result = await this.#rows.next()
      if (result.done) this.#done = true
      else this.#ahead = result.value
    }
    return this.#ahead
  }

  async next(): Promise<Row | undefined> {
    const row = await this.peek()
    this.#ahead = undefined
    return row
  }
}
