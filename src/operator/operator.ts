import type { Clock, EventId, RunId } from '../base/index.ts'
import { transaction, type Database, type Queryable } from '../db/index.ts'
import type { AnyConnector } from '../define/index.ts'
import type { RunRef } from '../dispatch/index.ts'
import { wakeWaiting } from '../flows/index.ts'
import type { FlowTable } from '../inbox/index.ts'
import type { Actor, LedgerEntry } from '../ledger/index.ts'
import { cancelRun } from './cancel.ts'
import { isolateConnection, type Isolated, type Isolation } from './isolateConnection.ts'
import { migrateRun, type Migration } from './migrateRun.ts'
import { discardQuarantined, releaseQuarantined, type Released } from './quarantine.ts'
import { replayEvent, replayRun, type Replayed } from './replay.ts'
import type { Hold } from './hold.ts'
import { holdPlatform, releaseHold, type HoldWish } from './releaseHold.ts'
import { releaseConnection } from './releaseConnection.ts'
import { retryRun } from './retryRun.ts'
import { settleStep, type Settlement } from './settleStep.ts'

export interface OperatorDeps {
  readonly database: Database
  readonly clock: Clock
  readonly flows: FlowTable
  readonly connectorNamed: (name: string) => AnyConnector | undefined
  readonly wake: (client: Queryable, runs: readonly RunRef[]) => Promise<void>
  readonly writeEntries: (client: Queryable, entries: readonly LedgerEntry[]) => Promise<void>
}

/** What one action works with: its transaction, who does it, and for whom. */
export interface ActionContext extends Omit<OperatorDeps, 'database'> {
  readonly client: Queryable
  readonly actor: Actor
  readonly tenant: string
}

/** Who acts, and whose data it is. */
export interface Acting {
  readonly actor: Actor
  readonly tenant: string
}

export interface Operator {
  /** Holds back the calls over a connection, or of one group of its operations, on every node until they are released. */
  isolateConnection(name: string, isolation: Isolation, acting: Acting): Promise<Isolated>
  /** Lets go what was held back by hand: first one run, then more, up to the pace of the budget. */
  releaseConnection(name: string, isolation: Isolation, acting: Acting): Promise<Isolated>
  /** Lets a dead letter, a parked run or one held for a conflict of versions or contracts go on: the same run, journal and keys. */
  retry(run: RunId, acting: Acting): Promise<void>
  /** Lets the run go on with another version of its flow, its journal changed as asked. It throws `version_conflict` where it does not fit. */
  migrate(run: RunId, migration: Migration, acting: Acting): Promise<void>
  /** Undoes what can be undone and ends the run. A run that is executing is told to stop. */
  cancel(run: RunId, acting: Acting): Promise<void>
  /**
   * A new run of the same flow for the same event. It throws `effects_repeated` without consent, naming the effects
   * that it would or might repeat, and `state_conflict` while an earlier run of that flow and event is open.
   */
  replayRun(run: RunId, options: Acting & { repeatEffects: boolean }): Promise<Replayed>
  /** New runs of every flow that starts on the event, or of one of them. */
  replayEvent(event: EventId, options: Acting & { repeatEffects: boolean; flow?: string }): Promise<Replayed>
  /** A person's word on a step whose outcome could not be known, that came too late, or whose undo was done by hand. */
  settle(run: RunId, settlement: Settlement, acting: Acting): Promise<void>
  /** Lets a quarantined event or answer pass. A run that has ended meanwhile stays as it is. */
  release(id: string, acting: Acting): Promise<Released>
  discard(id: string, acting: Acting): Promise<void>
  /** Lets every node stand still, and answers the hold's id. Throws `state_conflict` where one is open already. */
  hold(wish: HoldWish, acting: Acting): Promise<Hold['id']>
  /** Ends every hold that is open, and answers their ids. Throws `state_conflict` where there is none. */
  releaseHold(acting: Acting): Promise<readonly Hold['id'][]>
}

export function createOperator(deps: OperatorDeps): Operator {
  const within = <Result>(
    { actor, tenant }: Acting,
    act: (context: ActionContext) => Promise<Result>,
  ): Promise<Result> => transaction(deps.database.pool, (client) => act({ ...deps, client, actor, tenant }))
  return {
    isolateConnection: (name, isolation, acting) =>
      within(acting, (context) => isolateConnection(name, isolation, context)),
    releaseConnection: (name, isolation, acting) =>
      within(acting, (context) => releaseConnection(name, isolation, context)),
    retry: (run, acting) => within(acting, (context) => retryRun(run, context)),
    migrate: (run, migration, acting) => within(acting, (context) => migrateRun(run, migration, context)),
    cancel: (run, acting) => within(acting, (context) => cancelRun(run, context)),
    replayRun: (run, options) => within(options, (context) => replayRun(run, options.repeatEffects, context)),
    replayEvent: (event, options) => within(options, (context) => replayEvent(event, options, context)),
    settle: (run, settlement, acting) => within(acting, (context) => settleStep(run, settlement, context)),
    async release(id, acting) {
      const { runs, arrived } = await within(acting, (context) => releaseQuarantined(id, context))
      // It is committed. Runs that are not woken here are found by the engine, which looks for what was missed.
      await wakeWaiting(arrived, deps).catch(() => {})
      return { runs }
    },
    discard: (id, acting) => within(acting, (context) => discardQuarantined(id, context)),
    hold: (wish, acting) => within(acting, (context) => holdPlatform(wish, context)),
    releaseHold: (acting) => within(acting, (context) => releaseHold(context)),
  }
}
