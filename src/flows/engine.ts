import {
  crashPoint,
  DAY,
  MINUTE,
  pause,
  SECOND,
  settledWithin,
  type Clock,
  type Random,
} from '../base/index.ts'
import type { CallConnection, CallOutcome, CallRequest, SharedBreaker } from '../calls/index.ts'
import { asUnavailable, transaction, type Database, type Queryable } from '../db/index.ts'
import type { AnyConnector } from '../define/index.ts'
import { RUNS_PER_WAKE_UP, type Dispatch, type RunRef } from '../dispatch/index.ts'
import type { FlowTable } from '../inbox/index.ts'
import type { LedgerEntry } from '../ledger/index.ts'
import { advanceRun, type AdvanceDeps } from './advance.ts'
import { claimRuns } from './claim.ts'
import type { Execution } from './execution.ts'
import { giveUpAskedAfterEnd } from './askedAfterEnd.ts'
import { goOnIfReleased, releasedAnswer } from './heldAnswer.ts'
import { createLaneHandOver, type LaneHandOver } from './lanes.ts'
import { drainReturns, findReturns } from './credentialReturn.ts'
import { forgetNodes, rescueRuns } from './nodes.ts'
import { DRAIN_EVERY_MS, drainOutages, FORGOTTEN_EVERY_MS, wakeForgotten } from './outage.ts'
import { Presence } from './presence.ts'
import type { LostTime } from './restored.ts'
import type { ClaimedRun, RunMove } from './run.ts'
import { RetryBudgets } from './retryBudgets.ts'
import { createRunWriter, type RunWriter } from './runWriter.ts'
import { findNewerApplied } from './stale.ts'
import { giveBackClaim, giveBackStrays, runsClaimedBy, type ClaimedRef } from './strays.ts'
import { Sweep } from './sweep.ts'
import { findAwaitedEvent, wakeMissed, wakeWaiting, type Arrival } from './waits.ts'

export interface EngineOptions {
  readonly database: Database
  readonly clock: Clock
  readonly random: Random
  readonly dispatch: Dispatch
  readonly flows: FlowTable
  readonly version: string
  readonly roles: readonly string[]
  readonly call: (request: CallRequest) => Promise<CallOutcome>
  readonly connectionFor: (
    tenant: string,
    connector: AnyConnector,
    name: string | undefined,
  ) => Promise<CallConnection>
  readonly connectorNamed: (name: string) => AnyConnector | undefined
  readonly writeEntries: (client: Queryable, entries: readonly LedgerEntry[]) => Promise<void>
  /** How long a heartbeat lets this node send requests, in milliseconds. Default 4 s; tests on a fake clock give more. */
  readonly leaseMs?: number
  /** Runs that this node executes at once. Default 256. */
  readonly runsAtOnce?: number
  /** Called with the run that the flow's code is entered for. */
  readonly entering?: (runId: string) => void
  /** Whether a hold is open: nothing is taken then. The claim itself asks the database, too. Default: never. */
  readonly inHold?: () => boolean
  /** Times that the database lost when it was put back from copies. Default: none. */
  readonly lostTimes?: () => readonly LostTime[]
  /** Breakers that nodes share: those that are half open let go who waited for them. Default: there are none. */
  readonly breakers?: () => readonly SharedBreaker[]
  /** Faults of the engine's own upkeep: they are retried. */
  readonly onFault?: (what: string, error: unknown) => void
  /** A run was left in this state. For logs and the live page. */
  readonly onMoved?: (run: ClaimedRun, move: RunMove) => void
}

/** Runs that a node executes at once. */
export const RUNS_AT_ONCE = 256
const WAKE_UPS_AT_ONCE = 8
/** Waits that end sooner than this are timed by the node itself; later ones are found by the sweep. */
const OWN_TIMER_MS = MINUTE
const SWEEP_MS = SECOND
const FORGET_NODES_MS = 10 * MINUTE
/** How long a node waits for what is under way when it stops. */
export const STOP_LIMIT_MS = 10 * SECOND
/** How much longer for an attempt that would be in doubt otherwise: as long as an exchange may take. */
const ATTEMPT_LIMIT_MS = 30 * SECOND
const FAULT_PAUSE_MS = 500
/** Longer than the longest transaction: what it wrote may be found that long after its rows' time. */
const LOOK_BACK_MS = 40 * SECOND
/** Longer than any event is kept. */
const EVER_MS = 1_000 * DAY

/** Executes runs on this node. Start once; stop twice safely; stop hands back what is under way. */
export class Engine {
  readonly #options: EngineOptions
  readonly #writer: RunWriter
  readonly #presence: Presence
  readonly #lanes: LaneHandOver
  readonly #sweeper: Sweep
  readonly #retries: RetryBudgets
  readonly #under = new Map<string, { readonly done: Promise<void>; execution?: Execution }>()
  readonly #timers = new Set<() => void>()
  #due: RunRef[] = []
  #pumping = false
  #again = false
  #stopping = false
  /** Work of the node's own that is under way: taking runs, upkeep, wake-ups. A stop waits for it. */
  readonly #background = new Set<Promise<void>>()
  #stopped: Promise<void> | undefined
  /** Credentials that came back, as of the last look. */
  #returns = 0
  /** When the last look for missed events began; undefined: nobody may have looked for long. */
  #lookedAt: number | undefined
  /** Claims that were not under way here at the last look. */
  #strays = new Set<string>()

  constructor(options: EngineOptions) {
    this.#options = options
    this.#writer = createRunWriter(options)
    this.#retries = new RetryBudgets(options.clock)
    this.#presence = new Presence({
      ...options,
      onBeat: () =>
        rescueRuns({
          ...this.#upkeep(),
          self: this.node,
          onDead: () => this.#sweeper.handOverLost(),
        }),
      onFault: (what, error) => this.#fault(what, error),
    })
    const wake = (client: Queryable, runs: readonly RunRef[]): Promise<void> =>
      options.dispatch.wake(client, runs)
    this.#lanes = createLaneHandOver({ database: options.database, wake })
    this.#sweeper = new Sweep({ database: options.database, clock: options.clock, wake })
  }

  /** This node's id; a new one after it was thought dead. */
  get node(): string {
    return this.#presence.node
  }

  /** Runs that this node executes at once. */
  get #most(): number {
    return this.#options.runsAtOnce ?? RUNS_AT_ONCE
  }

  /** Runs under way on this node. */
  get size(): number {
    return this.#under.size
  }

  async start(): Promise<void> {
    const { database, dispatch } = this.#options
    await this.#presence.register()
    await dispatch.start(() => this.#pump())
    this.#presence.start()
    this.#every('sweep', SWEEP_MS, () => this.#sweep())
    this.#every('forget nodes', FORGET_NODES_MS, () => forgetNodes(database.pool))
    this.#every(
      'let go who waited for an outage',
      () => (this.#isComingBack() ? DRAIN_EVERY_MS : SWEEP_MS),
      () => this.#drain(),
    )
    this.#every('look for those forgotten by an outage', FORGOTTEN_EVERY_MS, () =>
      wakeForgotten(this.#upkeep()),
    )
    this.#every(
      'let go who waited for a credential',
      () => (this.#returns > 0 ? DRAIN_EVERY_MS : SWEEP_MS),
      async () => {
        this.#returns = await this.#letGoReturned()
      },
    )
    this.#every('look for those who wait for a credential that is there', FORGOTTEN_EVERY_MS, () =>
      findReturns(this.#upkeep()),
    )
  }

  /** Events were committed that suspended runs may wait for. */
  arrived(arrivals: readonly Arrival[]): void {
    const { database, dispatch } = this.#options
    void this.#inBackground('wake waiting runs', () =>
      wakeWaiting(arrivals, { database, wake: (client, runs) => dispatch.wake(client, runs) }),
    )
  }

  /** Takes no further runs, hands back those under way within 10 s, and signs off. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  async #stop(): Promise<void> {
    this.#stopping = true
    for (const cancel of this.#timers) cancel()
    for (const { execution } of this.#under.values()) execution?.handBack()
    // What is being taken at this moment is under way after this, and handed back like the rest.
    await this.#within(STOP_LIMIT_MS, [...this.#background])
    await this.#settledWithin(STOP_LIMIT_MS, () => true)
    // An attempt that would be in doubt may finish within its time-out; meanwhile the node keeps its heartbeat.
    await this.#settledWithin(ATTEMPT_LIMIT_MS, (execution) => execution?.mustFinish === true)
    await Promise.allSettled([this.#writer.drain(), this.#lanes.drain()])
    await this.#within(STOP_LIMIT_MS, [...this.#background])
    await this.#options.dispatch.stop().catch((error: unknown) => this.#fault('stop the wake-ups', error))
    // Runs that did not settle in time are others' at once: nothing more of this node counts.
    await this.#presence.signOff()
    await rescueRuns(this.#upkeep()).catch((error: unknown) => this.#fault('hand back runs', error))
    await this.#presence.close()
  }

  async #settledWithin(ms: number, counts: (execution: Execution | undefined) => boolean): Promise<void> {
    const under = [...this.#under.values()].filter(({ execution }) => counts(execution))
    await this.#within(
      ms,
      under.map(({ done }) => done),
    )
  }

  async #within(ms: number, work: readonly Promise<void>[]): Promise<void> {
    if (work.length > 0) await settledWithin(this.#options.clock, ms, Promise.allSettled(work))
  }

  // --- taking runs ------------------------------------------------------------------------------------

  #pump(): void {
    if (this.#pumping) {
      this.#again = true
      return
    }
    this.#pumping = true
    void this.#inBackground('take runs', () => this.#takeAll())
  }

  async #takeAll(): Promise<void> {
    try {
      do {
        this.#again = false
        while (!this.#stopping && this.#under.size < this.#most && (await this.#takeSome())) {
          // As long as there is work and room for it.
        }
      } while (this.#again && !this.#stopping && this.#under.size < this.#most)
    } catch (error) {
      this.#fault('take runs', error)
      this.#options.clock.after(FAULT_PAUSE_MS, () => this.#pump())
    }
    this.#pumping = false
  }

  async #takeSome(): Promise<boolean> {
    const { dispatch, database, clock, inHold, lostTimes } = this.#options
    if (inHold?.()) return false
    const room = this.#most - this.#under.size
    const wanted = Math.ceil((room - this.#due.length) / RUNS_PER_WAKE_UP)
    const wakeUps = wanted > 0 ? await dispatch.take(Math.min(wanted, WAKE_UPS_AT_ONCE)) : []
    if (wakeUps.length > 0) crashPoint('wake_ups.taken')
    const all = distinct([...this.#due, ...wakeUps.flatMap((wakeUp) => wakeUp.runs)])
    if (all.length === 0) return false
    // What there is no room for waits here for a moment; what waits for longer is woken again elsewhere.
    const runs = all.slice(0, room)
    this.#due = all.slice(room)
    try {
      const claimed = await claimRuns(runs, wakeUps, {
        database,
        node: this.node,
        now: clock.now(),
        drop: (client, taken) => dispatch.drop(client, taken),
        ...(lostTimes && { lost: lostTimes() }),
      })
      for (const run of claimed) this.#begin(run)
    } catch (error) {
      // The wake-ups are this node's, and for a minute nobody else gets them.
      if (asUnavailable(error)) this.#due.push(...runs)
      throw error
    }
    return true
  }

  #begin(run: ClaimedRun): void {
    const under: { done: Promise<void>; execution?: Execution } = { done: Promise.resolve() }
    this.#under.set(run.id, under)
    under.done = this.#advance(run, under, (execution) => {
      under.execution = execution
      if (this.#stopping) execution.handBack()
    })
  }

  async #advance(run: ClaimedRun, under: object, onExecution: (execution: Execution) => void): Promise<void> {
    try {
      const move = await advanceRun(run, this.#deps(run, onExecution))
      if (move) this.#moved(run, move)
    } catch (error) {
      // Nothing was settled: the run stays claimed, and is given back so that it is tried again. Or it was after all, where
      // only the database's answer was lost: then its lane is free.
      this.#sweeper.handOverLost()
      this.#fault(`advance ${run.id}`, error)
      await this.#giveBack(run)
    } finally {
      // A run that was taken from this node may have been claimed by it again.
      if (this.#under.get(run.id) === under) this.#under.delete(run.id)
      if (!this.#stopping) this.#pump()
    }
  }

  #deps(run: ClaimedRun, onExecution: (execution: Execution) => void): AdvanceDeps {
    const {
      clock,
      random,
      call,
      connectionFor,
      connectorNamed,
      flows,
      database,
      entering = () => {},
    } = this.#options
    const { node } = this
    return {
      clock,
      random,
      call,
      mayLeave: this.#presence.lease.holds,
      retries: this.#retries,
      connectionFor,
      connectorNamed,
      entering,
      onExecution,
      flowFor: (name, version) => flows.forRun(name, version),
      stopping: () => this.#stopping,
      connectionNamed: (tenant, connector, name) => {
        const found = connectorNamed(connector)
        if (!found)
          throw new Error(
            `The connector "${connector}" is not in the configuration. Add a connection of it again.`,
          )
        return connectionFor(tenant, found, name === '' ? undefined : name)
      },
      findEvent: (claimed, wait, consumed) =>
        findAwaitedEvent(database.pool, claimed, wait, consumed, connectorNamed),
      newerApplied: (claimed, dated) => findNewerApplied(database.pool, claimed, dated),
      releasedAnswer: (id) => releasedAnswer(database.pool, run.tenant, id),
      write: (claimed, write) => this.#writer.write({ run: claimed, node, fence: claimed.fence, ...write }),
      onAskedAfterEnd: (claimed, step) => this.#askedAfterEnd(claimed, step),
    }
  }

  #moved(run: ClaimedRun, move: RunMove): void {
    crashPoint('run.moved')
    if (run.laneOpen && !move.holdsLane)
      this.#lanes
        .freed({ tenant: run.tenant, flow: run.flow, laneKey: run.laneKey! })
        .catch((error: unknown) => {
          this.#sweeper.handOverLost()
          this.#fault('hand over a lane', error)
        })
    if (move.to === 'waiting' && move.pending.some((step) => step.kind === 'wait')) this.#lookAgain(run, move)
    if (move.to === 'held') this.#lookForReleased(run, move)
    if (move.dueAt !== undefined) this.#setTimer(run, move.dueAt)
    this.#options.onMoved?.(run, move)
  }

  /** An event may have come between the last look and the commit of the wait. */
  #lookAgain(run: ClaimedRun, move: RunMove): void {
    const arrivals = move.pending.flatMap((step): Arrival[] =>
      step.kind === 'wait'
        ? [
            {
              tenant: run.tenant,
              connector: step.connector,
              type: step.type,
              fields: [[step.field, step.value]],
            },
          ]
        : [],
    )
    const consumed = run.journal.flatMap((row) =>
      row.kind === 'wait' && row.result
        ? [(JSON.parse(row.result.toString('utf8')) as { id: string }).id]
        : [],
    )
    void this.#inBackground('look again for awaited events', async () => {
      const { database, connectorNamed } = this.#options
      // One after another: many runs that wait for much must not take every connection to the database.
      for (const wait of move.pending) {
        if (wait.kind !== 'wait') continue
        if (await findAwaitedEvent(database.pool, run, wait, consumed, connectorNamed))
          return this.arrived(arrivals)
      }
    })
  }

  /** A person may have released or discarded the answer between its quarantine and the commit of the hold. */
  #lookForReleased(run: ClaimedRun, move: RunMove): void {
    const { database, dispatch } = this.#options
    const ids = move.pending.flatMap((step) =>
      step.kind === 'operation' && step.quarantineId !== undefined ? [step.quarantineId] : [],
    )
    if (ids.length === 0) return
    void this.#inBackground(`look for the released answer of ${run.id}`, () =>
      transaction(database.pool, async (client) =>
        dispatch.wake(client, await goOnIfReleased(client, run, ids)),
      ),
    )
  }

  #setTimer(run: ClaimedRun, dueAt: number): void {
    const ms = dueAt - this.#options.clock.now()
    if (ms > OWN_TIMER_MS || this.#stopping) return
    const cancel = this.#options.clock.after(ms, () => {
      this.#timers.delete(cancel)
      this.#due.push({ tenant: run.tenant, id: run.id })
      this.#pump()
    })
    this.#timers.add(cancel)
  }

  /** The run was released when its flow's code, from an await of its own, asked for a step: it gives up. */
  #askedAfterEnd(run: ClaimedRun, step: string): void {
    const { database, dispatch, clock, writeEntries } = this.#options
    void this.#inBackground(`end ${run.id}`, () =>
      transaction(database.pool, async (client) =>
        dispatch.wake(
          client,
          await giveUpAskedAfterEnd(client, run, step, { now: clock.now(), writeEntries }),
        ),
      ),
    )
  }

  /** What this misses, the sweep finds. */
  async #giveBack(run: ClaimedRun): Promise<void> {
    const { clock, database } = this.#options
    await pause(clock, FAULT_PAUSE_MS)
    await giveBackClaim(database.pool, run, { node: this.node, dueAt: clock.now() + SECOND }).catch(
      (error: unknown) => this.#fault(`give back ${run.id}`, error),
    )
  }

  // --- upkeep -----------------------------------------------------------------------------------------

  #upkeep(): {
    database: Database
    clock: Clock
    wake: Dispatch['wake']
    writeEntries: EngineOptions['writeEntries']
  } {
    const { database, clock, dispatch, writeEntries } = this.#options
    return { database, clock, writeEntries, wake: (client, runs) => dispatch.wake(client, runs) }
  }

  async #sweep(): Promise<void> {
    if (this.#options.inHold?.()) return
    await this.#sweeper.pass()
    await this.#wakeMissed()
    await this.#returnStrays()
    this.#pump()
  }

  /** Whether there is a provider whose runs are let go again. */
  #isComingBack(): boolean {
    return this.#options.breakers?.().some(({ breaker }) => breaker.state === 'half_open') ?? false
  }

  async #drain(): Promise<void> {
    const { breakers, connectorNamed, inHold } = this.#options
    if (breakers !== undefined && this.#isComingBack() && inHold?.() !== true)
      await drainOutages(breakers(), { ...this.#upkeep(), connectorNamed })
  }

  /** Answers how many credentials came back whose runs are still being let go. */
  async #letGoReturned(): Promise<number> {
    const { connectorNamed, inHold } = this.#options
    return inHold?.() === true ? 0 : drainReturns({ ...this.#upkeep(), connectorNamed })
  }

  /**
   * Looks back to the last look that succeeded, and a little further. The first look goes back to the beginning: for
   * how long no node was up to wake anybody is not known.
   */
  async #wakeMissed(): Promise<void> {
    const now = this.#options.clock.monotonic()
    const lookBackMs = this.#lookedAt === undefined ? EVER_MS : now - this.#lookedAt + LOOK_BACK_MS
    while (await wakeMissed(this.#upkeep(), lookBackMs)) {
      // As long as there may be more.
    }
    this.#lookedAt = now
  }

  /** What is not under way here at two looks is not on its way into or out of here either. */
  async #returnStrays(): Promise<void> {
    const key = (run: ClaimedRef): string => `${run.id} ${run.fence}`
    const claimed = await runsClaimedBy(this.#options.database.pool, this.node)
    const strays = claimed.filter((run) => !this.#under.has(run.id))
    await giveBackStrays(
      strays.filter((run) => this.#strays.has(key(run))),
      this.node,
      this.#upkeep(),
    )
    this.#strays = new Set(strays.map(key))
  }

  #every(what: string, ms: number | (() => number), work: () => Promise<unknown>): void {
    let cancel: () => void = () => {}
    const again = (): void => {
      this.#timers.delete(cancel)
      if (this.#stopping) return
      void this.#inBackground(what, work).then(schedule)
    }
    const schedule = (): void => {
      if (this.#stopping) return
      cancel = this.#options.clock.after(typeof ms === 'number' ? ms : ms(), again)
      this.#timers.add(cancel)
    }
    schedule()
  }

  /** Never rejects: what goes wrong is told. */
  #inBackground(what: string, work: () => Promise<unknown>): Promise<void> {
    const done = work()
      .then(
        () => {},
        (error: unknown) => this.#fault(what, error),
      )
      .finally(() => this.#background.delete(done))
    this.#background.add(done)
    return done
  }

  #fault(what: string, error: unknown): void {
    this.#options.onFault?.(what, error)
  }
}

function distinct(runs: readonly RunRef[]): RunRef[] {
  return [...new Map(runs.map((run) => [`${run.tenant} ${run.id}`, run])).values()]
}
