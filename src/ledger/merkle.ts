import { hash } from 'node:crypto'

/**
 * Merkle trees as RFC 6962, 2.1 defines them: a leaf is SHA-256(0x00 ‖ bytes), a node SHA-256(0x01 ‖ left ‖ right),
 * the tree over n leaves splits at the largest power of two below n, and the tree over nothing is SHA-256 of nothing.
 * The two prefixes keep a node from being passed off as a leaf.
 */
const NODE_BYTES = 1 + 32 + 32

export function leafHash(bytes: Uint8Array): Buffer {
  const prefixed = Buffer.allocUnsafe(bytes.length + 1)
  prefixed[0] = 0x00
  prefixed.set(bytes, 1)
  return hash('sha256', prefixed, 'buffer')
}

function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  const joined = Buffer.allocUnsafe(NODE_BYTES)
  joined[0] = 0x01
  joined.set(left, 1)
  joined.set(right, 33)
  return hash('sha256', joined, 'buffer')
}

/**
 * A tree that takes its leaves one at a time and keeps one hash for each full subtree, so that any number of leaves
 * needs memory for their logarithm only.
 */
export class MerkleTree {
  /** Roots of full subtrees, the largest first; their sizes are the binary digits of `size`. */
  readonly #subtrees: Buffer[] = []
  #size = 0

  get size(): number {
    return this.#size
  }

  /** Adds a leaf by its bytes. */
  add(bytes: Uint8Array): void {
    let node = leafHash(bytes)
    for (let rest = this.#size; rest % 2 === 1; rest = Math.floor(rest / 2))
      node = nodeHash(this.#subtrees.pop()!, node)
    this.#subtrees.push(node)
    this.#size++
  }

  /** The root over the leaves so far. More may be added afterwards. */
  root(): Buffer {
    if (this.#size === 0) return hash('sha256', '', 'buffer')
    return this.#subtrees.reduceRight((right, left) => nodeHash(left, right))
  }
}

/** The root over these leaves, in this order. */
export function merkleRoot(leaves: Iterable<Uint8Array>): Buffer {
  const tree = new MerkleTree()
  for (const leaf of leaves) tree.add(leaf)
  return tree.root()
}
