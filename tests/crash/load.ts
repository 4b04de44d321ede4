import { seededRandom, type Random } from '../../src/base/index.ts'
import type { Kind } from './connector.ts'

/** One event that the provider sends. */
export interface Delivery {
  /** The event's id, which every repetition carries. */
  readonly id: string
  readonly kind: Kind
  readonly ref: string
  readonly customer: string
  /** The crash point under which it was sent. */
  readonly point: string
  /** Sent once only, whatever the answer, as some providers do. */
  readonly once: boolean
  /** Deliveries of the same event beyond the first, at the same time. */
  readonly copies: number
}

/** Deliveries that are sent one after another, each when the one before was answered. */
export type Errand = readonly Delivery[]

const SHARES: readonly (readonly [Kind, number])[] = [
  ['one', 34],
  ['two', 24],
  ['none', 12],
  ['fan', 8],
  ['nap', 6],
  ['wait', 6],
  ['lane', 10],
]
const ONCE = 0.15
const COPIED = 0.1
const LANE_LENGTH = 4

/** Errands without end, the same ones for the same seed. Refs begin with the seed, which must be a name of its own. */
export function* errands(seed: string, point: string): Generator<Errand, never> {
  const random = seededRandom(seed)
  for (let i = 1; ; i++) yield errand(kindOf(random), `${seed}-${i}`, point, random)
}

function errand(kind: Kind, name: string, point: string, random: Random): Errand {
  const delivery = (kind: Kind, ref: string): Delivery => ({
    id: `evt-${ref}`,
    kind,
    ref,
    customer: name,
    point,
    once: random.next() < ONCE,
    copies: random.next() < COPIED ? 1 : 0,
  })
  if (kind === 'lane')
    return Array.from({ length: LANE_LENGTH }, (_, i) => delivery(kind, `${name}-${i + 1}`))
  if (kind === 'wait') return [delivery('wait', name), delivery('answer', `${name}-a`)]
  return [delivery(kind, name)]
}

function kindOf(random: Random): Kind {
  let at = random.next() * SHARES.reduce((sum, [, share]) => sum + share, 0)
  for (const [kind, share] of SHARES) if ((at -= share) < 0) return kind
  return 'one'
}
