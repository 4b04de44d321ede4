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
import {
  groupOf,
  WHOLE,
  type GroupHealth,
  type OutageBoard,
  type OutageRef,
  type SharedBreaker,
} from './outages/index.ts'
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
 * The health of providers as the traffic of all nodes shows it, by connection and group of operations: this node's own,
 * and what the board hears of the others where something is wrong. At most `most` connections' worth is kept; of the
 * rest the longest unused is forgotten, and its counts begin anew. Without a board nothing is held back.
 */
export class Breakers {
  readonly #clock: Clock
  readonly #policy: BreakerPolicy
  readonly #board: OutageBoard | undefined
  readonly #health: Bounded<Map<string, Seen>>
  readonly #latencies: Bounded<Latencies>
  /** What the calls of other nodes show, by connection and group. */
  #elsewhere: ReadonlyMap<string, readonly Health[]> = new Map()

  constructor(clock: Clock, policy: BreakerPolicy, most: number, board: OutageBoard | undefined) {
    this.#clock = clock
    this.#policy = policy
    this.#board = board
    this.#health = new Bounded(most)
    this.#latencies = new Bounded(most)
    board?.shareHealth({ tell: () => this.#tell(), hear: (others) => this.#hear(others) })
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
    const { tenant, id: connectionId, connector } = call.connection
    const groups = this.#groupsOf(call.connection)
    const shared = board.breakerOf({ tenant, connectionId, group })
    // Results of calls from before it opened, that come late, say nothing new.
    if (shared !== undefined && shared.breaker.state !== 'half_open') return
    const life = shared?.breaker.state === 'half_open' ? shared.breaker.since : 0
    const known = groups.get(group)
    const before = known?.life === life ? known : undefined
    const after: Seen = {
      tenant,
      connectionId,
      group,
      connector: connector.name,
      life,
      health: counted(before?.health ?? unknownHealth, this.#policy, seen.health, seen.now),
      trouble:
        seen.health === 'success' ? before?.trouble : { ms: seen.ms, code: seen.code, words: seen.words },
    }
    groups.set(group, after)
    this.#conclude(board, after, groups, seen.now)
  }

  /** Opens the breaker where the results of all nodes together say so. One that has just come back is held to its first answers. */
  #conclude(board: OutageBoard, seen: Seen, groups: Map<string, Seen>, now: number): void {
    if (seen.trouble === undefined) return
    const verdict =
      seen.life === 0
        ? verdictOf(seen.health, this.#policy, now, undefined, this.#elsewhere.get(keyOf(seen)))
        : verdictOf(seen.health, this.#policy, now, 1)
    if (verdict === 'healthy') return
    const { tenant, connectionId, group, connector, trouble } = seen
    groups.delete(group)
    board.open({
      tenant,
      connectionId,
      group,
      connector,
      cause: verdict,
      code: verdict === 'slow' ? 'slow' : trouble.code,
      reason:
        verdict === 'slow'
          ? `Answers take much longer than usual, the last one ${Math.round(trouble.ms)} ms.`
          : trouble.words,
      known: this.#known(groups, now),
    })
  }

  // --- with the other nodes -----------------------------------------------------------------------------

  /** What is wrong here, and what this node knows of groups that others told of. */
  #tell(): readonly GroupHealth[] {
    const now = this.#clock.now()
    return this.#all().flatMap(({ seen, groups }) => {
      const shared = this.#board?.breakerOf(seen)
      // It was opened, here or elsewhere: what was counted before that says nothing new afterwards.
      if (shared !== undefined && shared.breaker.state !== 'half_open') {
        groups.delete(seen.group)
        return []
      }
      if (seen.life !== 0) return []
      const { all, succeeded } = totals(seen.health, this.#policy, now)
      const worthTelling = all > succeeded || (all > 0 && this.#elsewhere.has(keyOf(seen)))
      const { tenant, connectionId, group, health } = seen
      return worthTelling ? [{ tenant, connectionId, group, health }] : []
    })
  }

  #hear(others: readonly GroupHealth[]): void {
    const elsewhere = new Map<string, Health[]>()
    for (const one of others) elsewhere.set(keyOf(one), [...(elsewhere.get(keyOf(one)) ?? []), one.health])
    this.#elsewhere = elsewhere
    if (others.length === 0 || this.#board === undefined) return
    const now = this.#clock.now()
    for (const { seen, groups } of this.#all())
      if (this.#elsewhere.has(keyOf(seen)) && this.#board.breakerOf(seen) === undefined)
        this.#conclude(this.#board, seen, groups, now)
  }

  #all(): { readonly seen: Seen; readonly groups: Map<string, Seen> }[] {
    return [...this.#health.all()].flatMap((groups) => [...groups.values()].map((seen) => ({ seen, groups })))
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
interface Seen extends GroupHealth {
  readonly connector: string
  readonly life: number
  /** The last answer that was none, or slow. */
  readonly trouble: Pick<SeenCall, 'ms' | 'code' | 'words'> | undefined
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

function keyOf({
  tenant,
  connectionId,
  group,
}: Pick<GroupHealth, 'tenant' | 'connectionId' | 'group'>): string {
  return `${tenant}|${connectionId}|${group}`
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

  all(): Iterable<Value> {
    return this.#values.values()
  }

  set(key: string, value: Value): void {
    this.#values.delete(key)
    this.#values.set(key, value)
    if (this.#values.size <= this.#most) return
    const [oldest] = this.#values.keys()
    this.#values.delete(oldest!)
  }
}
