import { parseJson, PermanentError, SECOND, turn, UsageError } from '../base/index.ts'
import { decodeRecorded } from '../calls/index.ts'
import { asUnavailable } from '../db/index.ts'
import type { AnyConnector, AnyFlow, FlowContext, FlowEvent } from '../define/index.ts'
import { rejected, type Asking, type ExecutionDeps } from './asking.ts'
import { advanceCall, type CallStep, type StepHost } from './callStep.ts'
import { createDetermined } from './determined.ts'
import { doubtsOf, withResumed, type KnownSteps } from './doubts.ts'
import { ExecutionEndedError, StepFailedError, VersionConflictError } from './errors.ts'
import { createClients } from './operationSteps.ts'
import { askForEvent, askLocal, askSleep, stepAround } from './ownSteps.ts'
import { createPlayback, stepKey, type Playback } from './playback.ts'
import type { ClaimedRun, JournalRow, PendingCall, PendingStep, StepKind } from './run.ts'
import {
  JOURNAL_LIMIT_BYTES,
  OUTSIDE_LIMIT_MS,
  REPLAY_LIMIT_MS,
  STEP_NAME_LIMIT,
  STEPS_AT_ONCE,
  STEPS_PER_RUN,
  SUSPEND_AFTER_MS,
} from './runLimits.ts'

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
    const asking = this.#asking()
    const clientOf = createClients(asking)
    const determined = createDetermined(this.#run.rootRunId, this.#run.createdAt, () => this.playback.last)
    return {
      event: this.#event,
      run: { id: this.#run.id, flow: this.#flow.name, key: this.#run.laneKey },
      use: (connector, name) => clientOf(connector as AnyConnector, name) as never,
      step: (name, work) => askLocal(asking, name, work) as never,
      sleep: (until) => askSleep(asking, until),
      waitFor: (trigger, options) => askForEvent(asking, trigger, options) as never,
      ...determined,
    }
  }

  /** What the flow's steps need of this execution. */
  #asking(): Asking {
    return {
      run: this.#run,
      flow: this.#flow,
      deps: this.#deps,
      playback: this.playback,
      resumed: this.#resumed,
      consumed: this.#consumed,
      resolving: () => this.#mode === 'resolve',
      replaying: () => this.live.length === 0,
      ask: (name, what, begin) => this.#ask(name, what, begin),
      wait: (step, go) => this.#wait(step, go),
      advance: (step, pending) => this.#advance(step, pending),
      journal: (row) => this.#journal(row),
    }
  }

  get #known(): KnownSteps {
    return {
      resumed: this.#resumed,
      lastAttempts: this.#run.lastAttempts,
      isFinished: (name, ordinal) => this.playback.find(name, ordinal) !== undefined,
    }
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
    const outer = stepAround()
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
    if (this.#handingBack)
      return this.#finish({ as: 'suspended', pending: withResumed(pending, this.#known) })
    if (this.#cancelling) return this.#finish({ as: 'cancelling', pending: doubtsOf(pending, this.#known) })
    if (this.#settled?.as === 'threw') return this.#endThrew(doubtsOf(pending, this.#known))
    if (this.#settled) return this.#endReturned(pending.filter((step) => step.kind === 'operation'))
    if (!this.playback.replayed) return this.#expect(REPLAY_LIMIT_MS, () => this.#conflictUnasked())
    if (this.#mode === 'resolve')
      return this.#finish({ as: 'cancelling', pending: doubtsOf(pending, this.#known) })
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
    return withResumed([...waiting, ...underWay, { kind: 'operation', ...step }], this.#known)
  }

  /** Steps of which nobody knows whether they were done, as far as this execution came. */
  doubts(): readonly PendingStep[] {
    return doubtsOf(
      [...this.#pending.values()].map(({ step }) => step),
      this.#known,
    )
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

function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void
  const promise = new Promise<T>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}
