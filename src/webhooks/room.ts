import { neighbourhoodOf, whoYields, type Holding } from './yielding.ts'

export interface RoomLimits {
  /** Bytes of requests whose signature is not checked yet, over all of them. Default 64 MiB. */
  readonly maxUnverifiedBytes: number
  /** Bytes of verified deliveries until their commit is known; above it 503. Default 128 MiB. */
  readonly maxHeldBytes: number
}

/** What a request costs beyond its body, about. */
const REQUEST_BYTES = 4096
/** Freed beyond what is needed, so that a flood does not make us choose for every piece that comes. */
const SLACK = 1 / 8

/**
 * The memory that deliveries take: one room for what nobody has vouched for yet, another for what is verified. What
 * is in the first can never take from the second, so that no forgery keeps a signed delivery from being stored.
 */
export class Room {
  readonly #limits: RoomLimits
  /** Oldest first. */
  readonly #unverified = new Set<Place>()
  #unverifiedBytes = 0
  #verifiedBytes = 0

  constructor(limits: RoomLimits) {
    this.#limits = limits
  }

  /** A place for one request. `address` and `endpoint` are asked only where room is scarce. */
  enter(whose: { readonly address: () => string | undefined; readonly endpoint: string }): Place {
    const place = new Place(this, whose)
    this.#unverified.add(place)
    this.grow(place, REQUEST_BYTES)
    return place
  }

  /** @internal for {@link Place} */
  grow(place: Place, bytes: number): void {
    place.held += bytes
    this.#unverifiedBytes += bytes
    if (this.#unverifiedBytes > this.#limits.maxUnverifiedBytes) this.#makeRoom()
  }

  /** @internal for {@link Place} */
  verify(place: Place): boolean {
    if (this.#verifiedBytes + place.held > this.#limits.maxHeldBytes) return false
    this.#leaveUnverified(place)
    this.#verifiedBytes += place.held
    return true
  }

  /** @internal for {@link Place} */
  leave(place: Place): void {
    if (place.state === 'verified') this.#verifiedBytes -= place.held
    else this.#leaveUnverified(place)
  }

  #leaveUnverified(place: Place): void {
    if (this.#unverified.delete(place)) this.#unverifiedBytes -= place.held
  }

  #makeRoom(): void {
    const { maxUnverifiedBytes } = this.#limits
    const toFree = this.#unverifiedBytes - maxUnverifiedBytes * (1 - SLACK)
    for (const place of whoYields(this.#unverified, toFree)) {
      this.#leaveUnverified(place)
      place.state = 'yielded'
      place.whenYielded?.()
    }
  }
}

/** What one request holds. */
export class Place implements Holding {
  held = 0
  state: 'unverified' | 'verified' | 'yielded' | 'left' = 'unverified'
  /** Told once, where it must give way while its body comes. */
  whenYielded: (() => void) | undefined
  readonly endpoint: string
  readonly #room: Room
  readonly #addressOf: () => string | undefined

  constructor(room: Room, whose: { readonly address: () => string | undefined; readonly endpoint: string }) {
    this.#room = room
    this.#addressOf = whose.address
    this.endpoint = whose.endpoint
  }

  get address(): string {
    return neighbourhoodOf(this.#addressOf())
  }

  /** `false`: it had to give way, and holds nothing any more. */
  take(bytes: number): boolean {
    if (this.state !== 'unverified') return false
    this.#room.grow(this, bytes)
    return this.stands
  }

  /** It has not given way. */
  get stands(): boolean {
    return this.state === 'unverified'
  }

  /** Somebody vouches for it: it moves to the other room. `false` where that is full, or where it gave way before. */
  verify(): boolean {
    if (!this.stands || !this.#room.verify(this)) return false
    this.state = 'verified'
    return true
  }

  /** Once more is the same. */
  leave(): void {
    if (this.state === 'left') return
    if (this.state !== 'yielded') this.#room.leave(this)
    this.state = 'left'
  }
}
