import { createHash } from 'node:crypto'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { leafHash, merkleRoot, MerkleTree } from './merkle.ts'

/** RFC 6962, 2.1, word for word. */
function naiveRoot(leaves: readonly Uint8Array[]): Buffer {
  const sha256 = (...parts: Uint8Array[]) => {
    const hash = createHash('sha256')
    for (const part of parts) hash.update(part)
    return hash.digest()
  }
  if (leaves.length === 0) return sha256()
  if (leaves.length === 1) return sha256(Buffer.of(0), leaves[0]!)
  let k = 1
  while (k * 2 < leaves.length) k *= 2
  return sha256(Buffer.of(1), naiveRoot(leaves.slice(0, k)), naiveRoot(leaves.slice(k)))
}

/** Leaves and roots that Certificate Transparency implementations test with. */
const LEAVES = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
]
const ROOTS = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
]

describe('the Merkle tree', () => {
  it.each(ROOTS.map((root, size) => ({ root, size })))(
    'has the known root over $size leaves',
    ({ root, size }) => {
      const leaves = LEAVES.slice(0, size).map((leaf) => Buffer.from(leaf, 'hex'))
      expect(merkleRoot(leaves).toString('hex')).toBe(root)
    },
  )

  it('is the tree of RFC 6962 for any leaves', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 8 }), { maxLength: 130 }), (leaves) => {
        expect(merkleRoot(leaves).equals(naiveRoot(leaves))).toBe(true)
      }),
    )
  })

  it('gives the root of what it has so far, and goes on', () => {
    const tree = new MerkleTree()
    LEAVES.forEach((leaf, i) => {
      tree.add(Buffer.from(leaf, 'hex'))
      expect(tree.root().toString('hex')).toBe(ROOTS[i + 1])
      expect(tree.root().equals(tree.root())).toBe(true)
    })
  })

  it('changes with any change, removal, addition or swap of leaves', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.string(), { minLength: 2, maxLength: 40 }),
        fc.nat(),
        fc.nat(),
        (texts, m, n) => {
          const leaves = texts.map((text) => Buffer.from(text))
          const root = merkleRoot(leaves)
          const i = m % leaves.length
          const j = n % leaves.length
          expect(merkleRoot(leaves.toSpliced(i, 1)).equals(root)).toBe(false)
          expect(merkleRoot(leaves.with(i, Buffer.from(`${texts[i]}x`))).equals(root)).toBe(false)
          expect(merkleRoot(leaves.toSpliced(i, 0, leaves[j]!)).equals(root)).toBe(false)
          const swapped = merkleRoot(leaves.with(i, leaves[j]!).with(j, leaves[i]!))
          expect(swapped.equals(root)).toBe(i === j)
        },
      ),
    )
  })

  it('does not take a node for a leaf', () => {
    const [left, right] = [leafHash(Buffer.of(1)), leafHash(Buffer.of(2))]
    expect(merkleRoot([Buffer.of(1), Buffer.of(2)]).equals(merkleRoot([Buffer.concat([left, right])]))).toBe(
      false,
    )
  })
})
