import pg from 'pg'
import { newId, reasonOf, SECOND, type Clock } from '../../base/index.ts'
import type { Database } from '../../db/index.ts'
import { opened, type BreakerPolicy } from '../../resilience/index.ts'
import { WHOLE } from './group.ts'
import { exchangeHealth, type HealthSource } from './health.ts'
import {
  BREAKERS_CHANNEL,
  loadBreakers,
  openBreaker,
  type BreakerKey,
  type SharedBreaker,
  type StoreDeps,
  type Trip,
} from './store.ts'

export interface BoardOptions extends StoreDeps {
  readonly database: Database
  readonly clock: Clock
  readonly policy: BreakerPolicy
  /** Faults of the board's own upkeep; they are retried. */
  readonly onFault?: (what: string, error: unknown) => void
}

/** How often the breakers are read, in case nobody was heard to say that one moved. */
const READ_EVERY_MS = SECOND
const RECONNECT_MS = SECOND

/**
 * What a node knows of the breakers that all nodes share: in memory, so that a call asks no database. It is read when
 * another node says that one moved, and every second; so what a node knows is a second old at most, and while the
 * database is away it is what it was. What this node itself opens holds here at once.
 */
export class OutageBoard {
  readonly #options: BoardOptions
  #breakers: ReadonlyMap<string, SharedBreaker> = new Map()
  /** Opened here and not read back yet. */
  readonly #opening = new Map<string, SharedBreaker>()
  #reading: Promise<void> | undefined
  #again = false
  #stopping = false
  #cancel: () => void = () => {}
  #listener: pg.Client | undefined
  readonly #node = newId('nod')
  #health: HealthSource | undefined

  constructor(options: BoardOptions) {
    this.#options = options
  }

  /** Reads what holds now, and keeps it up to date until {@link stop}. */
  async start(): Promise<void> {
    await this.refresh()
    this.#schedule()
    void this.#listen()
  }

  async stop(): Promise<void> {
    this.#stopping = true
    this.#cancel()
    await this.#listener?.end().catch(() => {})
    await this.#reading?.catch(() => {})
  }

  /** What holds calls of this group back: the breaker of the whole connection before the group's own. */
  breakerOf({ tenant, connectionId, group }: BreakerKey): SharedBreaker | undefined {
    const of = (one: string): SharedBreaker | undefined => {
      const key = keyOf({ tenant, connectionId, group: one })
      return this.#opening.get(key) ?? this.#breakers.get(key)
    }
    const whole = of(WHOLE)
    const own = group === WHOLE ? undefined : of(group)
    // While the whole connection comes back, a group of it may still be held back.
    return own !== undefined && whole?.breaker.state === 'half_open' ? own : (whole ?? own)
  }

  /** Every breaker that is not closed. */
  all(): readonly SharedBreaker[] {
    return [...this.#breakers.values()]
  }

  /** Opens it here at once, and for all nodes as soon as it is written. */
  open(trip: Trip): void {
    const { clock, policy, database, writeEntries } = this.#options
    const key = keyOf(trip)
    if (this.#opening.has(key)) return
    const known = this.#breakers.get(key)
    this.#opening.set(key, {
      ...trip,
      outageId: known?.outageId ?? '',
      breaker: opened(known?.breaker, policy, clock.now()),
      backlog: true,
    })
    openBreaker(database, trip, policy, { writeEntries, now: clock.now() })
      .catch((error: unknown) => this.#fault('open a breaker', error))
      .then(() => this.refresh())
      .catch((error: unknown) => this.#fault('read breakers', error))
      // Where it could not be written, the next failures open it again.
      .finally(() => this.#opening.delete(key))
  }

  /** Every second the others are told what these calls show of providers, and it hears what theirs do. */
  shareHealth(source: HealthSource): void {
    this.#health = source
  }

  async #exchangeHealth(): Promise<void> {
    if (this.#health === undefined) return
    const { database, clock, policy } = this.#options
    const { windowMs } = policy
    const told = this.#health.tell()
    this.#health.hear(
      await exchangeHealth(database.pool, told, { node: this.#node, now: clock.now(), windowMs }),
    )
  }

  /** Reads the breakers. Who asks while they are being read gets what is read after that. */
  refresh(): Promise<void> {
    if (this.#reading) {
      this.#again = true
      return this.#reading
    }
    this.#reading = this.#read().finally(() => {
      this.#reading = undefined
    })
    return this.#reading
  }

  async #read(): Promise<void> {
    do {
      this.#again = false
      const found = await loadBreakers(this.#options.database.pool)
      this.#breakers = new Map(found.map((one) => [keyOf(one), one]))
    } while (this.#again && !this.#stopping)
  }

  #schedule(): void {
    if (this.#stopping) return
    this.#cancel = this.#options.clock.after(READ_EVERY_MS, () => {
      this.refresh()
        .then(() => this.#exchangeHealth())
        .catch((error: unknown) => this.#fault('read breakers', error))
        .finally(() => this.#schedule())
    })
  }

  /** Behind a pooler nobody can be heard; what is read every second is enough then. */
  async #listen(): Promise<void> {
    const { listenUrl, connectTimeoutMs } = this.#options.database
    if (listenUrl === undefined || this.#stopping) return
    const client = new pg.Client({
      connectionString: listenUrl,
      application_name: 'trestle breakers',
      keepAlive: true,
      connectionTimeoutMillis: connectTimeoutMs,
    })
    let over = false
    const again = (): void => {
      if (over || this.#stopping) return
      over = true
      client.end().catch(() => {})
      this.#options.clock.after(RECONNECT_MS, () => void this.#listen())
    }
    client.on('error', again)
    client.on('end', again)
    client.on('notification', () => {
      this.refresh().catch((error: unknown) => this.#fault('read breakers', error))
    })
    this.#listener = client
    try {
      await client.connect()
      await client.query(`listen ${BREAKERS_CHANNEL}`)
    } catch (error) {
      if (!this.#stopping) this.#fault('listen for breakers', reasonOf(error))
      again()
    }
  }

  #fault(what: string, error: unknown): void {
    if (!this.#stopping) this.#options.onFault?.(what, error)
  }
}

function keyOf({ tenant, connectionId, group }: BreakerKey): string {
  return `${tenant}|${connectionId}|${group}`
}
