import type { Clock } from '../base/index.ts'
import type { LimitDefinition, ProviderAnswer } from '../define/index.ts'
import {
  admit,
  blockUntil,
  emptyBudget,
  observedLimits,
  release,
  type Budget,
  type ObservedLimit,
} from '../resilience/index.ts'
import type { CallConnection, CallRequest } from './request.ts'

/** Leave to make one attempt, or the time to ask again. */
export type Leave =
  | { readonly as: 'admitted'; readonly ticket: Ticket }
  | { readonly as: 'deferred'; readonly until: number; readonly code: DeferredCode; readonly reason: string }

type DeferredCode = 'rate_limited' | 'concurrency_reached'

/** Held while an attempt is made. */
export interface Ticket {
  /** Corrects the budgets by what the answer says of the provider's own counts. */
  learn(answer: ProviderAnswer, retryAt: number | undefined): void
  /** Ends the attempt. */
  close(): void
}

/** Connections whose state is in memory. Of the rest the longest unused is forgotten: its counts begin anew. */
export const MOST_CONNECTIONS = 10_000

/** Budgets by connection: asked for leave to make an attempt, after its breaker. */
export class ConnectionStates {
  readonly #clock: Clock
  readonly #most: number
  readonly #budgets = new Map<string, Budget>()

  constructor(clock: Clock, most = MOST_CONNECTIONS) {
    this.#clock = clock
    this.#most = most
  }

  /** Asks the budgets for leave to make one attempt. */
  admit(call: CallRequest): Leave {
    const limits = limitsOf(call)
    const key = keyOf(call.connection)
    const admission = admit(this.#budgets.get(key) ?? emptyBudget, limits, this.#clock.now())
    this.#keep(key, admission.budget)
    if (admission.as === 'deferred')
      return {
        as: 'deferred',
        until: admission.until,
        code: admission.concurrency ? 'concurrency_reached' : 'rate_limited',
        reason: `The limit "${admission.limit}" of connection "${call.connection.name}" is used up.`,
      }
    return { as: 'admitted', ticket: this.#ticket(key, limits) }
  }

  #ticket(key: string, limits: readonly LimitDefinition[]): Ticket {
    let open = true
    return {
      learn: (answer, retryAt) => {
        const now = this.#clock.now()
        for (const [limit, until] of blocksOf(answer, limits, retryAt, now))
          this.#keep(key, blockUntil(this.#budgets.get(key) ?? emptyBudget, limit, until, now))
      },
      close: () => {
        if (!open) return
        open = false
        this.#keep(key, release(this.#budgets.get(key) ?? emptyBudget, limits))
      },
    }
  }

  /** The newest used stands last, the longest unused goes. */
  #keep(key: string, budget: Budget): void {
    this.#budgets.delete(key)
    this.#budgets.set(key, budget)
    if (this.#budgets.size <= this.#most) return
    for (const oldest of this.#budgets.keys()) {
      this.#budgets.delete(oldest)
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
