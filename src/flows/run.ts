import type { RunId } from '../base/index.ts'
import type { CredentialRef, OutageRef } from '../calls/index.ts'
import type { RunState } from '../define/index.ts'
import type { StoredEvent } from '../inbox/index.ts'
import type { LostTime } from './restored.ts'
import type { EventNote } from './stale.ts'

/** A run that this node has claimed, with everything that its execution starts from. */
export interface ClaimedRun {
  readonly tenant: string
  readonly id: RunId
  readonly flow: string
  readonly flowVersion: number
  /** What its idempotency keys are made of; see the inbox's NewRun. */
  readonly rootRunId: string
  /** The run that it replays, by a person's will. */
  readonly replayOf: string | undefined
  readonly laneKey: string | undefined
  readonly laneOpen: boolean
  readonly state: 'running' | 'undoing'
  /** Every write of this execution carries it; a write with an older one is refused. */
  readonly fence: string
  /** Claims since the run last settled by itself: above 1, an earlier execution died. */
  readonly claims: number
  /** When the first of these claims was committed, in milliseconds: no unrecorded attempt began before. */
  readonly claimedAt: number
  readonly createdAt: number
  /** When a person last let it go on, in milliseconds; else when it was created. */
  readonly goesOnSince: number
  readonly connector: string
  readonly event: StoredEvent
  /** What an operator wants: the run is to be undone on its way to this end. */
  readonly undoTo: 'undone' | 'cancelled' | undefined
  readonly reasonCode: string | undefined
  readonly reason: string | undefined
  /** A time of which the database knows nothing and in which this run may have gone on. */
  readonly lost?: LostTime | undefined
  /** Steps that waited when the run was last suspended. */
  readonly pending: readonly PendingStep[]
  /** Finished steps, in the order in which their results reach the flow's code. */
  readonly journal: readonly JournalRow[]
  /** The newest attempt of each step that had any. */
  readonly lastAttempts: readonly LastAttempt[]
}

/** A finished step. Its result reaches the flow's code in the order of `seq`. */
export interface JournalRow {
  readonly seq: number
  readonly kind: StepKind
  readonly name: string
  readonly ordinal: number
  readonly connectionId: string | undefined
  readonly operation: string | undefined
  readonly inputDigest: Buffer | undefined
  readonly outcome: 'succeeded' | 'failed' | 'skipped'
  /** JSON by encodeJson. */
  readonly result: Buffer | undefined
  readonly errorCode: string | undefined
  readonly error: string | undefined
  /** JSON of {@link Undo}. */
  readonly undo: Buffer | undefined
  readonly summary: string | undefined
  /** Milliseconds since 1970. */
  readonly finishedAt: number
}

export type StepKind = 'operation' | 'local' | 'sleep' | 'wait' | 'undo'

/** A compensation, computed when its step succeeded; or why it could not be. */
export type Undo =
  | {
      readonly connection: string
      readonly connector: string
      readonly operation: string
      readonly input: unknown
    }
  | { readonly impossible: string }

export interface LastAttempt {
  readonly name: string
  readonly ordinal: number
  readonly number: number
  readonly generation: number
  /** Begun, and of no recorded outcome: it may have left. */
  readonly open: boolean
  /** What was sent, by encodeRecorded. */
  readonly request: Buffer | undefined
  readonly begunAt: number
}

/** A step that waits, as the run's row keeps it. `until` in milliseconds; `null` waits for a person or an event. */
export type PendingStep =
  | ({ readonly kind: 'operation' } & PendingCall)
  | { readonly kind: 'sleep'; readonly name: string; readonly ordinal: number; readonly until: number }
  | {
      readonly kind: 'wait'
      readonly name: string
      readonly ordinal: number
      readonly until: number
      readonly connector: string
      readonly connection: string | undefined
      readonly type: string
      readonly field: string
      readonly value: string
    }

/** How far an operation's step has come. */
export interface PendingCall {
  readonly name: string
  readonly ordinal: number
  /** What it waits for; `none` before the first attempt. */
  readonly phase: CallPhase
  readonly until: number | null
  /** Attempts that were begun, of all generations, since the run was last begun or retried by a person. */
  readonly attempts: number
  /** Number of the newest attempt's row; attempts of an earlier life of the run stand below it. */
  readonly lastNumber?: number
  /** Rises after a definite answer that the effect was not done; part of the idempotency key. */
  readonly generation: number
  /** When the first of all `attempts` was begun, in milliseconds. */
  readonly firstAt?: number
  /** When the first attempt of this generation was begun, in milliseconds. */
  readonly begunAt: number | undefined
  /** When the newest attempt in doubt may have reached the provider, at the latest: what a look-up settles after. */
  readonly doubtedAt?: number
  /** Milliseconds of the retry horizon that are used up; stands still while deferred or parked. */
  readonly spentMs: number
  /** When the current phase began, in milliseconds. */
  readonly since: number
  readonly code: string | undefined
  readonly reason: string | undefined
  /** The quarantined answer that this step waits for. */
  readonly quarantineId: string | undefined
  /** The outage that it waits for the end of, or was let go by and has not been attempted since. */
  readonly outage?: OutageRef | undefined
  /** The credential that it waits for, or was let go by and has not been attempted since. */
  readonly credential?: CredentialRef | undefined
  /** In doubt after a restore: for which hold, from which generation on, and the newest that was put in doubt. */
  readonly afterLost?: { readonly hold: string; readonly first: number; readonly doubted: number }
  /** A person said that it may run although it is late. */
  readonly lateAllowed?: boolean
  /** What a person said about an outcome that could not be known. */
  readonly settled:
    | { readonly as: 'done'; readonly result: unknown }
    | { readonly as: 'not_done' }
    | undefined
}

/**
 * - `none`: not tried yet. - `retry`: failed, tries again. - `deferred`: breaker or budget said wait.
 * - `parked`: waits for something outside, such as a new authorization. - `in_doubt`: asks the provider, or sends
 *   again by key. - `held`: only a person can tell. - `late`: too late, and a person decides.
 */
export type CallPhase = 'none' | 'retry' | 'deferred' | 'parked' | 'in_doubt' | 'held' | 'late'

/** Where an execution leaves its run. */
export interface RunMove {
  readonly to: RunState
  readonly dueAt: number | undefined
  readonly pending: readonly PendingStep[]
  readonly undoTo: 'undone' | 'cancelled' | undefined
  readonly reasonCode: string | undefined
  readonly reason: string | undefined
  /** `name#ordinal` of the step whose failure ended the run. */
  readonly failedStep: string | undefined
  readonly result: Buffer | undefined
  /** Whether the run keeps its place in its lane. */
  readonly holdsLane: boolean
  /** The breaker or the credential that the run waits for, or was let go by and has not passed yet: what it is found by. */
  readonly parkedFor: string | undefined
  /** The run stays with this node: only the state changes. */
  readonly keepsClaim: boolean
  /** The run is over and had waited for events: their index entries go. */
  readonly clearsWaits: boolean
  /** What the end of the run says about its event, where the flow tells events by their age. */
  readonly event?: EventNote
}
