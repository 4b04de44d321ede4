import { seededRandom, type Random } from '../../base/index.ts'

/**
 * Randomness that depends on the seed and on the simulated moment, and not on who asks first: what several runs
 * decide in the same moment does not depend on the order in which this machine gets to them.
 */
export function randomOfMoment(seed: string, now: () => number): Random {
  return {
    next: () => seededRandom(`${seed} ${now()}`).next(),
    bytes: (length) => seededRandom(`${seed} bytes ${now()}`).bytes(length),
  }
}
