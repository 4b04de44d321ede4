import { systemClock } from './clock.ts'
import { systemRandom } from './random.ts'

/** The prefix of an id says what it names; see the glossary. */
export type IdPrefix =
  | 'con' // connection
  | 'ep' // endpoint
  | 'dlv' // delivery
  | 'evt' // event
  | 'run'
  | 'stp' // step
  | 'att' // attempt
  | 'fnd' // finding
  | 'inc' // incident
  | 'alr' // alert
  | 'out' // outage
  | 'led' // ledger entry
  | 'bat' // ledger batch
  | 'qrn' // quarantined thing
  | 'nod' // node
  | 'tok' // API token
  | 'hld' // hold
  | 'rfr' // refresh of an OAuth grant
  | 'aut' // authorization by a person

export type Id<P extends IdPrefix> = `${P}_${string}`
export type RunId = Id<'run'>
export type EventId = Id<'evt'>
export type DeliveryId = Id<'dlv'>
export type ConnectionId = Id<'con'>

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'
const POOL_BYTES = 4096
let pool: Buffer = Buffer.alloc(0)
let poolAt = 0
let lastMs = 0
let counter = 0

/**
 * A new id: prefix, 10 characters of time (ms), 4 of a counter within the millisecond, 12 random (60 bits).
 * Ids made by one process sort in the order in which they were made, which keeps index pages warm.
 */
export function newId<P extends IdPrefix>(prefix: P): Id<P> {
  const now = systemClock.now()
  if (now > lastMs) {
    lastMs = now
    counter = 0
  } else counter++
  let time = ''
  for (let rest = lastMs, i = 0; i < 10; i++, rest = Math.floor(rest / 32)) time = ALPHABET[rest % 32] + time
  let count = ''
  for (let rest = counter, i = 0; i < 4; i++, rest = Math.floor(rest / 32))
    count = ALPHABET[rest % 32] + count
  if (poolAt + 12 > pool.length) {
    pool = systemRandom.bytes(POOL_BYTES)
    poolAt = 0
  }
  let random = ''
  for (let i = 0; i < 12; i++) random += ALPHABET[pool[poolAt++]! & 31]
  return `${prefix}_${time}${count}${random}`
}

/** Whether `text` is an id with this prefix. */
export function isId<P extends IdPrefix>(prefix: P, text: unknown): text is Id<P> {
  return typeof text === 'string' && text.startsWith(`${prefix}_`) && /^[0-9a-z_]+$/.test(text)
}

/** When an id was made, in milliseconds since 1970; by the clock of its process. */
export function timeOfId(id: string): number {
  let time = 0
  for (const character of id.slice(id.indexOf('_') + 1).slice(0, 10))
    time = time * 32 + ALPHABET.indexOf(character)
  return time
}

/** Sorts before every id with this prefix that is made at `ms` or later: for ranges of ids. */
export function firstIdAt(prefix: IdPrefix, ms: number): string {
  let time = ''
  for (let rest = Math.max(0, Math.floor(ms)), i = 0; i < 10; i++, rest = Math.floor(rest / 32))
    time = ALPHABET[rest % 32] + time
  return `${prefix}_${time}`
}
