import { SECOND, type Clock } from '../base/index.ts'
import { openDatabase, type Database } from '../db/index.ts'
import { Lease } from './lease.ts'
import { HEARTBEAT_MS, heartbeat, LEASE_MS, registerNode, signOff } from './nodes.ts'

export interface PresenceOptions {
  readonly database: Database
  readonly clock: Clock
  readonly version: string
  readonly roles: readonly string[]
  /** How long a heartbeat lets this node send requests, in milliseconds. Default 4 s. */
  readonly leaseMs?: number
  /** After each heartbeat that reached the database. */
  readonly onBeat: () => Promise<unknown>
  readonly onFault: (what: string, error: unknown) => void
}

/** This node among the others: its row, its heartbeat, and until when it may be sure that nobody has taken its runs. */
export class Presence {
  readonly #options: PresenceOptions
  /** A connection of its own: a heartbeat must not wait behind ten thousand other statements. */
  readonly #heart: Database
  #node = ''
  /** Of the node's present id: runs that were claimed under an earlier one have lost theirs. */
  #lease: Lease
  #stopped = false
  /** The beat under way, or the last. */
  #beating: Promise<void> = Promise.resolve()
  #cancel: () => void = () => {}

  constructor(options: PresenceOptions) {
    this.#options = options
    this.#lease = this.#newLease()
    this.#heart = openDatabase({
      url: options.database.url,
      max: 1,
      name: 'trestle heartbeat',
      statementTimeoutMs: 4 * SECOND,
    })
  }

  /** This node's id; a new one after it was thought dead. */
  get node(): string {
    return this.#node
  }

  get lease(): Lease {
    return this.#lease
  }

  async register(): Promise<void> {
    const { database, roles, version } = this.#options
    const from = this.#lease.moment()
    this.#node = await registerNode(database.pool, roles, version)
    this.#lease.extend(from)
  }

  /** Beats until the node signs off, also while it stops: others must not take its runs meanwhile. */
  start(): void {
    this.#cancel = this.#options.clock.after(HEARTBEAT_MS, () => {
      this.#beating = this.#beat()
        .catch((error: unknown) => this.#options.onFault('heartbeat', error))
        .finally(() => {
          if (!this.#stopped) this.start()
        })
    })
  }

  /** Nothing more of this node counts. Its runs, if any are left, are others' at once. */
  async signOff(): Promise<void> {
    this.#stopped = true
    this.#cancel()
    this.#lease.end()
    await signOff(this.#options.database.pool, this.#node).catch((error: unknown) =>
      this.#options.onFault('sign off', error),
    )
  }

  /** After {@link signOff}: waits for a beat under way. */
  async close(): Promise<void> {
    await this.#beating
    await this.#heart.close()
  }

  async #beat(): Promise<void> {
    const lease = this.#lease
    const from = lease.moment()
    const isAlive = await heartbeat(this.#heart.pool, this.#node)
    // It signed off meanwhile: it must not begin anew, only to be found dead.
    if (this.#stopped) return
    if (isAlive) {
      lease.extend(from)
    } else {
      // Others took this node for dead and have its runs: what is under way here is fenced. Begin anew.
      lease.end()
      this.#lease = this.#newLease()
      await this.register()
    }
    await this.#options.onBeat()
  }

  #newLease(): Lease {
    return new Lease(this.#options.clock, this.#options.leaseMs ?? LEASE_MS)
  }
}
