import { newId, SECOND, type Clock, type Random } from '../../base/index.ts'
import { openDatabase, transaction, type Queryable } from '../../db/index.ts'
import { Budgets } from './budgets.ts'
import type { Promised } from './lines.ts'
import { recordSpending } from './record.ts'
import { createTableAuthority } from './table.ts'

export interface SharedBudgetsOptions {
  readonly clock: Clock
  readonly random: Pick<Random, 'next'>
  readonly databaseUrl: string
  /** Lets deferred calls come at once. Its client is that of the budgets. */
  readonly bringForward?: (client: Queryable, calls: readonly Promised[]) => Promise<void>
  /** Faults of asking and recording: they are tried again, and meanwhile calls are deferred. */
  readonly onFault?: (error: unknown) => void
}

/** Calls wait in memory for so long at most before they are deferred. */
const PATIENCE_MS = SECOND

/** This node's part of the budgets that all nodes share, over a connection of its own: it must not wait for others. */
export function startSharedBudgets({
  clock,
  random,
  databaseUrl,
  bringForward,
  onFault,
}: SharedBudgetsOptions): {
  readonly budgets: Budgets
  stop(): Promise<void>
} {
  const database = openDatabase({
    url: databaseUrl,
    max: 1,
    name: 'trestle budgets',
    statementTimeoutMs: 2 * SECOND,
  })
  const budgets = new Budgets({
    clock,
    authority: createTableAuthority({
      client: database.pool,
      node: newId('nod'),
      clock,
      random,
      within: (work) => transaction(database.pool, work),
    }),
    patienceMs: PATIENCE_MS,
    record: (spent, peaks) => recordSpending(database.pool, spent, peaks),
    ...(bringForward && { bringForward: (calls) => bringForward(database.pool, calls) }),
    ...(onFault && { onFault }),
  })
  budgets.start()
  let stopped: Promise<void> | undefined
  return {
    budgets,
    stop: () => (stopped ??= budgets.stop().then(() => database.close())),
  }
}
