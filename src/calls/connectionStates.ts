import type { Clock } from '../base/index.ts'
import type { BreakerState, LimitDefinition, ProviderAnswer } from '../define/index.ts'
import {
  admit,
  blockUntil,
  closedBreaker,
  emptyBudget,
  isolate,
  observedLimits,
  permit,
  record,
  release,
  restore,
  type Breaker,
  type BreakerPolicy,
  type BreakerResult,
  type Budget,
  type ObservedLimit,
} from '../resilience/index.ts'
import type { CallConnection, CallRequest } from './request.ts'

/** Leave to make one attempt, or the time to ask again. */
export type Leave =
  | { readonly as: 'admitted'; readonly ticket: Ticket }
  | { readonly as: 'deferred'; readonly until: number; readonly code: DeferredCode; readonly reason: string }

type DeferredCode = 'circuit_open' | 'rate_limited' | 'concurrency_reached'

/** Held while an attempt is made. */
export interface Ticket {
  /** Corrects the budgets by what the answer says of the provider's own counts. */
  learn(answer: ProviderAnswer, retryAt: number | undefined): void
  /** Ends the attempt. `neutral` until a result says something about the provider's health. */
  close(health: BreakerResult): void
}

interface State {
  breaker: Breaker
  budget: Budget
}

/** Connections whose state is in memory. Of the rest the longest unused is forgotten: its counts begin anew. */
const MOST_CONNECTIONS = 10_000

/**
 * Breakers and budgets by connection, in this process's memory. Each node keeps its own: budgets over all nodes are
 * not counted here.
 */
export class ConnectionStates {
  readonly #clock: Clock
  readonly #policy: BreakerPolicy
  readonly #most: number
  readonly #states = new Map<string, State>()

  constructor(clock: Clock, policy: BreakerPolicy, most = MOST_CONNECTIONS) {
    this.#clock = clock
    this.#policy = policy
    this.#most = most
  }

  /** Asks breaker and budgets for leave to make one attempt. */
  admit(call: CallRequest): Leave {
    const state = this.#stateOf(call.connection)
    const now = this.#clock.now()
    const { name } = call.connection
    const permission = permit(state.breaker, this.#policy, now)
    if (permission.as === 'refused') {
      state.breaker = permission.breaker
      const why =
        state.breaker.state === 'isolated'
          ? `Calls to connection "${name}" are held back by hand.`
          : `Connection "${name}" has been failing; it is tried again by single calls.`
      return { as: 'deferred', until: permission.until, code: 'circuit_open', reason: why }
    }
    const limits = limitsOf(call)
    const admission = admit(state.budget, limits, now)
    state.budget = admission.budget
    if (admission.as === 'deferred')
      // The permission was not used, so the breaker stays as it was.
      return {
        as: 'deferred',
        until: admission.until,
        code: admission.concurrency ? 'concurrency_reached' : 'rate_limited',
        reason: `The limit "${admission.limit}" of connection "${name}" is used up.`,
      }
    state.breaker = permission.breaker
    return { as: 'admitted', ticket: this.#ticket(state, limits, permission.probe) }
  }

  #ticket(state: State, limits: readonly LimitDefinition[], probe: boolean): Ticket {
    let open = true
    return {
      learn: (answer, retryAt) => {
        const now = this.#clock.now()
        for (const [limit, until] of blocksOf(answer, limits, retryAt, now))
          state.budget = blockUntil(state.budget, limit, until, now)
      },
      close: (health) => {
        if (!open) return
        open = false
        state.budget = release(state.budget, limits)
        state.breaker = record(state.breaker, this.#policy, health, { probe, now: this.#clock.now() })
      },
    }
  }

  breakerOf(connection: { readonly tenant: string; readonly id: string }): BreakerState {
    return this.#states.get(keyOf(connection))?.breaker.state ?? 'closed'
  }

  /** A person holds all calls of the connection back, on this node, until {@link restore}. */
  isolate(connection: { readonly tenant: string; readonly id: string }): void {
    const state = this.#stateOf(connection)
    state.breaker = isolate(state.breaker)
  }

  restore(connection: { readonly tenant: string; readonly id: string }): void {
    const state = this.#stateOf(connection)
    state.breaker = restore(state.breaker)
  }

  #stateOf(connection: { readonly tenant: string; readonly id: string }): State {
    const key = keyOf(connection)
    const known = this.#states.get(key)
    if (known !== undefined) {
      this.#states.delete(key)
      this.#states.set(key, known)
      return known
    }
    const state: State = { breaker: closedBreaker, budget: emptyBudget }
    this.#states.set(key, state)
    if (this.#states.size > this.#most) this.#forgetOne()
    return state
  }

  /** The longest unused goes, but never one that a person isolated. */
  #forgetOne(): void {
    for (const [key, { breaker }] of this.#states) {
      if (breaker.state === 'isolated') continue
      this.#states.delete(key)
      return
    }
  }
}

function keyOf(connection: { readonly tenant: string; readonly id: string }): string {
  return `${connection.tenant}|${connection.id}`
}

/** The limits that a call counts against. A look-up counts against all: it is another call than the operation's own. */
function limitsOf(call: CallRequest): readonly LimitDefinition[] {
  const all: CallConnection['connector']['limits'] = call.connection.connector.limits
  const named = call.kind === 'send' ? call.operation.limits : undefined
  return named === undefined ? all : all.filter((limit) => named.includes(limit.name))
}

/**
 * Limits that the answer says are used up, and until when. A 429 blocks every limit that the call counted against,
 * since it does not say which one it was; the longest window bounds the wait, because after it everything is new.
 */
function blocksOf(
  answer: ProviderAnswer,
  limits: readonly LimitDefinition[],
  retryAt: number | undefined,
  now: number,
): [LimitDefinition, number][] {
  const blocks: [LimitDefinition, number][] = []
  for (const observed of observedLimits(answer.headers, now)) {
    const limit = observed.remaining === 0 ? matching(observed, limits) : undefined
    if (limit !== undefined && observed.resetAt !== undefined)
      blocks.push([limit, Math.min(observed.resetAt, now + limit.windowMs)])
  }
  if (answer.status !== 429) return blocks
  const longest = Math.max(0, ...limits.map((limit) => limit.windowMs))
  const shortest = Math.min(...limits.map((limit) => limit.windowMs))
  const until = Math.min(retryAt ?? now + shortest, now + longest)
  return [...blocks, ...limits.map((limit): [LimitDefinition, number] => [limit, until])]
}

/** The declared limit that an observed one is: by name, by window, by allowance, or because there is only one. */
function matching(observed: ObservedLimit, limits: readonly LimitDefinition[]): LimitDefinition | undefined {
  return (
    limits.find((limit) => limit.name === observed.name) ??
    limits.find((limit) => limit.windowMs === observed.windowMs) ??
    limits.find((limit) => limit.allowed === observed.allowed) ??
    (limits.length === 1 ? limits[0] : undefined)
  )
}
