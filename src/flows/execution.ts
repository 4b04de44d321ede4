import { AsyncLocalStorage } from 'node:async_hooks'
import { createHash } from 'node:crypto'
import {
  durationMs,
  encodeJson,
  parseJson,
  reasonOf,
  codeOf,
  DAY,
  PermanentError,
  SECOND,
  turn,
  UsageError,
  type Clock,
  type Duration,
  type Random,
} from '../base/index.ts'
import { decodeRecorded, type CallConnection, type CallOutcome, type CallRequest } from '../calls/index.ts'
import { asUnavailable } from '../db/index.ts'
import {
  isOperation,
  type AnyConnector,
  type AnyFlow,
  type AnyOperation,
  type EventTrigger,
  type FlowContext,
  type FlowEvent,
  type OperationTree,
  type StepOptions,
  type WaitOptions,
} from '../define/index.ts'
import { fieldValue } from '../inbox/index.ts'
import { advanceCall, type CallStep, type StepHost, type StepWrite } from './callStep.ts'
import { createDetermined } from './determined.ts'
import { ExecutionEndedError, StepFailedError, VersionConflictError } from './errors.ts'
import { createPlayback, stepKey, type Playback } from './playback.ts'
import { afterRestore } from './restored.ts'
import { afterCrash, mayHaveBeenDone, notTried, retryPolicy } from './retry.ts'
import type { ClaimedRun, JournalRow, PendingCall, PendingStep, StepKind, Undo } from './run.ts'
import type { RunWriteAnswer } from './runWriter.ts'

/** Steps that one run may ask for. */
export const STEPS_PER_RUN = 10_000
/** Steps of one run that may be under way at once; more wait their turn. */
export const STEPS_AT_ONCE = 50
/** Characters of a step's name. */
export const STEP_NAME_LIMIT = 200
/** The longest sleep, and the longest wait for an event. */
export const LONGEST_WAIT_MS = 3_650 * DAY
/** Bytes that a local step may return, as JSON. */
export const RESULT_LIMIT_BYTES = 1_048_576
/**
 * Bytes of results in one run's journal, which is read whole each time that the run goes on. Beyond it no further step
 * is begun; what is under way is still journaled.
 */
export const JOURNAL_LIMIT_BYTES = 33_554_432
/** When only waits have remained for this long, the execution ends and the run's row waits. */
export const SUSPEND_AFTER_MS = 100
/** How long the flow's code may await something that is no step. */
export const OUTSIDE_LIMIT_MS = 10 * SECOND
/** How long the flow's code may take to ask for what its journal holds. */
export const REPLAY_LIMIT_MS = SECOND

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

/** Where the flow's code was left. */
export type ExecutionEnd =
  | { readonly as: 'returned'; readonly value: unknown }
  | { readonly as: 'threw'; readonly error: unknown }
  /** Only waits remain, or the node stops. */
  | { readonly as: 'suspended'; readonly pending: readonly PendingStep[] }
  /** An operator wants it undone; everything under way has settled. */
  | { readonly as: 'cancelling'; readonly pending: readonly PendingStep[] }
  /** The run was taken from this execution. */
  | { readonly as: 'fenced' }
  /** The platform itself could not go on, such as while its database was away. */
  | { readonly as: 'faulted'; readonly error: unknown }

/**
 * - `run`: goes on.
 * - `resolve`: only learns what came of attempts in doubt, before the run is undone.
 * - `check`: only learns whether the flow's code asks for what the journal holds. Nothing is done and nothing written.
 */
export type ExecutionMode = 'run' | 'resolve' | 'check'

const insideStep = new AsyncLocalStorage<string>()

/** One execution of a run: the flow's function, called from the top with its journal. Started once. */
export class Execution {
  readonly playback: Playback
  readonly #run: ClaimedRun
  readonly #flow: AnyFlow
  readonly #event: FlowEvent
  readonly #deps: ExecutionDeps
  readonly #ordinals = new Map<string, number>()
  readonly #resumed: Map<string, PendingStep>
  readonly #pending = new Map<string, { readonly step: PendingStep; readonly cancelTimer: () => void }>()
  readonly #consumed: string[] = []
  /** Live steps that wait until the journal has been replayed, or until fewer are under way. */
  readonly #ready: (() => Promise<void>)[] = []
  readonly #host: StepHost
  /** Rows that this execution journaled, in order. */
  readonly live: JournalRow[] = []
  #mode: ExecutionMode
  #cancelling = false
  #underWay = 0
  #mustFinish = 0
  /** Where each call under way or waiting has come to, until it is journaled. */
  readonly #latest = new Map<string, PendingCall>()
  #asked = 0
  #journalBytes: number
  #capturing: Undo[] | undefined
  #cancelTimer: () => void = () => {}
  #settled:
    | { readonly as: 'returned'; readonly value: unknown }
    | { readonly as: 'threw'; readonly error: unknown }
    | undefined
  #faulted: { readonly as: 'faulted'; readonly error: unknown } | undefined
  #ended = false
  #handingBack = false
  #end: (end: ExecutionEnd) => void = () => {}
  /** Set where a step is asked for after the end. */
  onAskedAfterEnd: (name: string) => void = () => {}

  constructor(run: ClaimedRun, flow: AnyFlow, event: FlowEvent, mode: ExecutionMode, deps: ExecutionDeps) {
    this.#run = run
    this.#flow = flow
    this.#event = event
    this.#mode = mode
    this.#deps = deps
    this.#journalBytes = run.journal.reduce((sum, row) => sum + (row.result?.length ?? 0), 0)
    this.#resumed = new Map(run.pending.map((step) => [stepKey(step.name, step.ordinal), step]))
    this.playback = createPlayback(
      run.journal.filter((row) => row.kind !== 'undo'),
      (run.journal.at(-1)?.seq ?? 0) + 1,
      () => this.#look(),
    )
    this.#host = {
      run,
      clock: deps.clock,
      random: deps.random,
      call: deps.call,
      mayLeave: deps.mayLeave,
      priority: flow.priority ?? 'normal',
      retries: deps.retries,
      releasedAnswer: deps.releasedAnswer,
      write: (write) =>
        deps.write(write.pending ? { ...write, waits: this.#waitsWith(write.pending) } : write),
      append: (row) => this.#append(row),
      recorded: recordedOf(run),
      mustFinish: (change) => {
        this.#mustFinish += change
      },
    }
  }

  /** An attempt is under way that would be in doubt if the node ended now. */
  get mustFinish(): boolean {
    return this.#mustFinish > 0
  }

  get host(): StepHost {
    return this.#host
  }

  /** Runs the flow's code until it returns, throws, or only waits remain. Resolves when nothing of it is under way. */
  start(): Promise<ExecutionEnd> {
    const { promise, resolve } = deferred<ExecutionEnd>()
    this.#end = resolve
    void this.#enterFlow()
    return promise
  }

  /** Begins nothing further and ends when what is under way has settled. */
  handBack(): void {
    this.#handingBack = true
    this.#look()
  }

  async #enterFlow(): Promise<void> {
    this.#deps.entering(this.#run.id)
    // A flow that awaits something of its own before its first step is looked after, too.
    void turn().then(() => this.#look())
    try {
      const value: unknown = await this.#flow.run(this.#context())
      this.#settled = { as: 'returned', value }
    } catch (error) {
      this.#settled ??= { as: 'threw', error }
    }
    this.#look()
  }

  #context(): FlowContext {
    const determined = createDetermined(this.#run.rootRunId, this.#run.createdAt, () => this.playback.last)
    return {
      event: this.#event,
      run: { id: this.#run.id, flow: this.#flow.name, key: this.#run.laneKey },
      use: (connector, name) => this.#client(connector as AnyConnector, name) as never,
      step: (name, work) => this.#local(name, work) as never,
      sleep: (until) => this.#sleep(until),
      waitFor: (trigger, options) => this.#waitFor(trigger, options) as never,
      ...determined,
    }
  }

  // --- what the flow's code may ask for ---------------------------------------------------------------

  #client(connector: AnyConnector, connectionName: string | undefined): unknown {
    const build = (tree: OperationTree, prefix: string): Record<string, unknown> => {
      const client: Record<string, unknown> = {}
      for (const [name, value] of Object.entries(tree)) {
        client[name] = isOperation(value)
          ? (input: unknown, options: StepOptions<unknown> = {}) =>
              this.#operation(connector, connectionName, prefix + name, value, input, options)
          : build(value, `${prefix}${name}.`)
      }
      return client
    }
    return build(connector.operations as OperationTree, '')
  }

  #operation(
    connector: AnyConnector,
    connectionName: string | undefined,
    operationName: string,
    operation: AnyOperation,
    input: unknown,
    options: StepOptions<unknown>,
  ): Promise<unknown> {
    if (this.#capturing) {
      this.#capturing.push({
        connection: connectionName ?? '',
        connector: connector.name,
        operation: operationName,
        input,
      })
      return new Promise(() => {})
    }
    const name = options.as ?? `${connector.name}.${operationName}`
    if (options.validUntil !== undefined && Number.isNaN(new Date(options.validUntil).getTime()))
      return rejected(
        new UsageError(
          'valid_until_invalid',
          `The step "${name}" is valid until "${String(options.validUntil)}", which is no time. Pass a Date, or ISO 8601 text such as 2026-11-22T21:00:00Z.`,
        ),
      )
    let inputDigest: Buffer
    try {
      inputDigest = createHash('sha256')
        .update(encodeJson({ operation: `${connector.name}.${operationName}`, input }))
        .digest()
    } catch (error) {
      return rejected(error)
    }
    const reachedBefore = this.live.length === 0
    const askedAt = this.playback.last?.finishedAt ?? this.#run.createdAt
    return this.#ask(name, { kind: 'operation', inputDigest }, async (ordinal) => {
      const connection = await this.#deps.connectionFor(this.#run.tenant, connector, connectionName)
      const step: CallStep = {
        kind: 'operation',
        name,
        ordinal,
        connection,
        operationName,
        operation,
        input,
        inputDigest,
        options,
        policy: retryPolicy(options.retry, this.#flow.retry, operation.retry),
        askedAt,
        undoOf: options.undo && ((made) => this.#captureUndo(options.undo!, made)),
      }
      const pending = this.#startingPoint(step, reachedBefore)
      if (pending) await this.#advance(step, pending)
    })
  }

  /** Where a call step begins: as it was suspended, in doubt where an attempt may have left, else untried. */
  #startingPoint(step: CallStep, reachedBefore: boolean): PendingCall | undefined {
    const now = this.#deps.clock.now()
    const resumed = this.#resumed.get(stepKey(step.name, step.ordinal))
    const before = resumed?.kind === 'operation' ? resumed : notTried(step.name, step.ordinal, now)
    const last = this.#run.lastAttempts.find(
      (attempt) => attempt.name === step.name && attempt.ordinal === step.ordinal,
    )
    // What is asked for after a live result cannot have been asked for before the crash.
    const claims = reachedBefore ? this.#run.claims : 1
    const { claimedAt } = this.#run
    const crashed = afterCrash(before, step.operation, { last, claims, claimedAt, now })
    const start = afterRestore(crashed, step.operation, this.#run, now)
    if (this.#mode === 'run') return start
    // Before an undo only doubts are resolved; a call that can be undone may have been made, so it is learned.
    const known = resumed !== undefined || last !== undefined || step.undoOf !== undefined
    return known && (mayHaveBeenDone(start) || start.settled !== undefined) ? start : undefined
  }

  async #advance(step: CallStep, pending: PendingCall): Promise<void> {
    const key = stepKey(step.name, step.ordinal)
    this.#latest.set(key, pending)
    const progress = await advanceCall(step, pending, this.#host, this.#mode === 'resolve')
    this.#latest.delete(key)
    if (progress.as === 'fenced') return this.#finish({ as: 'fenced' })
    if (progress.cancelling) this.#cancel()
    if (progress.as === 'finished') return this.playback.committed(progress.row)
    this.#wait({ kind: 'operation', ...progress.pending }, () => this.#advance(step, progress.pending))
  }

  #captureUndo(undo: (made: unknown) => unknown, made: unknown): Undo {
    const captured: Undo[] = []
    this.#capturing = captured
    try {
      const result = undo(made)
      if (result instanceof Promise) result.catch(() => {})
    } catch (error) {
      return { impossible: `Its undo threw: ${reasonOf(error)}` }
    } finally {
      this.#capturing = undefined
    }
    return captured.length === 1
      ? captured[0]!
      : {
          impossible: `Its undo called ${captured.length} operations; it must call exactly one, before any await.`,
        }
  }

  #local(name: string, work: () => unknown): Promise<unknown> {
    return this.#ask(name, { kind: 'local' }, async (ordinal) => {
      if (this.#mode === 'resolve') return
      const base = {
        kind: 'local' as const,
        name,
        ordinal,
        connectionId: undefined,
        operation: undefined,
        inputDigest: undefined,
        undo: undefined,
        summary: undefined,
      }
      let row: Omit<JournalRow, 'seq' | 'finishedAt'>
      try {
        const result: unknown = await insideStep.run(name, async () => work())
        const bytes = result === undefined ? undefined : boundedResult(name, result)
        row = {
          ...base,
          outcome: 'succeeded',
          result: bytes,
          errorCode: undefined,
          error: undefined,
        }
      } catch (error) {
        row = {
          ...base,
          outcome: 'failed',
          result: undefined,
          errorCode: codeOf(error, 'step_threw'),
          error: reasonOf(error),
        }
      }
      await this.#journal(row)
    })
  }

  #sleep(until: Duration | Date): Promise<void> {
    const now = this.#deps.clock.now()
    let at: number
    try {
      at = until instanceof Date ? until.getTime() : now + durationMs(until)
      if (Number.isNaN(at))
        throw new UsageError(
          'duration_invalid',
          'The date to sleep until is not valid. Pass a Date, or a duration such as "2 days".',
        )
      refuseTooLong(at - now)
    } catch (error) {
      return rejected(error)
    }
    const ask = this.#ask('sleep', { kind: 'sleep' }, async (ordinal) => {
      if (this.#mode === 'resolve') return
      const resumed = this.#resumed.get(stepKey('sleep', ordinal))
      const step: PendingStep = {
        kind: 'sleep',
        name: 'sleep',
        ordinal,
        until: resumed?.kind === 'sleep' ? resumed.until : at,
      }
      const wake = async (): Promise<void> => {
        if (this.#deps.clock.now() < step.until) return this.#wait(step, wake)
        await this.#journal({ ...plainRow('sleep', 'sleep', ordinal), outcome: 'succeeded' })
      }
      await wake()
    })
    return ask as Promise<void>
  }

  #waitFor(trigger: EventTrigger, options: WaitOptions): Promise<FlowEvent | undefined> {
    const value = fieldValue(options.equals)
    let timeoutMs: number
    try {
      timeoutMs = durationMs(options.timeout)
      refuseTooLong(timeoutMs)
      if (trigger.definition.match?.includes(options.on) !== true)
        throw new UsageError(
          'wait_field_undeclared',
          `${trigger.connector} events "${trigger.type}" cannot be matched on "${options.on}". Declared for matching: ${trigger.definition.match?.join(', ') ?? 'nothing'}.`,
        )
      if (value === undefined)
        throw new UsageError(
          'wait_value_invalid',
          `waitFor("${trigger.type}") needs a text, number or boolean in "equals".`,
        )
    } catch (error) {
      return rejected(error)
    }
    const name = `wait:${trigger.connector}.${trigger.type}`
    const ask = this.#ask(name, { kind: 'wait' }, async (ordinal) => {
      if (this.#mode === 'resolve') return
      const resumed = this.#resumed.get(stepKey(name, ordinal))
      const until = resumed?.kind === 'wait' ? resumed.until : this.#deps.clock.now() + timeoutMs
      const step = {
        kind: 'wait' as const,
        name,
        ordinal,
        until,
        connector: trigger.connector,
        connection: trigger.connection,
        type: trigger.type,
        field: options.on,
        value,
      }
      const look = async (): Promise<void> => {
        const event = await this.#deps.findEvent(this.#run, step, this.#consumed)
        if (!event && this.#deps.clock.now() < until) return this.#wait(step, look)
        // Another wait of this run took it meanwhile: there may be a next one.
        if (event && this.#consumed.includes(event.id)) return look()
        if (event) this.#consumed.push(event.id)
        await this.#journal({
          ...plainRow('wait', name, ordinal),
          outcome: 'succeeded',
          result: event && Buffer.from(encodeJson(event)),
        })
      }
      await look()
    })
    return ask as Promise<FlowEvent | undefined>
  }

  // --- asking, waiting, delivering --------------------------------------------------------------------

  #ask(
    name: string,
    what: { readonly kind: StepKind; readonly inputDigest?: Buffer },
    begin: (ordinal: number) => Promise<void>,
  ): Promise<unknown> {
    if (this.#ended) {
      this.onAskedAfterEnd(name)
      return rejected(new ExecutionEndedError())
    }
    const outer = insideStep.getStore()
    if (outer !== undefined)
      return rejected(
        new UsageError(
          'step_in_step',
          `The step "${name}" was asked for inside the step "${outer}". Call it from the flow's own code instead.`,
        ),
      )
    if (++this.#asked > STEPS_PER_RUN)
      return rejected(
        new UsageError(
          'too_many_steps',
          `The run asked for more than ${STEPS_PER_RUN} steps. Split the work over several events.`,
        ),
      )

    if (name.length > STEP_NAME_LIMIT)
      return rejected(
        new UsageError(
          'step_name_too_long',
          `The step's name has ${name.length} characters; at most ${STEP_NAME_LIMIT} are kept. Put what varies into its input.`,
        ),
      )

    this.#cancelTimer()
    const ordinal = (this.#ordinals.get(name) ?? 0) + 1
    this.#ordinals.set(name, ordinal)
    if (this.#journalBytes > JOURNAL_LIMIT_BYTES && !this.#mayHaveBegun(name, ordinal))
      return rejected(
        new PermanentError(
          'journal_too_large',
          `The run's steps have given ${this.#journalBytes} bytes; beyond ${JOURNAL_LIMIT_BYTES} no further step is begun. Return less from steps, ask providers for smaller pages, or split the work over several events.`,
        ),
      )
    const promise = new Promise((resolve, reject) => {
      const row = this.playback.find(name, ordinal)
      if (row && conflicts(row, what))
        return this.#conflict(
          `The step ${stepKey(name, ordinal)} is journaled as ${row.operation ?? row.kind} with another input than the flow's code asks for now.`,
        )
      this.playback.request(name, ordinal, (row) => this.#deliver(row, resolve, reject))
      if (!row) this.#ready.push(() => begin(ordinal))
    })
    // The author may await it later, or never: that must not end the node.
    promise.catch(() => {})
    return promise
  }

  /** A step that is journaled or of which an attempt may have left is never refused: its effect would be lost. */
  #mayHaveBegun(name: string, ordinal: number): boolean {
    return (
      this.playback.find(name, ordinal) !== undefined ||
      this.#resumed.has(stepKey(name, ordinal)) ||
      this.#run.claims > 1 ||
      this.#run.lastAttempts.some((last) => last.name === name && last.ordinal === ordinal)
    )
  }

  #deliver(row: JournalRow, resolve: (value: unknown) => void, reject: (error: unknown) => void): void {
    if (this.#ended) return
    this.#deps.entering(this.#run.id)
    if (row.outcome === 'failed')
      return reject(
        new StepFailedError(row.name, row.ordinal, row.errorCode ?? 'failed', row.error ?? 'failed'),
      )
    let value: unknown
    try {
      value = row.result === undefined ? undefined : parseJson(row.result)
    } catch (error) {
      return reject(error)
    }
    if (row.kind === 'wait' && value !== undefined) this.#consumed.push((value as FlowEvent).id)
    resolve(value)
  }

  #append(row: Omit<JournalRow, 'seq'>): JournalRow {
    const numbered = this.playback.append(row)
    this.live.push(numbered)
    this.#journalBytes += row.result?.length ?? 0
    return numbered
  }

  async #journal(row: Omit<JournalRow, 'seq' | 'finishedAt'>): Promise<void> {
    const numbered = this.#append({ ...row, finishedAt: this.#deps.clock.now() })
    const answer = await this.#deps.write({ journal: numbered, entries: [] })
    if (answer === 'fenced') return this.#finish({ as: 'fenced' })
    if (answer === 'cancelling') this.#cancel()
    this.playback.committed(numbered)
  }

  /** The step waits. While the execution lives it goes on by itself when its time has come. */
  #wait(step: PendingStep, go: (() => Promise<void>) | undefined): void {
    const key = stepKey(step.name, step.ordinal)
    const wakes = go !== undefined && step.until !== null
    const cancelTimer = wakes
      ? this.#deps.clock.after(step.until - this.#deps.clock.now(), () => {
          if (this.#ended || !this.#pending.delete(key)) return
          this.#ready.push(go)
          this.#look()
        })
      : () => {}
    this.#pending.set(key, { step, cancelTimer })
  }

  #cancel(): void {
    this.#cancelling = true
  }

  #conflict(message: string): void {
    this.#settled = { as: 'threw', error: new VersionConflictError(message) }
    this.#look()
  }

  // --- the turn after everything has settled ----------------------------------------------------------

  /** Asks, after each change, what comes next: begin what is ready, end, or wait for what is under way. */
  #look(): void {
    if (this.#ended || !this.playback.idle) return
    this.#cancelTimer()
    if (this.#mode === 'check') return this.#lookChecking()
    if (this.#cancelling || this.#settled?.as === 'threw') this.#mode = 'resolve'
    if (!this.#handingBack && !this.#faulted && (this.playback.replayed || this.#settled?.as === 'threw'))
      this.#beginReady()
    if (this.#underWay > 0) return
    if (this.#faulted) return this.#finish(this.#faulted)
    const pending = [...this.#pending.values()].map(({ step }) => step)
    if (this.#handingBack) return this.#finish({ as: 'suspended', pending: this.#withResumed(pending) })
    if (this.#cancelling) return this.#finish({ as: 'cancelling', pending: this.#doubts(pending) })
    if (this.#settled?.as === 'threw') return this.#endThrew(this.#doubts(pending))
    if (this.#settled) return this.#endReturned(pending.filter((step) => step.kind === 'operation'))
    if (!this.playback.replayed) return this.#expect(REPLAY_LIMIT_MS, () => this.#conflictUnasked())
    if (this.#mode === 'resolve') return this.#finish({ as: 'cancelling', pending: this.#doubts(pending) })
    if (pending.length > 0)
      return this.#expect(SUSPEND_AFTER_MS, () => this.#finish({ as: 'suspended', pending }))
    this.#expect(OUTSIDE_LIMIT_MS, () =>
      this.#finish({
        as: 'threw',
        error: new PermanentError(
          'awaited_outside_step',
          `The flow has awaited something that is no step for ${OUTSIDE_LIMIT_MS / SECOND} s. Put it into step(name, work).`,
        ),
      }),
    )
  }

  /** Begins nothing. Whoever has asked for all that the journal holds, and for what was under way, can go on. */
  #lookChecking(): void {
    if (this.#settled?.as === 'threw') return this.#finish(this.#settled)
    if (this.#settled) return this.#endReturned([])
    if (!this.playback.replayed) return this.#expect(REPLAY_LIMIT_MS, () => this.#conflictUnasked())
    const pending = this.#unaskedCalls()
    if (pending.length === 0) return this.#finish({ as: 'suspended', pending })
    this.#expect(REPLAY_LIMIT_MS, () => this.#finish({ as: 'suspended', pending }))
  }

  /** Calls that were begun when the run was last suspended, and that the flow's code has not asked for yet. */
  #unaskedCalls(): PendingStep[] {
    return [...this.#resumed.values()].filter(
      (step) =>
        step.kind === 'operation' &&
        step.attempts > 0 &&
        !this.playback.find(step.name, step.ordinal) &&
        (this.#ordinals.get(step.name) ?? 0) < step.ordinal,
    )
  }

  #beginReady(): void {
    while (this.#ready.length > 0 && this.#underWay < STEPS_AT_ONCE) {
      const begin = this.#ready.shift()!
      this.#underWay++
      begin()
        .catch((error: unknown) => {
          // A fault of ours is not the flow's: the run is given back, and begun again when it can be.
          if (asUnavailable(error)) this.#faulted ??= { as: 'faulted', error }
          else this.#settled ??= { as: 'threw', error }
        })
        .finally(() => {
          this.#underWay--
          this.#look()
        })
    }
  }

  /** The flow's code has thrown. Before the run gives up, it is learned what came of attempts in doubt. */
  #endThrew(doubtful: readonly PendingStep[]): void {
    this.#finish(doubtful.length > 0 ? { as: 'suspended', pending: doubtful } : this.#settled!)
  }

  /** The flow's code has returned. Calls that it asked for and did not await are still carried to their end. */
  #endReturned(calls: readonly PendingStep[]): void {
    if (this.playback.unasked().length > 0) return this.#conflictUnasked()
    this.#finish(calls.length > 0 ? { as: 'suspended', pending: calls } : this.#settled!)
  }

  #conflictUnasked(): void {
    const [row] = this.playback.unasked()
    const error = new VersionConflictError(
      row
        ? `The journal holds the step ${stepKey(row.name, row.ordinal)}, which the flow's code no longer asks for.`
        : 'The flow does not go on from its journal.',
    )
    this.#finish({ as: 'threw', error })
  }

  /** Every wait of the run as it is now, with this step's: what a crash finds. */
  #waitsWith(step: PendingCall): PendingStep[] {
    const key = stepKey(step.name, step.ordinal)
    const waiting = [...this.#pending.values()].map(({ step }) => step)
    const underWay = [...this.#latest]
      .filter(([other]) => other !== key)
      .map(([, call]): PendingStep => ({ kind: 'operation', ...call }))
    return this.#withResumed([...waiting, ...underWay, { kind: 'operation', ...step }])
  }

  /** Steps of which nobody knows whether they were done, as far as this execution came. */
  doubts(): readonly PendingStep[] {
    return this.#doubts([...this.#pending.values()].map(({ step }) => step))
  }

  /**
   * Steps of which nobody knows whether they were done. One that the flow's code does not ask for any more, because
   * it was changed or awaits something of its own, is held for a person.
   */
  #doubts(pending: readonly PendingStep[]): PendingStep[] {
    const asked = new Set(pending.map((step) => stepKey(step.name, step.ordinal)))
    const unasked = (step: PendingStep): boolean => !asked.has(stepKey(step.name, step.ordinal))
    return [...this.#withResumed(pending), ...this.#openUnasked(pending)].flatMap((step): PendingStep[] => {
      // What undoes a step is not asked for by the flow's code: the undoing itself goes on with it.
      if (step.kind !== 'operation' || isUndo(step) || !mayHaveBeenDone(step)) return []
      if (!unasked(step)) return [step]
      if (step.settled !== undefined) return []
      return [
        {
          ...step,
          phase: 'held',
          until: null,
          code: 'outcome_unknown',
          reason: `${step.reason ?? ''} The flow no longer asks for it.`.trim(),
        },
      ]
    })
  }

  /** Attempts that were begun, of steps that nothing else tells of. */
  #openUnasked(pending: readonly PendingStep[]): PendingStep[] {
    const known = new Set(
      [...pending, ...this.#resumed.values()].map((step) => stepKey(step.name, step.ordinal)),
    )
    return this.#run.lastAttempts
      .filter(
        (last) =>
          last.open &&
          !last.name.startsWith('undo:') &&
          !known.has(stepKey(last.name, last.ordinal)) &&
          !this.playback.find(last.name, last.ordinal),
      )
      .map((last) => ({
        kind: 'operation',
        ...notTried(last.name, last.ordinal, last.begunAt),
        phase: 'in_doubt',
        lastNumber: last.number,
        generation: last.generation,
        begunAt: last.begunAt,
        doubtedAt: last.begunAt,
        code: 'node_died',
        reason: 'The node died while it was under way.',
      }))
  }

  /** Steps that waited before and have not been asked for again yet keep waiting. */
  #withResumed(pending: readonly PendingStep[]): PendingStep[] {
    const known = new Set(pending.map((step) => stepKey(step.name, step.ordinal)))
    const unreached = [...this.#resumed]
      .filter(([key, step]) => !known.has(key) && !this.playback.find(step.name, step.ordinal))
      .map(([, step]) => step)
    return [...pending, ...unreached]
  }

  #expect(ms: number, then: () => void): void {
    this.#cancelTimer = this.#deps.clock.after(ms, () => {
      if (!this.#ended && this.#underWay === 0) then()
    })
  }

  #finish(end: ExecutionEnd): void {
    if (this.#ended) return
    this.#ended = true
    this.#cancelTimer()
    for (const { cancelTimer } of this.#pending.values()) cancelTimer()
    this.#end(end)
  }
}

function isUndo(step: PendingStep): boolean {
  return step.name.startsWith('undo:')
}

/** A rejection that nobody need await. */
function rejected(error: unknown): Promise<never> {
  const promise = Promise.reject(error)
  promise.catch(() => {})
  return promise
}

function refuseTooLong(ms: number): void {
  if (ms > LONGEST_WAIT_MS)
    throw new UsageError(
      'duration_invalid',
      `A run can wait for ${LONGEST_WAIT_MS / DAY} days at most. Wait for less, or start another run then.`,
    )
}

function recordedOf(run: ClaimedRun): StepHost['recorded'] {
  return new Map(
    run.lastAttempts.flatMap(({ name, ordinal, generation, request }) =>
      request === undefined
        ? []
        : [[stepKey(name, ordinal), { generation, request: decodeRecorded(request) }]],
    ),
  )
}

function conflicts(
  row: JournalRow,
  what: { readonly kind: StepKind; readonly inputDigest?: Buffer },
): boolean {
  if (row.kind !== what.kind) return true
  return (
    what.inputDigest !== undefined &&
    row.inputDigest !== undefined &&
    !row.inputDigest.equals(what.inputDigest)
  )
}

function boundedResult(name: string, result: unknown): Buffer {
  const bytes = Buffer.from(encodeJson(result))
  if (bytes.length <= RESULT_LIMIT_BYTES) return bytes
  throw new PermanentError(
    'result_too_large',
    `The step "${name}" returned ${bytes.length} bytes; at most ${RESULT_LIMIT_BYTES} are kept in the journal. Return an id or a summary, and read the rest where it is needed.`,
  )
}

function plainRow(
  kind: StepKind,
  name: string,
  ordinal: number,
): Omit<JournalRow, 'seq' | 'finishedAt' | 'outcome'> {
  return {
    kind,
    name,
    ordinal,
    connectionId: undefined,
    operation: undefined,
    inputDigest: undefined,
    result: undefined,
    errorCode: undefined,
    error: undefined,
    undo: undefined,
    summary: undefined,
  }
}

function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void
  const promise = new Promise<T>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}
