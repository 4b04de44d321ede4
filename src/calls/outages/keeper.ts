import { newId, SECOND, type Clock } from '../../base/index.ts'
import type { Database } from '../../db/index.ts'
import type { BreakerPolicy } from '../../resilience/index.ts'
import type { CallOutcome } from '../outcome.ts'
import type { CallConnection } from '../request.ts'
import type { OutageBoard } from './board.ts'
import { groupOf, WHOLE } from './group.ts'
import {
  claimProbe,
  openBreaker,
  settleProbe,
  type Probed,
  type SharedBreaker,
  type StoreDeps,
} from './store.ts'

export interface KeeperOptions extends StoreDeps {
  readonly database: Database
  readonly clock: Clock
  readonly policy: BreakerPolicy
  readonly board: OutageBoard
  /** The connection, with its connector as the configuration has it; `undefined` where either is gone. */
  readonly connectionById: (tenant: string, id: string) => Promise<CallConnection | undefined>
  /** Makes the connector's check, whatever its breaker says. `slow`: it took much longer than usual. */
  readonly probe: (
    connection: CallConnection,
  ) => Promise<{ readonly outcome: CallOutcome; readonly slow: boolean }>
  readonly onFault?: (what: string, error: unknown) => void
}

const LOOK_EVERY_MS = SECOND
/** A probe of which nobody tells the outcome in this time is taken as dead with its node. Longer than a call takes. */
const PROBE_LIMIT_MS = 60 * SECOND

/** Probes providers that are away, each by one node at a time. Start once; stop twice safely; stop waits. */
export class OutageKeeper {
  readonly #options: KeeperOptions
  readonly #prober = newId('nod')
  readonly #under = new Map<string, Promise<void>>()
  #cancel: () => void = () => {}
  #stopping = false

  constructor(options: KeeperOptions) {
    this.#options = options
  }

  start(): void {
    this.#schedule()
  }

  async stop(): Promise<void> {
    this.#stopping = true
    this.#cancel()
    await Promise.allSettled(this.#under.values())
  }

  #schedule(): void {
    if (this.#stopping) return
    this.#cancel = this.#options.clock.after(LOOK_EVERY_MS, () => {
      for (const one of this.#options.board.all()) this.#look(one)
      this.#schedule()
    })
  }

  #look(one: SharedBreaker): void {
    const { clock, board, onFault } = this.#options
    const key = `${one.tenant}|${one.connectionId}|${one.group}`
    if (one.breaker.state !== 'open' || one.breaker.until > clock.now() || this.#under.has(key)) return
    // A person wants nothing sent: not to find out whether one group of it is back either.
    if (board.breakerOf({ ...one, group: WHOLE })?.breaker.state === 'isolated') return
    const probing = this.#probe(one)
      .catch((error: unknown) => onFault?.(`probe ${one.connectionId}`, error))
      .finally(() => this.#under.delete(key))
    this.#under.set(key, probing)
  }

  async #probe(one: SharedBreaker): Promise<void> {
    const { database, clock, connectionById, probe, policy, writeEntries } = this.#options
    const claim = { prober: this.#prober, now: clock.now(), forMs: PROBE_LIMIT_MS }
    if (!(await claimProbe(database.pool, one, claim))) return
    const connection = await connectionById(one.tenant, one.connectionId)
    const probed: Omit<Probed, 'prober'> =
      connection === undefined
        ? { result: 'unknown', answer: 'The connection or its connector is not in the configuration.' }
        : await probe(connection).then(({ outcome, slow }) => resultOf(outcome, slow))
    const deps = { writeEntries, now: clock.now() }
    await settleProbe(database, one, { ...probed, prober: this.#prober }, policy, deps)
    if (connection !== undefined && probed.result === 'dead')
      await this.#widen(one, connection, probed.answer)
  }

  /** The check fails, too: where it is of another group than the one that is away, that one is away as well. */
  async #widen(one: SharedBreaker, connection: CallConnection, answer: string): Promise<void> {
    const { database, clock, policy, writeEntries } = this.#options
    const group = groupOf(connection.connector, connection.connector.check.operation)
    if (one.group === WHOLE || group === one.group) return
    const trip = { ...one, group, cause: 'failing', code: 'check_failed', reason: answer } as const
    await openBreaker(database, { ...trip, known: new Set([one.group, group]) }, policy, {
      writeEntries,
      now: clock.now(),
    })
  }
}

/** What the answer to the check says about whether the provider is there; not whether it likes what it was asked. */
function resultOf(outcome: CallOutcome, slow: boolean): Omit<Probed, 'prober'> {
  const exchange = 'exchange' in outcome ? outcome.exchange : undefined
  const answer =
    'reason' in outcome ? outcome.reason : `The provider answered ${exchange?.status ?? ''}`.trim()
  if (outcome.as === 'deferred' || (outcome.as === 'parked' && exchange === undefined))
    return { result: 'unknown', answer }
  const status = exchange?.status
  const dead = status === undefined || (status >= 500 && status !== 501 && status !== 505)
  if (dead) return { result: 'dead', answer }
  return slow
    ? { result: 'dead', answer: `It answered, but slowly: ${exchange?.ms} ms.` }
    : { result: 'alive', answer }
}
