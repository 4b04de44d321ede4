import { codeOf, reasonOf, SECOND, settledWithin, type Clock, type Random } from '../base/index.ts'
import type { CallConnection, CallOutcome, CallRequest } from '../calls/index.ts'
import { asUnavailable, type Database, type Queryable } from '../db/index.ts'
import type { AnyConnector } from '../define/index.ts'
import type { Inbox } from '../inbox/index.ts'
import type { LedgerEntry } from '../ledger/index.ts'
import type { Declared, DeclaredCron, DeclaredPoll } from './declared.ts'
import { fireDue } from './fire.ts'
import { createOccurrences, type Occurrences } from './occurrences.ts'
import { pollDue } from './poll.ts'
import { syncSchedules } from './sync.ts'

/** What firing and polling need. */
export interface ScheduleDeps {
  readonly database: Database
  readonly clock: Clock
  readonly random: Random
  readonly tenant: string
  /** Of the configuration, with the events of schedules and polls. */
  readonly connectorNamed: (name: string) => AnyConnector | undefined
  /** The connection that a poll asks over: the one named, else the connector's only one. */
  readonly connectionFor: (
    tenant: string,
    connector: AnyConnector,
    name: string | undefined,
  ) => Promise<CallConnection>
  readonly call: (request: CallRequest) => Promise<CallOutcome>
  readonly acceptWithin: Inbox['acceptWithin']
  readonly writeEntries: (client: Queryable, entries: readonly LedgerEntry[]) => Promise<void>
}

export interface SchedulerOptions extends ScheduleDeps {
  readonly declared: ReadonlyMap<string, Declared>
  /** This node's id, under which polls are claimed; another one after the node was thought dead. */
  readonly node: () => string
  /**
   * Whether a time has come only when the database's clock says so too. A node whose clock jumps ahead then fires
   * nothing early, and a database whose clock does fires nothing early either. Off where a test moves the time.
   */
  readonly trustsOnlyBoth: boolean
  /** In a hold nothing is fired and nothing is asked; what comes due meanwhile was missed. Default: never. */
  readonly inHold?: () => boolean
  /** Faults of this folder's own work: they are tried again at the next look. */
  readonly onFault?: (what: string, error: unknown) => void
}

/** How often the node looks what is due. */
export const LOOK_EVERY_MS = SECOND
/** Polls that a node has under way at once; further ones wait for the next look. */
export const POLLS_AT_ONCE = 8
/** Rows that one look takes. */
const DUE_AT_ONCE = 200
const STOP_LIMIT_MS = 10 * SECOND

/** Fires schedules and polls lists on this node. Start once; stop twice safely; stop waits for what is under way. */
export class Scheduler {
  readonly #options: SchedulerOptions
  readonly #occurrences = new Map<string, Occurrences>()
  readonly #polls = new Map<string, Promise<void>>()
  #look: Promise<void> = Promise.resolve()
  #cancel: () => void = () => {}
  #stopping = false

  constructor(options: SchedulerOptions) {
    this.#options = options
  }

  /** Brings the rows to what the code declares, then looks every second what is due. */
  async start(): Promise<void> {
    await syncSchedules(this.#options)
    if (this.#options.declared.size > 0) this.#again()
  }

  async stop(): Promise<void> {
    this.#stopping = true
    this.#cancel()
    const under = Promise.allSettled([this.#look, ...this.#polls.values()])
    await settledWithin(this.#options.clock, STOP_LIMIT_MS, under)
  }

  #again(): void {
    if (this.#stopping) return
    this.#cancel = this.#options.clock.after(LOOK_EVERY_MS, () => {
      this.#look = this.lookOnce()
        .catch((error: unknown) => this.#fault('look for schedules that are due', error))
        .finally(() => this.#again())
    })
  }

  /** Fires what is due and begins the polls that are; resolves when the schedules are fired. */
  async lookOnce(): Promise<void> {
    if (this.#options.inHold?.() === true) return
    for (const { one, now } of await this.#due()) {
      if (this.#stopping) return
      if (one.kind === 'poll') this.#poll(one)
      else await this.#fire(one, now)
    }
  }

  /** Resolves when no poll is under way here. */
  async pollsDone(): Promise<void> {
    await Promise.allSettled(this.#polls.values())
  }

  async #due(): Promise<readonly { readonly one: Declared; readonly now: number }[]> {
    const { database, clock, tenant, declared, trustsOnlyBoth } = this.#options
    const own = clock.now()
    const { rows } = await database.pool.query<{ name: string; declaration: string; database_now: Date }>({
      name: 'schedules_due',
      text: `select name, declaration, clock_timestamp() as database_now from schedules
        where tenant = $1 and state = 'active' and due_at <= $2 and name = any($3)
        order by due_at limit ${DUE_AT_ONCE}`,
      values: [tenant, new Date(own), [...declared.keys()]],
    })
    return rows.flatMap(({ name, declaration, database_now: theirs }) => {
      const one = declared.get(name)
      const now = trustsOnlyBoth ? Math.min(own, theirs.getTime()) : own
      return one?.declaration === declaration ? [{ one, now }] : []
    })
  }

  async #fire(one: DeclaredCron, now: number): Promise<void> {
    try {
      while (!this.#stopping && (await fireDue(one, this.#occurrencesOf(one), now, this.#options))) {
        // More of its times have passed than one transaction takes.
      }
    } catch (error) {
      this.#fault(`fire the schedule ${one.name}`, error)
      if (!asUnavailable(error)) await this.#note(one, error)
    }
  }

  /** What keeps a schedule from firing is on its row, for those who look; it is tried again at the next look. */
  async #note({ name, declaration }: DeclaredCron, error: unknown): Promise<void> {
    const { database, clock, tenant } = this.#options
    await database.pool
      .query(
        `update schedules set failures = failures + 1, error_code = $4, error = $5, failed_at = $6, updated_at = now()
         where tenant = $1 and name = $2 and declaration = $3 and state = 'active'`,
        [tenant, name, declaration, codeOf(error, 'firing_faulted'), reasonOf(error), new Date(clock.now())],
      )
      .catch((fault: unknown) => this.#fault(`note why ${name} did not fire`, fault))
  }

  #occurrencesOf({ declaration, trigger }: DeclaredCron): Occurrences {
    const known = this.#occurrences.get(declaration) ?? createOccurrences(trigger.expression, trigger.zone)
    this.#occurrences.set(declaration, known)
    return known
  }

  #poll(one: DeclaredPoll): void {
    if (this.#polls.has(one.name) || this.#polls.size >= POLLS_AT_ONCE) return
    const done = pollDue(one, {
      ...this.#options,
      node: this.#options.node(),
      stopping: () => this.#stopping,
    })
      .catch((error: unknown) => this.#fault(`poll for ${one.name}`, error))
      .finally(() => this.#polls.delete(one.name))
    this.#polls.set(one.name, done)
  }

  #fault(what: string, error: unknown): void {
    this.#options.onFault?.(`${what}: ${reasonOf(error)}`, error)
  }
}
