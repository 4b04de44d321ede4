import type { Clock } from '../base/index.ts'
import type { BreakerState } from '../define/index.ts'
import {
  closedBreaker,
  isolate,
  permit,
  record,
  restore,
  type Breaker,
  type BreakerPolicy,
  type BreakerResult,
} from '../resilience/index.ts'
import type { CallRequest } from './request.ts'

/** Whether a call may go out, as far as the provider's health is concerned. */
type Permission =
  /** `take` begins the call. Not taken, nothing has changed. */
  | { readonly as: 'permitted'; readonly take: () => Pass }
  | { readonly as: 'refused'; readonly until: number; readonly reason: string }

/** Ends a call that was permitted. `neutral` until a result says something about the provider's health. */
type Pass = (health: BreakerResult) => void

type ConnectionKey = { readonly tenant: string; readonly id: string }

/**
 * Breakers by connection, in this process's memory. At most `most` are kept; of the rest the longest unused is
 * forgotten, and its counts begin anew, but never one that a person isolated.
 */
export class Breakers {
  readonly #clock: Clock
  readonly #policy: BreakerPolicy
  readonly #most: number
  readonly #breakers = new Map<string, Breaker>()

  constructor(clock: Clock, policy: BreakerPolicy, most: number) {
    this.#clock = clock
    this.#policy = policy
    this.#most = most
  }

  /** Asks for leave to make one attempt. */
  ask({ connection }: CallRequest): Permission {
    const permission = permit(this.#of(connection), this.#policy, this.#clock.now())
    if (permission.as === 'refused') {
      this.#keep(connection, permission.breaker)
      const why =
        permission.breaker.state === 'isolated'
          ? `Calls to connection "${connection.name}" are held back by hand.`
          : `Connection "${connection.name}" has been failing; it is tried again by single calls.`
      return { as: 'refused', until: permission.until, reason: why }
    }
    const { breaker, probe } = permission
    return {
      as: 'permitted',
      take: () => {
        this.#keep(connection, breaker)
        return (health) => {
          const context = { probe, now: this.#clock.now() }
          this.#keep(connection, record(this.#of(connection), this.#policy, health, context))
        }
      },
    }
  }

  stateOf(connection: ConnectionKey): BreakerState {
    return this.#breakers.get(keyOf(connection))?.state ?? 'closed'
  }

  isolate(connection: ConnectionKey): void {
    this.#keep(connection, isolate(this.#of(connection)))
  }

  restore(connection: ConnectionKey): void {
    this.#keep(connection, restore(this.#of(connection)))
  }

  #of(connection: ConnectionKey): Breaker {
    return this.#breakers.get(keyOf(connection)) ?? closedBreaker
  }

  /** The newest used stands last. */
  #keep(connection: ConnectionKey, breaker: Breaker): void {
    const key = keyOf(connection)
    this.#breakers.delete(key)
    this.#breakers.set(key, breaker)
    if (this.#breakers.size > this.#most) this.#forgetOne()
  }

  #forgetOne(): void {
    for (const [key, { state }] of this.#breakers) {
      if (state === 'isolated') continue
      this.#breakers.delete(key)
      return
    }
  }
}

function keyOf(connection: ConnectionKey): string {
  return `${connection.tenant}|${connection.id}`
}
