import { encodeJson, type Clock } from '../../base/index.ts'
import type { LimitDefinition } from '../../define/index.ts'
import {
  exchange,
  NEW_BUDGET,
  type BudgetAsk,
  type BudgetGrant,
  type BudgetState,
} from '../../resilience/index.ts'

/** A limit of a connection, and what this node tells and asks of it. */
export interface LimitAsk {
  readonly tenant: string
  readonly connectionId: string
  readonly limit: LimitDefinition
  readonly ask: Omit<BudgetAsk, 'node'>
}

/** Grants in the order of the asks, each with the time that it was made at, by the authority's clock. */
export type Granted = readonly { readonly now: number; readonly grant: BudgetGrant }[]

/** Where budgets are kept, and granted to one node at a time. */
export interface BudgetAuthority {
  /** Throws where it cannot be reached: then nothing is granted, and what was given back may be lost. */
  exchange(asks: readonly LimitAsk[]): Granted | Promise<Granted>
}

/** Most budgets in memory. Of the rest the longest unused is forgotten: its counts begin anew. */
const MOST_BUDGETS = 10_000

/** Budgets of this process alone, for commands and tests. */
export function createMemoryAuthority(clock: Clock, most = MOST_BUDGETS): BudgetAuthority {
  const states = new Map<string, BudgetState>()
  return {
    exchange: (asks) =>
      asks.map(({ tenant, connectionId, limit, ask }) => {
        const key = encodeJson([tenant, connectionId, limit.name])
        const now = clock.now()
        const { state, grant } = exchange(states.get(key) ?? NEW_BUDGET, limit, { ...ask, node: '' }, now)
        states.delete(key)
        states.set(key, state)
        if (states.size > most)
          for (const oldest of states.keys()) {
            states.delete(oldest)
            break
          }
        return { now, grant }
      }),
  }
}
