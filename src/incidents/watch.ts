import { hostname } from 'node:os'
import { reasonOf, SECOND, settledWithin, type Clock, type Random } from '../base/index.ts'
import { transaction, type Database } from '../db/index.ts'
import { beginReading } from '../ledger/index.ts'
import type { Channel } from './alerts/channel.ts'
import { AwayWatch, recordAway, type WasAway } from './away.ts'
import { claimAlerts, settleAlert, type ClaimedAlert } from './alerts/outbox.ts'
import type { LimitDefinition } from '../define/index.ts'
import { detectors } from './detectors/index.ts'
import type { RoomOf } from './detectors/disk.ts'
import type { Detector } from './detectors/detector.ts'
import { LOOK_EVERY_MS, lookOnce, READER } from './look.ts'

export interface WatchOptions {
  readonly database: Pick<Database, 'pool'>
  readonly clock: Clock
  readonly random: Random
  readonly tenant: string
  readonly channels: readonly Channel[]
  /** The limits of a connector, by its name. */
  readonly limitsOf: (connector: string) => readonly LimitDefinition[]
  /** How much room there is on a disk of this machine. Default: disks are not looked at. */
  readonly roomOf?: RoomOf | undefined
  /** Whether the platform is in hold: what is wrong is noticed, and told when the hold is over. Default: never. */
  readonly inHold?: () => boolean
  readonly onFault?: (what: string, error: unknown) => void
}

/**
 * A node is told of as gone when it has been looked for without a break for this long. When a database was away, every
 * node has been silent for as long; those that live are heard of within a second or two of its return.
 */
const HEARD_OF_WITHIN_MS = 10 * SECOND
/** A look that comes this late is a break: the database was away, or this process stood still. */
const BREAK_MS = 4 * SECOND

/** How long a stop waits for alerts that are being sent; then they are left to another node. */
const STOP_LIMIT_MS = 5 * SECOND
const SENDING_AT_ONCE = 4

/** Looks for what is wrong and tells about it, until stopped. Start once; stop twice safely. */
export class Watch {
  readonly #options: WatchOptions
  readonly #detectors: readonly Detector[]
  readonly #away: AwayWatch
  /** What is still to be written down, the oldest first. */
  readonly #wasAway: WasAway[] = []
  #fault: unknown
  /** By the monotonic clock: since when looks have followed each other without a break, and the last of them. */
  #looked: { readonly since: number; readonly last: number } | undefined
  #cancelCheck: () => void = () => {}
  #stopping = false
  #cancel: () => void = () => {}
  #looking: Promise<void> = Promise.resolve()
  readonly #sending = new Set<Promise<void>>()

  constructor(options: WatchOptions) {
    this.#options = options
    this.#detectors = detectors(options.limitsOf, options.roomOf)
    const { clock, channels } = options
    this.#away = new AwayWatch({ clock, channels, where: `${hostname()} (pid ${process.pid})` })
  }

  /** Resolves once what happens from now on will be noticed. */
  async start(): Promise<void> {
    const { database, tenant, clock } = this.#options
    await beginReading(database.pool, { tenant, name: READER }, clock.now())
    this.#schedule(0)
    this.#check()
  }

  async stop(): Promise<void> {
    this.#stopping = true
    this.#cancel()
    this.#cancelCheck()
    const under = Promise.allSettled([this.#looking, this.#away.settled(), ...this.#sending])
    await settledWithin(this.#options.clock, STOP_LIMIT_MS, under)
  }

  #schedule(ms: number): void {
    if (this.#stopping) return
    this.#cancel = this.#options.clock.after(ms, () => {
      this.#looking = this.#look()
        .then((more) => this.#schedule(more ? 0 : LOOK_EVERY_MS))
        .catch((error: unknown) => {
          this.#fault = error
          this.#looked = undefined
          this.#told('look for incidents', error)
          this.#schedule(LOOK_EVERY_MS)
        })
    })
  }

  async #look(): Promise<boolean> {
    const { database, clock, tenant, channels } = this.#options
    const names = channels.map((channel) => channel.name)
    const looked = await lookOnce({ database, clock, tenant, detectors: this.#lookedFor(), channels: names })
    this.#send()
    await this.#answered(names)
    return looked.as === 'looked' && looked.more
  }

  #lookedFor(): readonly Detector[] {
    const now = this.#options.clock.monotonic()
    const { since, last } = this.#looked ?? { since: now, last: now }
    this.#looked = now - last > BREAK_MS ? { since: now, last: now } : { since, last: now }
    const heard = now - this.#looked.since >= HEARD_OF_WITHIN_MS
    return heard ? this.#detectors : this.#detectors.filter(({ kind }) => kind !== 'node_gone')
  }

  /** Sends what is due, beside the looking, and beside what a mail server that hangs holds up. */
  #send(): void {
    if (this.#sending.size >= SENDING_AT_ONCE || this.#options.inHold?.()) return
    const sending = sendDue(this.#options, () => this.#stopping)
      .then(() => {})
      .catch((error: unknown) => this.#told('send alerts', error))
      .finally(() => this.#sending.delete(sending))
    this.#sending.add(sending)
  }

  /** Beside the looking: a look may wait for a database that never answers. */
  #check(): void {
    if (this.#stopping) return
    if (!this.#options.inHold?.()) this.#away.check(this.#fault)
    this.#cancelCheck = this.#options.clock.after(LOOK_EVERY_MS, () => this.#check())
  }

  async #answered(channels: readonly string[]): Promise<void> {
    const { database, clock, tenant } = this.#options
    this.#fault = undefined
    const was = this.#away.answered()
    if (was) this.#wasAway.push(was)
    for (let one = this.#wasAway[0]; one; one = this.#wasAway[0]) {
      const unwritten = one
      await transaction(database.pool, (client) =>
        recordAway(client, tenant, unwritten, channels, clock.now()),
      )
      this.#wasAway.shift()
    }
  }

  #told(what: string, error: unknown): void {
    this.#options.onFault?.(what, error)
  }
}

type Sending = Pick<WatchOptions, 'database' | 'clock' | 'random' | 'tenant' | 'channels'>

/** Sends the alerts that are due, until none is; gives how many attempts were made. */
export async function sendDue(options: Sending, stopping: () => boolean = () => false): Promise<number> {
  const { database, clock, tenant } = options
  let attempts = 0
  while (!stopping()) {
    const claimed = await claimAlerts(database.pool, tenant, clock.now())
    if (claimed.length === 0) break
    attempts += claimed.length
    await Promise.all(claimed.map((alert) => sendOne(alert, options)))
  }
  return attempts
}

async function sendOne(alert: ClaimedAlert, options: Sending): Promise<void> {
  const channel = options.channels.find(({ name }) => name === alert.channel)
  const told = channel
    ? await channel
        .tell(alert)
        .catch((error: unknown) => ({ as: 'failed', reason: reasonOf(error) }) as const)
    : ({ as: 'refused', reason: `The configuration has no alerts by ${alert.channel} any more.` } as const)
  await settleAlert(options, alert, told)
}
