import { pause, reasonOf, SECOND, type Clock, type Random } from '../base/index.ts'
import type { Database } from '../db/index.ts'
import { beginReading } from '../ledger/index.ts'
import type { Channel } from './alerts/channel.ts'
import { claimAlerts, settleAlert, type ClaimedAlert } from './alerts/outbox.ts'
import { DETECTORS } from './detectors/index.ts'
import { LOOK_EVERY_MS, lookOnce, READER } from './look.ts'

export interface WatchOptions {
  readonly database: Pick<Database, 'pool'>
  readonly clock: Clock
  readonly random: Random
  readonly tenant: string
  readonly channels: readonly Channel[]
  /** Whether the platform is in hold: what is wrong is noticed, and told when the hold is over. Default: never. */
  readonly inHold?: () => boolean
  readonly onFault?: (what: string, error: unknown) => void
}

/** How long a stop waits for alerts that are being sent; then they are left to another node. */
const STOP_LIMIT_MS = 5 * SECOND
const SENDING_AT_ONCE = 4

/** Looks for what is wrong and tells about it, until stopped. Start once; stop twice safely. */
export class Watch {
  readonly #options: WatchOptions
  #stopping = false
  #cancel: () => void = () => {}
  #looking: Promise<void> = Promise.resolve()
  readonly #sending = new Set<Promise<void>>()

  constructor(options: WatchOptions) {
    this.#options = options
  }

  /** Resolves once what happens from now on will be noticed. */
  async start(): Promise<void> {
    const { database, tenant, clock } = this.#options
    await beginReading(database.pool, { tenant, name: READER }, clock.now())
    this.#schedule(0)
  }

  async stop(): Promise<void> {
    this.#stopping = true
    this.#cancel()
    const under = Promise.allSettled([this.#looking, ...this.#sending])
    await Promise.race([under, pause(this.#options.clock, STOP_LIMIT_MS, { keepAlive: true })])
  }

  #schedule(ms: number): void {
    if (this.#stopping) return
    this.#cancel = this.#options.clock.after(ms, () => {
      this.#looking = this.#look()
        .then((more) => this.#schedule(more ? 0 : LOOK_EVERY_MS))
        .catch((error: unknown) => {
          this.#fault('look for incidents', error)
          this.#schedule(LOOK_EVERY_MS)
        })
    })
  }

  async #look(): Promise<boolean> {
    const { database, clock, tenant, channels } = this.#options
    const names = channels.map((channel) => channel.name)
    const looked = await lookOnce({ database, clock, tenant, detectors: DETECTORS, channels: names })
    this.#send()
    return looked.as === 'looked' && looked.more
  }

  /** Sends what is due, beside the looking, and beside what a mail server that hangs holds up. */
  #send(): void {
    if (this.#sending.size >= SENDING_AT_ONCE || this.#options.inHold?.()) return
    const sending = sendDue(this.#options, () => this.#stopping)
      .then(() => {})
      .catch((error: unknown) => this.#fault('send alerts', error))
      .finally(() => this.#sending.delete(sending))
    this.#sending.add(sending)
  }

  #fault(what: string, error: unknown): void {
    this.#options.onFault?.(what, error)
  }
}

/** Sends the alerts that are due, until none is; gives how many attempts were made. */
export async function sendDue(
  options: Omit<WatchOptions, 'onFault'>,
  stopping: () => boolean = () => false,
): Promise<number> {
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

async function sendOne(alert: ClaimedAlert, options: Omit<WatchOptions, 'onFault'>): Promise<void> {
  const channel = options.channels.find(({ name }) => name === alert.channel)
  const told = channel
    ? await channel
        .tell(alert)
        .catch((error: unknown) => ({ as: 'failed', reason: reasonOf(error) }) as const)
    : ({ as: 'refused', reason: `The configuration has no alerts by ${alert.channel} any more.` } as const)
  await settleAlert(options, alert, told)
}
