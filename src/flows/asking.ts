import type { Clock, Random } from '../base/index.ts'
import type { CallConnection, CallOutcome, CallRequest } from '../calls/index.ts'
import type { AnyConnector, AnyFlow, FlowEvent } from '../define/index.ts'
import type { CallStep, StepHost, StepWrite } from './callStep.ts'
import type { Playback } from './playback.ts'
import type { ClaimedRun, JournalRow, PendingCall, PendingStep, StepKind } from './run.ts'
import type { RunWriteAnswer } from './runWriter.ts'

/** What an execution needs of its node. */
export interface ExecutionDeps {
  readonly clock: Clock
  readonly random: Random
  readonly call: (request: CallRequest) => Promise<CallOutcome>
  /** Whether this node may be sure that the run is still its own; asked right before a request is written. */
  readonly mayLeave: () => boolean
  readonly retries: StepHost['retries']
  /** The tenant's connection of this connector, or the one named. Throws UsageError where there is none. */
  readonly connectionFor: (
    tenant: string,
    connector: AnyConnector,
    name: string | undefined,
  ) => Promise<CallConnection>
  readonly releasedAnswer: StepHost['releasedAnswer']
  /** The first event that the wait is for, since the run began, that none of `consumed` is. */
  readonly findEvent: (
    run: ClaimedRun,
    wait: Extract<PendingStep, { kind: 'wait' }>,
    consumed: readonly string[],
  ) => Promise<FlowEvent | undefined>
  readonly write: (write: StepWrite) => Promise<RunWriteAnswer>
  /** Called before the flow's code is entered, so that a watchdog can name the run. */
  readonly entering: (runId: string) => void
}

/** What the steps of a flow need of the execution that they belong to. */
export interface Asking {
  readonly run: ClaimedRun
  readonly flow: AnyFlow
  readonly deps: ExecutionDeps
  readonly playback: Pick<Playback, 'last'>
  /** Steps that waited when the run was last suspended, by {@link stepKey}. */
  readonly resumed: ReadonlyMap<string, PendingStep>
  /** Ids of events that waits of this run have taken. */
  readonly consumed: string[]
  /** Only what came of attempts in doubt is learned; nothing is begun. */
  readonly resolving: () => boolean
  /** No result of this execution's own was delivered yet. */
  readonly replaying: () => boolean
  /** The flow's code asks for a step: its result comes from the journal, else `begin` begins it when it is its turn. */
  ask(
    name: string,
    what: { readonly kind: StepKind; readonly inputDigest?: Buffer },
    begin: (ordinal: number) => Promise<void>,
  ): Promise<unknown>
  /** The step waits. While the execution lives it goes on by itself when its time has come. */
  wait(step: PendingStep, go: (() => Promise<void>) | undefined): void
  /** Makes the next move of a call. */
  advance(step: CallStep, pending: PendingCall): Promise<void>
  /** Commits a step's result, then delivers it. */
  journal(row: Omit<JournalRow, 'seq' | 'finishedAt'>): Promise<void>
}

/** A rejection that nobody need await. */
export function rejected(error: unknown): Promise<never> {
  const promise = Promise.reject(error)
  promise.catch(() => {})
  return promise
}
