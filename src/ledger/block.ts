import { hash } from 'node:crypto'
import { canonicalJson } from './canonical.ts'

/** A group-commit batch of entries, as its row says. */
export interface Batch {
  readonly id: string
  /** Time of its latest entry, in milliseconds since 1970. */
  readonly at: number
  readonly entries: number
  /** Merkle root over its entries in the order of their position. */
  readonly root: Buffer
}

/** What a block's signature is made over. */
export interface BlockHeader {
  /** From 1, without gaps. */
  readonly number: number
  /** When it was sealed, in milliseconds since 1970. */
  readonly at: number
  readonly batches: number
  readonly entries: number
  /** Merkle root over its batches ({@link batchLeaf}) in the order of their ids. */
  readonly root: Buffer
  /** {@link blockHash} of the block before; 32 zero bytes for the first. */
  readonly previous: Buffer
  readonly keyId: string
}

export interface Block extends BlockHeader {
  /** Ed25519 (RFC 8032) over {@link headerBytes}. */
  readonly signature: Buffer
}

/**
 * A block as it leaves the database, as one line of JSON: binary values in hexadecimal. It says everything that the
 * signature covers, so it proves by itself, with the public key, that the ledger once had this block; and the block
 * fixes every block and entry before it.
 */
export interface Checkpoint {
  readonly number: number
  readonly at: number
  readonly batches: number
  readonly entries: number
  readonly root: string
  readonly previous: string
  readonly keyId: string
  readonly signature: string
  /** The raw public key. For convenience: trust the copy that you kept, not this one. */
  readonly publicKey: string
}

export const NO_BLOCK = Buffer.alloc(32)

/** What a batch is in its block's Merkle tree: its id, count and time are fixed together with its root. */
export function batchLeaf(batch: Batch): Buffer {
  const { id, at, entries, root } = batch
  return Buffer.from(canonicalJson({ at, entries, id, root: root.toString('hex') }))
}

export function headerBytes(header: BlockHeader): Buffer {
  const { number, at, batches, entries, root, previous, keyId } = header
  return Buffer.from(
    canonicalJson({
      at,
      batches,
      entries,
      keyId,
      number,
      previous: previous.toString('hex'),
      root: root.toString('hex'),
      v: 1,
    }),
  )
}

export function blockHash(header: BlockHeader): Buffer {
  return hash('sha256', headerBytes(header), 'buffer')
}

export function makeCheckpoint(block: Block, publicKey: Buffer): Checkpoint {
  const { number, at, batches, entries, keyId } = block
  return {
    number,
    at,
    batches,
    entries,
    root: block.root.toString('hex'),
    previous: block.previous.toString('hex'),
    keyId,
    signature: block.signature.toString('hex'),
    publicKey: publicKey.toString('hex'),
  }
}

const HEX_FIELDS = ['root', 'previous', 'signature'] as const
const NUMBER_FIELDS = ['number', 'at', 'batches', 'entries'] as const

/** The block that a checkpoint shows; `undefined` where it is none, since checkpoints come from a file. */
export function readCheckpoint(checkpoint: Checkpoint): Block | undefined {
  if (typeof checkpoint !== 'object' || checkpoint === null || typeof checkpoint.keyId !== 'string')
    return undefined
  if (!NUMBER_FIELDS.every((field) => Number.isSafeInteger(checkpoint[field]))) return undefined
  if (!HEX_FIELDS.every((field) => isHex(checkpoint[field]))) return undefined
  const { number, at, batches, entries, keyId } = checkpoint
  return {
    number,
    at,
    batches,
    entries,
    root: Buffer.from(checkpoint.root, 'hex'),
    previous: Buffer.from(checkpoint.previous, 'hex'),
    keyId,
    signature: Buffer.from(checkpoint.signature, 'hex'),
  }
}

function isHex(value: unknown): boolean {
  return typeof value === 'string' && /^([0-9a-f]{2})+$/.test(value)
}
