import { createHash, randomBytes as nodeRandomBytes } from 'node:crypto'

/** The only place that reads randomness. */
export interface Random {
  /** A number from 0 (inclusive) to 1 (exclusive). */
  next(): number
  /** Unpredictable bytes, fit for keys and tokens. */
  bytes(length: number): Buffer
}

/** The machine's own randomness. */
export const systemRandom: Random = {
  next: () => Math.random(),
  bytes: (length) => nodeRandomBytes(length),
}

/**
 * A repeatable sequence from a seed (mulberry32 over a SHA-256 of the seed): the same seed gives the same
 * numbers on every machine. Not for secrets.
 */
export function seededRandom(seed: string): Random {
  let state = createHash('sha256').update(seed).digest().readUInt32LE(0)
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
  return { next, bytes: (length) => Buffer.from(Array.from({ length }, () => Math.floor(next() * 256))) }
}
