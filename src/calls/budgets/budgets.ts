import { codeOf, SECOND, type Clock } from '../../base/index.ts'
import type { LimitDefinition, Priority, ProviderAnswer } from '../../define/index.ts'
import { NO_WANTS } from '../../resilience/index.ts'
import type { CallConnection, CallRequest } from '../request.ts'
import type { BudgetAuthority, Granted, LimitAsk } from './authority.ts'
import { AuthorityTime } from './authorityTime.ts'
import { learnFrom } from './learn.ts'
import { LimitLease, type Taken } from './lease.ts'
import { limitsOf } from './limitsOf.ts'
import { Lines, type Promised } from './lines.ts'
import { Room, type Waiting } from './room.ts'
import { Spending, type Peak, type Spent } from './spending.ts'

/** Leave to make one attempt, or the time to ask again. */
export type BudgetLeave =
  | { readonly as: 'admitted'; readonly ticket: BudgetTicket }
  | {
      readonly as: 'deferred'
      readonly until: number
      readonly code: 'rate_limited' | 'concurrency_reached'
      readonly reason: string
    }

/** Held while an attempt is made. */
export interface BudgetTicket {
  /**
   * Asked right before the first byte is written: whether the call may still leave on what it took; if so, its points
   * count from now. It may not where it was held up for so long that others may have them by now.
   */
  leaves(): boolean
  /** Corrects the budgets by what the answer says of the provider's own counts. */
  learn(answer: ProviderAnswer, retryAt: number | undefined): void
  /** The call is not made after all: its points are free again. */
  notMade(): void
  close(): void
}

export interface BudgetsOptions {
  readonly clock: Clock
  readonly authority: BudgetAuthority
  /** How long a call may wait in memory before it is deferred, in milliseconds. Default 0: not at all. */
  readonly patienceMs?: number
  /** Connections whose leases are in memory. Of the rest the longest unused is forgotten. Default 10,000. */
  readonly maxConnections?: number
  /** Told of what was spent, every few seconds. */
  readonly record?: (spent: readonly Spent[], peaks: readonly Peak[]) => Promise<void>
  /** Told of deferred calls that may come at once, since the pace has risen from what it was when they were deferred. */
  readonly bringForward?: (calls: readonly Promised[]) => Promise<void>
  readonly onFault?: (error: unknown) => void
}

/** One call and what it wants. */
interface Wanting extends Waiting {
  readonly runId: string
  readonly budget: ConnectionBudget
  readonly wants: readonly { readonly lease: LimitLease; readonly points: number }[]
  readonly deferredBefore: boolean
  readonly deadline: number
  settle: (leave: BudgetLeave) => void
}

interface ConnectionBudget {
  readonly connection: CallConnection
  readonly leases: Map<string, LimitLease>
  readonly room: Room<Wanting>
  readonly lines: Lines
  cancelTimer: () => void
}

const MOST_CONNECTIONS = 10_000
/** How often a node asks while it has calls to make. */
const ASK_EVERY_MS = 250
const RECORD_EVERY_MS = 5 * SECOND
/** Calls that wait in memory, on this node: each holds one of the runs that it may execute at once. */
const ROOMS_HOLD = 160
const ROOM_HOLDS = 64
/** A call that cannot wait and finds nothing comes back no sooner than this. */
const SOONEST_MS = 5
/** Points that may be used so soon are waited for, and no others are asked for. */
const SOON_MS = 20
/** After a fault of the authority. */
const FAULT_WAIT_MS = SECOND

/**
 * The budgets of all connections on this node: what it holds of them, who waits for it, and what it asks for. A call
 * that finds what it needs at hand goes at once, without asking anybody. Start once, stop twice safely.
 */
export class Budgets {
  readonly #options: BudgetsOptions
  readonly #patienceMs: number
  readonly #soonMs: number
  readonly #budgets = new Map<string, ConnectionBudget>()
  readonly #spending = new Spending()
  readonly #time: AuthorityTime
  #asking = false
  /** Settles when the question under way is answered. */
  #answered: Promise<unknown> = Promise.resolve()
  #askAgain = false
  #faultyUntil = 0
  #stopped = true
  #cancelTick: () => void = () => {}
  #recordedAt = 0
  #broughtAt = 0

  constructor(options: BudgetsOptions) {
    this.#options = options
    this.#time = new AuthorityTime(options.clock)
    this.#patienceMs = options.patienceMs ?? 0
    this.#soonMs = Math.min(this.#patienceMs, SOON_MS)
  }

  /** Leave for one attempt; a promise where the call waits for it in memory. */
  admit(call: CallRequest): BudgetLeave | Promise<BudgetLeave> {
    const limits = limitsOf(call)
    if (limits.length === 0) return { as: 'admitted', ticket: NO_TICKET }
    const budget = this.#of(call.connection)
    const now = this.#now()
    const wanting = this.#wanting(call, budget, limits, now)
    for (const { lease, points } of wanting.wants) lease.arrived(wanting.priority, points, now)
    if (budget.room.size === 0 && this.#canGo(wanting, now)) return this.#admitted(wanting, now)
    if (wanting.wants.some(({ lease }) => lease.isUrgent(now, this.#soonMs, wanting.priority))) {
      this.#ask(wanting)
      if (!this.#asking && this.#canGo(wanting, this.#now())) return this.#admitted(wanting, this.#now())
    }
    return this.#wait(wanting) ?? this.#deferred(wanting)
  }

  start(): void {
    this.#stopped = false
    this.#tickLater()
  }

  /** Calls that wait are deferred; what is held is given back, as far as the authority can be reached. */
  async stop(): Promise<void> {
    if (this.#stopped) return
    this.#stopped = true
    this.#cancelTick()
    for (const budget of this.#budgets.values()) {
      budget.cancelTimer()
      for (const call of budget.room.calls) this.#giveUp(call)
    }
    await this.#leave().catch((error: unknown) => this.#options.onFault?.(error))
    await this.#record().catch((error: unknown) => this.#options.onFault?.(error))
  }

  // --- who goes ---------------------------------------------------------------------------------------

  #wanting(
    call: CallRequest,
    budget: ConnectionBudget,
    limits: ReturnType<typeof limitsOf>,
    now: number,
  ): Wanting {
    const wants = limits.map(({ limit, points }) => ({ lease: leaseOf(budget, limit), points }))
    return {
      budget,
      wants,
      // A person who tries a connection by hand waits for it.
      priority: call.priority ?? 'interactive',
      flow: call.flow ?? '',
      runId: call.runId,
      cost: Math.max(1, ...wants.map(({ points }) => points)),
      promised: call.promisedAt ?? Number.MAX_SAFE_INTEGER,
      deferredBefore: call.promisedAt !== undefined,
      enteredAt: now,
      deadline: now + this.#patienceMs,
      settle: () => {},
    }
  }

  #canGo({ wants, priority }: Wanting, now: number, inTurn = false): boolean {
    // Whoever was passed over long enough need not wait for its pace either.
    const as = inTurn ? 'interactive' : priority
    return wants.every(({ lease, points }) => lease.lacks(points, as, now) === undefined)
  }

  #admitted(wanting: Wanting, now: number): BudgetLeave {
    const { budget, wants, flow } = wanting
    const spentAt = this.#options.clock.now()
    const took = wants.map(({ lease, points }) => {
      this.#spending.add(budget.connection, lease.limit.name, flow, points, spentAt)
      return { lease, points, taken: lease.take(points, now) }
    })
    let open = true
    let isMade = true
    return {
      as: 'admitted',
      ticket: {
        leaves: () => {
          const at = this.#now()
          return open && took.every(({ lease, taken }) => lease.leaves(taken, at))
        },
        learn: (answer, retryAt) => this.#learn(wanting, took, answer, retryAt),
        notMade: () => {
          isMade = false
        },
        close: () => {
          if (!open) return
          open = false
          for (const { lease, points, taken } of took) {
            if (isMade) lease.ended(taken, this.#now())
            else {
              lease.notMade(taken)
              this.#spending.notMade(budget.connection, lease.limit.name, flow, points, spentAt)
            }
            lease.freed()
          }
          this.#dispatch(budget)
        },
      },
    }
  }

  #learn(
    { budget, flow }: Wanting,
    took: readonly { readonly lease: LimitLease; readonly taken: Taken }[],
    answer: ProviderAnswer,
    retryAt: number | undefined,
  ): void {
    const wall = this.#options.clock.now()
    const now = this.#now()
    for (const { lease, taken } of took) lease.ended(taken, now)
    const limited = learnFrom(answer, {
      took,
      table: budget.connection.connector.limitHeaders ?? [],
      retryAt,
      wall,
      now,
    })
    for (const limit of limited) this.#spending.refused(budget.connection, limit, flow, wall)
    // The others must hear of it before they send more.
    if (limited.length > 0) this.#ask(undefined)
  }

  /** Waits in memory, where there is a place; who should go last makes room. `undefined`: there is none. */
  #wait(wanting: Wanting): Promise<BudgetLeave> | undefined {
    const { budget } = wanting
    if (this.#patienceMs === 0 || this.#stopped) return undefined
    if (!this.#mayGoInTime(wanting)) return undefined
    const promise = new Promise<BudgetLeave>((resolve) => {
      wanting.settle = resolve
    })
    budget.room.enter(wanting)
    if (budget.room.size > this.#placesIn(budget)) {
      const last = budget.room.last()!
      budget.room.leave(last)
      if (last === wanting) return undefined
      last.settle(this.#deferred(last))
    }
    this.#setTimer(budget)
    return promise
  }

  #mayGoInTime({ wants, deadline }: Wanting): boolean {
    return wants.every(({ lease }) => lease.notBefore(this.#now()) <= deadline)
  }

  #placesIn(budget: ConnectionBudget): number {
    let rooms = 0
    for (const { room } of this.#budgets.values()) if (room.size > 0) rooms++
    let pace = 0
    for (const lease of budget.leases.values()) pace = Math.max(pace, lease.paceMs(1, 'ours', this.#now()))
    const inTime = Math.ceil(this.#patienceMs / Math.max(1, pace))
    return Math.max(4, Math.min(ROOM_HOLDS, inTime, Math.floor(ROOMS_HOLD / Math.max(1, rooms))))
  }

  /** Lets go who can, in order. */
  #dispatch(budget: ConnectionBudget): void {
    if (budget.room.size === 0) return
    const now = this.#now()
    for (let gone = true; gone && budget.room.size > 0;) {
      gone = false
      for (const call of budget.room.inOrder()) {
        if (!this.#canGo(call, now, budget.room.isDue(call))) continue
        budget.room.serve(call)
        call.settle(this.#admitted(call, now))
        gone = true
        break
      }
    }
    for (const call of budget.room.calls) if (call.deadline <= now) this.#giveUp(call)
    this.#setTimer(budget)
  }

  #giveUp(call: Wanting): void {
    if (call.budget.room.leave(call)) call.settle(this.#deferred(call))
  }

  #setTimer(budget: ConnectionBudget): void {
    budget.cancelTimer()
    if (budget.room.size === 0) return
    const now = this.#now()
    let next = Number.POSITIVE_INFINITY
    for (const call of budget.room.calls) next = Math.min(next, call.deadline)
    for (const lease of budget.leases.values()) {
      const at = lease.nextAt(now)
      if (at !== undefined) next = Math.min(next, at)
    }
    budget.cancelTimer = this.#options.clock.after(Math.max(0, next - now), () => this.#dispatch(budget))
    if (this.#isUrgent(budget, now)) this.#ask(undefined)
  }

  #isUrgent(budget: ConnectionBudget, now: number): boolean {
    for (const call of budget.room.calls)
      for (const { lease } of call.wants) if (lease.isUrgent(now, this.#soonMs, call.priority)) return true
    return false
  }

  /** Gives a time of its own to a call that cannot go now. */
  #deferred(wanting: Wanting): BudgetLeave {
    const { budget, wants, flow, runId, priority, deferredBefore } = wanting
    const now = this.#now()
    const lacking =
      wants.find(({ lease, points }) => lease.lacks(points, priority, now) !== undefined) ?? wants[0]!
    const of = deferredBefore ? 'ours' : 'allowed'
    // Many flows in line at once would all come back at the whole pace: beyond a few they share it.
    const lines = Math.max(1, budget.lines.waiting(now) / 4)
    let earliest = now + SOONEST_MS + this.#patienceMs / 2
    if (this.#faultyUntil > now) earliest = Math.max(earliest, now + FAULT_WAIT_MS)
    let paceMs = 0
    for (const { lease, points } of wants) {
      earliest = Math.max(earliest, lease.notBefore(now))
      paceMs = Math.max(paceMs, lease.paceMs(points, of, now))
    }
    const { until } = budget.lines.turn(
      `${priority} ${flow}`,
      { earliest, paceMs: paceMs * lines, again: deferredBefore },
      (at) => ({
        tenant: budget.connection.tenant,
        runId,
        until: Math.ceil(this.#options.clock.now() + (at - now)),
      }),
    )
    const places = lacking.lease.lacks(lacking.points, priority, now) === 'places'
    return {
      as: 'deferred',
      until,
      code: places ? 'concurrency_reached' : 'rate_limited',
      reason: `The limit "${lacking.lease.limit.name}" of connection "${budget.connection.name}" is used up.`,
    }
  }

  // --- asking -----------------------------------------------------------------------------------------

  #tickLater(): void {
    this.#cancelTick = this.#options.clock.after(ASK_EVERY_MS, () => {
      if (this.#stopped) return
      this.#ask(undefined)
      if (this.#options.clock.monotonic() - this.#recordedAt >= RECORD_EVERY_MS) {
        this.#recordedAt = this.#options.clock.monotonic()
        this.#record().catch((error: unknown) => this.#options.onFault?.(error))
      }
      if (this.#options.clock.monotonic() - this.#broughtAt >= SECOND) {
        this.#broughtAt = this.#options.clock.monotonic()
        this.#bringForward().catch((error: unknown) => this.#options.onFault?.(error))
      }
      this.#tickLater()
    })
  }

  /**
   * Those who were deferred while the pace was slow have times that are too late when it has risen. Each second as many
   * of them are told to come as the pace of now has room for.
   */
  async #bringForward(): Promise<void> {
    if (this.#options.bringForward === undefined) return
    const now = this.#now()
    const early = [...this.#budgets.values()].flatMap(({ leases, lines }) => {
      const paces = [...leases.values()].map((lease) =>
        lease.notBefore(now) > now + SECOND ? Number.POSITIVE_INFINITY : lease.paceMs(1, 'ours', now),
      )
      return lines.early(now, SECOND / Math.max(1, ...paces))
    })
    if (early.length > 0) await this.#options.bringForward(early)
  }

  /** Gives everything back that this node holds. */
  async #leave(): Promise<void> {
    await this.#answered
    const asks = [...this.#budgets.values()].flatMap(({ connection, leases }) =>
      [...leases.values()].map((lease) => lease.leave(connection, this.#now())),
    )
    if (asks.length > 0) await this.#options.authority.exchange(asks)
  }

  async #record(): Promise<void> {
    const spent = this.#spending.taken()
    const peaks = [...this.#budgets.values()].flatMap(({ connection, leases }) =>
      [...leases.values()].flatMap((lease): Peak[] => {
        const peak = lease.takePeak()
        const { tenant, id } = connection
        return peak > 0 ? [{ tenant, connectionId: id, limit: lease.limit.name, peak }] : []
      }),
    )
    if (spent.length + peaks.length > 0) await this.#options.record?.(spent, peaks)
  }

  /** Asks for everything that is active, and for the call that finds nothing; one question at a time. */
  #ask(forCall: Wanting | undefined): void {
    if (this.#asking) {
      this.#askAgain = true
      return
    }
    const now = this.#now()
    if (now < this.#faultyUntil) return
    const asked: { budget: ConnectionBudget; lease: LimitLease; ask: LimitAsk }[] = []
    for (const budget of this.#budgets.values())
      for (const lease of budget.leases.values())
        if (lease.isActive(now)) asked.push({ budget, lease, ask: this.#askOf(budget, lease, forCall, now) })
    if (asked.length === 0) return
    const began = this.#options.clock.monotonic()
    let answer: Granted | Promise<Granted>
    try {
      answer = this.#options.authority.exchange(asked.map(({ ask }) => ask))
    } catch (error) {
      return this.#fault(error)
    }
    if (!(answer instanceof Promise)) return this.#take(answer, asked, began)
    this.#asking = true
    this.#answered = answer.then(
      (granted) => {
        this.#asking = false
        this.#take(granted, asked, began)
        const again = this.#askAgain
        this.#askAgain = false
        if (again && !this.#stopped) for (const budget of this.#budgets.values()) this.#setTimer(budget)
      },
      (error: unknown) => {
        this.#asking = false
        this.#askAgain = false
        this.#fault(error)
      },
    )
  }

  #askOf(budget: ConnectionBudget, lease: LimitLease, forCall: Wanting | undefined, now: number): LimitAsk {
    const waiting: Record<Priority, number> = { ...NO_WANTS }
    let calls = 0
    const count = (call: Wanting): void => {
      const points = call.wants.find((want) => want.lease === lease)?.points
      if (points === undefined) return
      waiting[call.priority] += points
      calls++
    }
    for (const call of budget.room.calls) count(call)
    if (forCall?.budget === budget) count(forCall)
    const { tenant, id } = budget.connection
    return { tenant, connectionId: id, limit: lease.limit, ask: lease.ask(waiting, calls, now) }
  }

  #take(
    granted: Granted,
    asked: readonly { budget: ConnectionBudget; lease: LimitLease; ask: LimitAsk }[],
    began: number,
  ): void {
    const ended = this.#options.clock.monotonic()
    const wasSet = granted.filter(({ now }) => this.#time.read(now, began, ended)).length > 0
    const now = this.#now()
    for (const { leases } of this.#budgets.values())
      for (const lease of leases.values()) {
        if (wasSet) lease.startAnew(now)
        lease.isSureWithin(this.#time.errorMs)
      }
    // What was granted by the time before is as good as lost.
    for (const [i, { lease, ask }] of wasSet ? [] : asked.entries())
      lease.granted(granted[i]!.grant, ask.ask, now, granted[i]!.now)
    for (const budget of new Set(asked.map((one) => one.budget))) this.#dispatch(budget)
  }

  #fault(error: unknown): void {
    // Where others were only quicker, a moment is enough.
    const contended = codeOf(error, '') === 'budget_contended'
    this.#faultyUntil = this.#now() + (contended ? ASK_EVERY_MS / 2 : FAULT_WAIT_MS)
    this.#options.onFault?.(error)
    for (const budget of this.#budgets.values()) this.#setTimer(budget)
  }

  /** The authority's time, as far as it is known. */
  #now(): number {
    return this.#time.now()
  }

  // --- connections ------------------------------------------------------------------------------------

  #of(connection: CallConnection): ConnectionBudget {
    const key = `${connection.tenant}|${connection.id}`
    let budget = this.#budgets.get(key)
    if (budget === undefined) {
      budget = { connection, leases: new Map(), room: new Room(), lines: new Lines(), cancelTimer: () => {} }
    } else {
      this.#budgets.delete(key)
    }
    this.#budgets.set(key, budget)
    if (this.#budgets.size > (this.#options.maxConnections ?? MOST_CONNECTIONS)) this.#forgetOne()
    return budget
  }

  #forgetOne(): void {
    for (const [key, budget] of this.#budgets) {
      if (budget.room.size > 0) continue
      this.#budgets.delete(key)
      return
    }
  }
}

function leaseOf(budget: ConnectionBudget, limit: LimitDefinition): LimitLease {
  let lease = budget.leases.get(limit.name)
  if (lease === undefined || !allowsAlike(lease.limit, limit)) {
    lease = new LimitLease(limit)
    budget.leases.set(limit.name, lease)
  }
  return lease
}

/** A connector that is loaded twice has limits of its own each time; they are the same ones. */
function allowsAlike(one: LimitDefinition, other: LimitDefinition): boolean {
  return (
    one === other ||
    (one.allowed === other.allowed &&
      one.windowMs === other.windowMs &&
      one.concurrency === other.concurrency)
  )
}

const NO_TICKET: BudgetTicket = { leaves: () => true, learn: () => {}, notMade: () => {}, close: () => {} }
