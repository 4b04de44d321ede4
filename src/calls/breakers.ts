import type { Clock } from '../base/index.ts'
import {
  counted,
  measured,
  noLatencies,
  slowFrom,
  timeoutFor,
  totals,
  unknownHealth,
  verdictOf,
  type BreakerPolicy,
  type Health,
  type HealthResult,
  type Latencies,
} from '../resilience/index.ts'
import { groupOf, WHOLE, type OutageBoard, type OutageRef, type SharedBreaker } from './outages/index.ts'
import type { CallRequest } from './request.ts'

/** Whether a call may go out, as far as the provider's health is concerned. */
type Permission =
  | { readonly as: 'permitted'; readonly pass: Pass }
  | { readonly as: 'refused'; readonly outage: OutageRef; readonly reason: string }

/** Told how a permitted call went. */
type Pass = (seen: SeenCall) => void

/** How a call went and how long it took; `words`: the last answer, for people. */
export interface SeenCall {
  readonly health: Exclude<HealthResult, 'slow'>
  readonly ms: number
  /** The most that the operation allows, in milliseconds. */
  readonly boundMs: number
  /** The exchange ran into its time-out. */
  readonly timedOut: boolean
  readonly code: string
  readonly words: string
}

/** A time-out may be shortened where running into it is harmless: what may be repeated, or has a key. */
const HARMLESS = new Set(['natural', 'key'])

/**
 * The health of providers as this node's own traffic shows it, by connection and group of operations, and what the
 * board says that all nodes know. At most `most` connections' worth is kept; of the rest the longest unused is
 * forgotten, and its counts begin anew. Without a board nothing is held back.
 */
export class Breakers {
  readonly #clock: Clock
  readonly #policy: BreakerPolicy
  readonly #board: OutageBoard | undefined
  readonly #health: Bounded<Map<string, Seen>>
  readonly #latencies: Bounded<Latencies>

  constructor(clock: Clock, policy: BreakerPolicy, most: number, board: OutageBoard | undefined) {
    this.#clock = clock
    this.#policy = policy
    this.#board = board
    this.#health = new Bounded(most)
    this.#latencies = new Bounded(most)
  }

  /** Asks for leave to make one attempt. A probe has it always. */
  ask(call: CallRequest): Permission {
    const { connection, operationName } = call
    const group = groupOf(connection.connector, operationName)
    const key = { tenant: connection.tenant, connectionId: connection.id, group }
    const shared = this.#board?.breakerOf(key)
    if (shared !== undefined && call.probe !== true) {
      const reason = refusal(shared, call)
      if (reason !== undefined)
        return {
          as: 'refused',
          outage: { id: shared.outageId, connectionId: connection.id, group: shared.group },
          reason,
        }
    }
    return { as: 'permitted', pass: (seen) => this.#saw(call, group, seen) }
  }

  /** How long the exchange may take: the operation's bound, or less where the provider is usually much faster. */
  timeoutMs(call: CallRequest, boundMs: number): number {
    const kind = call.kind === 'lookup' ? 'natural' : call.operation.idempotency.kind
    if (!HARMLESS.has(kind)) return boundMs
    return timeoutFor(this.#latenciesOf(call), boundMs, this.#clock.now())
  }

  /** Whether an answer that took this long is much slower than usual. */
  isSlow(call: CallRequest, ms: number, boundMs: number): boolean {
    return ms >= slowFrom(this.#latenciesOf(call), boundMs, this.#clock.now())
  }

  #latenciesOf(call: CallRequest): Latencies {
    return this.#latencies.get(latencyKey(call)) ?? noLatencies
  }

  #saw(call: CallRequest, group: string, seen: SeenCall): void {
    const now = this.#clock.now()
    const slow = seen.health === 'success' && this.isSlow(call, seen.ms, seen.boundMs)
    if (seen.health === 'success' || seen.timedOut)
      this.#latencies.set(latencyKey(call), measured(this.#latenciesOf(call), seen.ms, now))
    // What a probe says is for who sent it.
    if (call.probe === true || seen.health === 'neutral' || this.#board === undefined) return
    this.#count(this.#board, call, group, { ...seen, health: slow ? 'slow' : seen.health, now })
  }

  #count(
    board: OutageBoard,
    call: CallRequest,
    group: string,
    seen: Omit<SeenCall, 'health'> & { readonly health: HealthResult; readonly now: number },
  ): void {
    const { connection } = call
    const { now } = seen
    const groups = this.#groupsOf(connection)
    const shared = board.breakerOf({ tenant: connection.tenant, connectionId: connection.id, group })
    // Results of calls from before it opened, that come late, say nothing new.
    if (shared !== undefined && shared.breaker.state !== 'half_open') return
    const life = shared?.breaker.state === 'half_open' ? shared.breaker.since : 0
    const before = groups.get(group)
    const health = counted(
      before?.life === life ? before.health : unknownHealth,
      this.#policy,
      seen.health,
      now,
    )
    groups.set(group, { health, life })
    // One that has just come back is held to its first answers.
    const verdict = verdictOf(health, this.#policy, now, life === 0 ? undefined : 1)
    if (verdict === 'healthy') return
    groups.delete(group)
    board.open({
      tenant: connection.tenant,
      connectionId: connection.id,
      group,
      connector: connection.connector.name,
      cause: verdict,
      code: verdict === 'slow' ? 'slow' : seen.code,
      reason:
        verdict === 'slow'
          ? `Answers take much longer than usual, the last one ${Math.round(seen.ms)} ms.`
          : seen.words,
      known: this.#known(groups, now),
    })
  }

  #known(groups: ReadonlyMap<string, Seen>, now: number): ReadonlySet<string> {
    return new Set(
      [...groups].filter(([, { health }]) => totals(health, this.#policy, now).all > 0).map(([name]) => name),
    )
  }

  #groupsOf(connection: CallRequest['connection']): Map<string, Seen> {
    const key = `${connection.tenant}|${connection.id}`
    const known = this.#health.get(key) ?? new Map<string, Seen>()
    this.#health.set(key, known)
    return known
  }
}

/** Results of a group. `life`: when the provider came back, while it is tried; results from before do not count. */
interface Seen {
  readonly health: Health
  readonly life: number
}

/** Why the call is held back; `undefined`: it is not. */
function refusal({ breaker, backlog, group }: SharedBreaker, call: CallRequest): string | undefined {
  const what =
    group === WHOLE
      ? `Connection "${call.connection.name}"`
      : `"${group}" of connection "${call.connection.name}"`
  switch (breaker.state) {
    case 'isolated':
      return `${what} is held back by hand`
    case 'open':
      return `${what} is away`
    case 'half_open':
      return backlog && call.waited !== true
        ? `${what} is back, and those who wait longer go first`
        : undefined
  }
}

function latencyKey({ connection, operationName, kind }: CallRequest): string {
  return `${connection.tenant}|${connection.id}|${kind}|${operationName}`
}

/** The newest used stands last, the longest unused goes. */
class Bounded<Value> {
  readonly #most: number
  readonly #values = new Map<string, Value>()

  constructor(most: number) {
    this.#most = most
  }

  get(key: string): Value | undefined {
    return this.#values.get(key)
  }

  set(key: string, value: Value): void {
    this.#values.delete(key)
    this.#values.set(key, value)
    if (this.#values.size <= this.#most) return
    const [oldest] = this.#values.keys()
    this.#values.delete(oldest!)
  }
}
