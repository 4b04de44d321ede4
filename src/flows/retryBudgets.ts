import type { Clock } from '../base/index.ts'
import type { CallConnection, CallOutcome } from '../calls/index.ts'
import {
  earn,
  giveBack,
  newRetryBudget,
  RETRY_BUDGET,
  spend,
  type RetryBudget,
  type RetryBudgetPolicy,
} from '../resilience/index.ts'

/** Connections whose budget is in memory. The longest unused is forgotten: its budget begins anew. */
export const MOST_CONNECTIONS = 10_000

type ConnectionKey = Pick<CallConnection, 'tenant' | 'id'>

/**
 * Retry budgets of this node, by connection. A retry that fails uses its place up, whoever makes it; so however many
 * runs there are, those that fail do not add more to the load of a failing provider than their share.
 */
export class RetryBudgets {
  readonly #clock: Clock
  readonly #policy: RetryBudgetPolicy
  readonly #budgets = new Map<string, RetryBudget>()

  constructor(clock: Clock, policy: Partial<RetryBudgetPolicy> = {}) {
    this.#clock = clock
    this.#policy = { ...RETRY_BUDGET, ...policy }
  }

  /** When a retry may ask again; `undefined`: it may be made now, and its outcome is to be told to {@link made}. */
  heldUntil(connection: ConnectionKey): number | undefined {
    const leave = spend(this.#of(connection), this.#policy, this.#clock.now())
    this.#keep(connection, leave.budget)
    return leave.as === 'deferred' ? leave.until : undefined
  }

  /** What came of an attempt. */
  made(connection: ConnectionKey, isRetry: boolean, outcome: CallOutcome): void {
    const attempted = outcome.as !== 'deferred' && outcome.as !== 'parked'
    const failed = outcome.as === 'in_doubt' || (outcome.as === 'failed' && outcome.retryable)
    if (isRetry ? attempted && failed : !attempted) return
    const change = isRetry ? giveBack : earn
    this.#keep(connection, change(this.#of(connection), this.#policy, this.#clock.now()))
  }

  /** Connections in memory. */
  get size(): number {
    return this.#budgets.size
  }

  #of(connection: ConnectionKey): RetryBudget {
    return this.#budgets.get(keyOf(connection)) ?? newRetryBudget(this.#policy, this.#clock.now())
  }

  #keep(connection: ConnectionKey, budget: RetryBudget): void {
    const key = keyOf(connection)
    this.#budgets.delete(key)
    this.#budgets.set(key, budget)
    if (this.#budgets.size > MOST_CONNECTIONS) this.#budgets.delete(this.#budgets.keys().next().value!)
  }
}

function keyOf({ tenant, id }: ConnectionKey): string {
  return `${tenant}|${id}`
}
