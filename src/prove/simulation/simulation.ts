import { AsyncLocalStorage } from 'node:async_hooks'
import { encodeJson, MINUTE, pause, SECOND, systemClock, turn } from '../../base/index.ts'
import type { CallOutcome, CallRequest } from '../../calls/index.ts'
import type { Config } from '../../define/index.ts'
import { createEgress, type Egress, type EgressRequest, type EgressResult } from '../../egress/index.ts'
import type { Database } from '../../db/index.ts'
import { DEAD_AFTER_MS } from '../../flows/index.ts'
import type { SeenEffect, StandIn, TwinFault } from '../standIn.ts'
import { setDatabaseClock } from './databaseClock.ts'
import { MARK } from './databaseLine.ts'
import { Gate } from './gate.ts'
import { NO_STAND_IN, SimulatedNode, type NodeOptions } from './node.ts'
import { PostOffice } from './postOffice.ts'
import { provenConfig } from './provenConfig.ts'
import { readOrigins, readStanding, type Standing } from './readings.ts'
import type { SimulatedClock } from './simulatedClock.ts'

/** One call of a run on its way. */
export interface Ticket {
  readonly owner: SimulatedNode
  readonly run: string
  readonly connection: string
  readonly operation: string
  readonly step: string
  readonly attempt: number
  readonly kind: 'send' | 'lookup'
  readonly request: CallRequest
}

/** What a drill does to single calls. */
export interface Interference {
  /** What goes wrong with this exchange; it is armed at the twin right before the request leaves. */
  readonly faultFor?: (ticket: Ticket, connection: string) => TwinFault | undefined
  /** Whether the node dies now that the provider has acted, before it hears of the outcome. */
  readonly diesAfter?: (ticket: Ticket, effects: readonly SeenEffect[]) => boolean
  /** Told of every answer, for drills that need to know what a good one looks like. */
  readonly onAnswer?: (ticket: Ticket, result: EgressResult) => void
}

export interface SimulationOptions {
  readonly config: Config
  readonly clock: SimulatedClock
  readonly standIns: ReadonlyMap<string, StandIn>
  readonly database: Database
  readonly folder: string
  readonly seed: string
  readonly masterKey: string
  readonly version: string
  readonly interference?: Interference
  /** Asked now and then: throws to end the proof early, as Ctrl-C does. */
  readonly checkStopped: () => void
  /** Changes what a node is given: for controls that take a protection away. */
  readonly nodeOptions?: ((options: NodeOptions) => NodeOptions) | undefined
}

/** Turns of the event loop in which nothing is under way, until nothing will come. */
const CALM_TURNS = 12
/** The same where a run is in its flow's code, which gets its results one a turn. */
const CALM_TURNS_IN_CODE = 500
/** Says in a twin's log which exchange a request was: several may be on their way to it at once. */
const EXCHANGE_HEADER = 'trestle-exchange'
/** First steps while something is under way; they double up to a second. */
const SHORTEST_STEP_MS = 100
const LONGEST_LEAP_MS = 30 * MINUTE

/**
 * The platform, whole, on a simulated clock: nodes on a real database, real HTTP to twins on this machine, and time
 * that moves only when nothing is left to do at the present moment. The same seed gives the same history.
 */
export class Simulation {
  readonly #options: SimulationOptions
  readonly #gate = new Gate<Ticket>()
  readonly #tracing = new AsyncLocalStorage<Ticket>()
  readonly #egress: Egress = createEgress({ clock: systemClock })
  readonly #nodes: SimulatedNode[] = []
  readonly #labels = new Map<string, string>()
  readonly #exchanges: { connection: string; from: number; ticket: Ticket | undefined; over: boolean }[] = []
  /** Calls that were let out and are in no exchange: they are unsealing a secret, say, or wait for a budget. */
  readonly #onTheirWay = new Set<Ticket>()
  readonly #frozen = new Map<SimulatedNode, (() => void)[]>()
  readonly #faults: string[] = []
  readonly #callsOf = new Map<string, number>()
  readonly post: PostOffice
  #leapMs = SECOND
  #stepMs = SHORTEST_STEP_MS
  #died = 0
  /** A node is about to die, once all else is at rest. */
  #dying = false
  /** Nodes that had died live beside the others. */
  #revived = false
  #marks = 0
  #askedAtRest = -1

  constructor(options: SimulationOptions) {
    this.#options = options
    this.post = new PostOffice(this.#egress, () => this.node.url)
  }

  /** The node that lives. */
  get node(): SimulatedNode {
    return this.#nodes.findLast((node) => !node.dead) ?? this.#nodes.at(-1)!
  }

  get clock(): SimulatedClock {
    return this.#options.clock
  }

  /** Faults that nodes reported. */
  get faults(): readonly string[] {
    return this.#faults
  }

  /** Nodes that have died. */
  get died(): number {
    return this.#died
  }

  async start(): Promise<void> {
    const url = await this.post.open()
    await setDatabaseClock(this.#options.database.pool, this.clock.now())
    await this.#startNode()
    for (const [name, standIn] of this.#options.standIns) {
      const { endpoint } = this.#options.config.connections[name]!
      standIn.sendWebhooksTo(`${url}/webhooks/${endpoint ?? name}`)
    }
    await this.#quiet()
  }

  async #startNode(): Promise<void> {
    const { config, standIns, database, folder, seed, masterKey, version } = this.#options
    const options: NodeOptions = {
      name: `node ${this.#nodes.length + 1}`,
      config: provenConfig(config, standIns, this.post.url),
      databaseUrl: database.url,
      folder,
      clock: this.clock,
      seed,
      masterKey,
      version,
      around: (node, request, call) => this.#around(node, request, call),
      send: (request, send) => this.#send(request, send),
      onFault: (what, error) => void this.#faults.push(`${what}: ${String(error)}`),
    }
    this.#nodes.push(await SimulatedNode.start(this.#options.nodeOptions?.(options) ?? options))
  }

  // --- calls ------------------------------------------------------------------------------------------

  async #around(
    node: SimulatedNode,
    request: CallRequest,
    call: () => Promise<CallOutcome>,
  ): Promise<CallOutcome> {
    const ticket: Ticket = {
      owner: node,
      run: request.runId,
      connection: request.connection.name,
      operation: request.operationName,
      step: request.stepName,
      attempt: request.attempt,
      kind: request.kind,
      request,
    }
    await this.#gate.wait(ticket)
    if (node.dead) await node.revived
    this.#onTheirWay.add(ticket)
    const outcome = await this.#tracing.run(ticket, call).finally(() => this.#onTheirWay.delete(ticket))
    // What it heard as it died, it has not heard.
    if (node.dead) await node.revived
    return outcome
  }

  /** Every exchange of the platform with a provider, also those that no run asked for. */
  async #send(
    request: EgressRequest,
    send: (request: EgressRequest) => Promise<EgressResult>,
  ): Promise<EgressResult> {
    const ticket = this.#tracing.getStore()
    const connection = this.#connectionAt(request.url)
    const standIn = connection === undefined ? undefined : this.#options.standIns.get(connection)
    if (connection === undefined || !standIn)
      return { as: 'not_sent', code: 'egress_denied', reason: NO_STAND_IN }
    const { twin } = standIn
    const { faultFor, diesAfter, onAnswer } = this.#options.interference ?? {}
    const fault = ticket && faultFor?.(ticket, connection)
    if (fault) twin.faults.arm(1, fault)
    const exchange = { connection, from: twin.requestCount(), ticket, over: false }
    const effectsBefore = twin.effects().length
    this.#exchanges.push(exchange)
    this.#callsOf.set(connection, (this.#callsOf.get(connection) ?? 0) + 1)
    if (ticket) this.#onTheirWay.delete(ticket)
    const result = await send(marked(request, this.#exchanges.length))
    exchange.over = true
    if (ticket) {
      this.#onTheirWay.add(ticket)
      onAnswer?.(ticket, result)
      const effects = twin.effects().slice(effectsBefore)
      if (!ticket.owner.dead && diesAfter?.(ticket, effects)) await this.#killAtRest(ticket.owner)
    }
    return result
  }

  #connectionAt(url: string): string | undefined {
    for (const [name, { connection }] of this.#options.standIns)
      if (connection.baseUrl !== undefined && url.startsWith(connection.baseUrl)) return name
    return undefined
  }

  /** Whose call caused an effect: the name of its run, and its step. */
  causeOf(
    connection: string,
    effect: SeenEffect,
  ): { readonly run: string; readonly step: string; readonly natural: boolean } | undefined {
    if (effect.request === 0) return undefined
    const ticket = this.#ticketOf(connection, effect.request)
    return (
      ticket && {
        run: this.nameOf(ticket.run),
        step: ticket.step,
        natural: ticket.request.operation.idempotency.kind === 'natural',
      }
    )
  }

  /** Whose call a request was. */
  callOf(
    connection: string,
    request: number,
  ): { readonly run: string | undefined; readonly step: string | undefined } {
    const ticket = this.#ticketOf(connection, request)
    return { run: ticket && this.nameOf(ticket.run), step: ticket?.step }
  }

  #ticketOf(connection: string, request: number): Ticket | undefined {
    const { twin } = this.#options.standIns.get(connection)!
    const exchange = twin.requests().find(({ number }) => number === request)?.headers[EXCHANGE_HEADER]
    return this.#exchanges[Number(exchange) - 1]?.ticket
  }

  /** A run's name, made of its flow and of what happened; the same in every simulation of the same script. */
  nameOf(run: string): string {
    return this.#labels.get(run) ?? 'a run'
  }

  /** Exchanges with the provider behind a connection. */
  callsTo(connection: string): number {
    return this.#callsOf.get(connection) ?? 0
  }

  // --- death ------------------------------------------------------------------------------------------

  /** Everything else is done first: what is under way when a node dies would depend on this machine. */
  async #killAtRest(node: SimulatedNode): Promise<void> {
    this.#dying = true
    await this.#quiet(CALM_TURNS, 'dying')
    this.#kill(node)
    this.#dying = false
  }

  #kill(node: SimulatedNode): void {
    node.die()
    this.#died++
    this.#frozen.set(node, this.#gate.takeAway(node))
  }

  /** Those that died go on where they stopped, when others have done their work long ago. */
  async reviveTheDead(): Promise<void> {
    const frozen = [...this.#frozen]
    this.#frozen.clear()
    this.#revived ||= frozen.length > 0
    for (const [node, open] of frozen) {
      node.revive()
      for (const one of open) one()
      await this.#quiet()
    }
    await this.#leap(SECOND)
    await this.#quiet()
  }

  // --- time -------------------------------------------------------------------------------------------

  /** Resolves when what twins have just sent was taken. Calls wait meanwhile. */
  async settleMail(): Promise<void> {
    await this.#quiet()
  }

  /** Does what is to be done at the present moment, and nothing more. */
  async work(): Promise<void> {
    for (;;) {
      await this.#quiet()
      if (this.node.dead) await this.#startNode()
      else if (!(await this.#letOne())) return
    }
  }

  /** Goes on until this moment, in milliseconds since the beginning; `done` ends it earlier. */
  async runTo(untilMs: number, done?: (standing: Standing) => boolean): Promise<void> {
    this.#leapMs = SECOND
    for (;;) {
      this.#options.checkStopped()
      await this.work()
      const standing = await this.#standing()
      if (done?.(standing) || this.clock.elapsed >= untilMs) return
      await this.#leap(Math.min(this.#nextMoment(standing), untilMs - this.clock.elapsed))
    }
  }

  /** How far to move the clock: exactly to what is due next, and by upkeep's steps where that is unknown. */
  #nextMoment(standing: Standing): number {
    const { elapsed } = this.clock
    const until = (due: number | undefined): number => (due === undefined ? Infinity : due - elapsed)
    const { claimed, claimable, overdue, probing } = standing
    // A probe may wait for its turn: were time to leap over that, it would never be made.
    if (claimed + claimable + overdue + probing > 0 || this.#isUnderWay()) {
      const step = this.#stepMs
      this.#stepMs = Math.min(step * 2, SECOND)
      this.#leapMs = SECOND
      // Not to the next of the nodes' own timers: when those were armed depends on this machine.
      return step
    }
    const exact = Math.min(
      until(this.clock.nextDue()),
      (standing.dueAt ?? Infinity) - this.clock.now(),
      // Where nothing has happened for long, probes are made once in every leap.
      this.#leapMs < LONGEST_LEAP_MS ? (standing.nextProbe ?? Infinity) - this.clock.now() : Infinity,
    )
    // Of several nodes, one that is silent for longer than a heartbeat may be is taken for dead.
    const longest = this.#revived ? DEAD_AFTER_MS - SECOND : LONGEST_LEAP_MS
    this.#leapMs = Math.min(this.#leapMs * 2, longest)
    return Math.max(1, Math.min(exact, this.#leapMs))
  }

  async #leap(length: number): Promise<void> {
    const ms = Math.ceil(length)
    await setDatabaseClock(this.#options.database.pool, this.clock.now() + ms)
    const moment = this.clock.elapsed + ms
    if (!this.#revived) return this.clock.moveTo(moment)
    // Who of several nodes comes first would depend on this machine.
    for (const owner of ['providers', ...this.#nodes.map(({ name }) => name)]) {
      this.clock.moveTo(moment, owner)
      await this.#quiet()
    }
  }

  async #standing(): Promise<Standing> {
    const { pool } = this.#options.database
    for (let calmTurns = CALM_TURNS; ; calmTurns = CALM_TURNS_IN_CODE) {
      await this.#quiet(calmTurns)
      if (this.#gate.tickets.length > 0) await this.work()
      const standing = await readStanding(pool, this.clock.now())
      // What a node has claimed, and is neither at the gate nor out, waits for the clock or is in its code.
      if (standing.claimed <= this.#runsUnderWay() || calmTurns === CALM_TURNS_IN_CODE) return standing
    }
  }

  async #letOne(): Promise<boolean> {
    await this.#learnNames()
    const opened = this.#gate.openFirst((ticket) => this.#keyOf(ticket))
    if (opened) {
      this.#leapMs = SECOND
      this.#stepMs = SHORTEST_STEP_MS
    }
    return opened
  }

  #keyOf({ run, step, attempt, operation, request }: Ticket): string {
    return [
      this.nameOf(run),
      step,
      String(attempt).padStart(6, '0'),
      operation,
      encodeJson(request.input),
    ].join('\n')
  }

  /** Names runs that were not seen before. */
  async #learnNames(): Promise<void> {
    const unknown = this.#gate.tickets.map(({ run }) => run).filter((run) => !this.#labels.has(run))
    await this.learn(unknown)
  }

  async learn(runs: readonly string[]): Promise<void> {
    if (runs.length === 0) return
    const mail = this.post.mail()
    for (const origin of await readOrigins(this.#options.database.pool, [...new Set(runs)])) {
      const sent = mail.find((one) => one.body.equals(origin.body))
      const place = /\d/.test(origin.dataAt) ? ` at ${origin.dataAt}` : ''
      const cause = sent?.happening ?? `${origin.connection} ${origin.type}, in consequence`
      this.#labels.set(origin.id, `${origin.flow} ← ${cause}${place}`)
    }
  }

  // --- rest -------------------------------------------------------------------------------------------

  /** Resolves when nothing goes on but what waits for the clock or at the gate. */
  async #quiet(calmTurns = CALM_TURNS, of: 'all' | 'dying' = 'all'): Promise<void> {
    for (;;) {
      await this.#calm(calmTurns, of)
      const asked = this.#asked()
      if (asked === this.#askedAtRest) return
      // What was committed since may have told somebody, who has not heard of it yet.
      await this.#hear()
      await this.#calm(calmTurns, of)
      if (this.#asked() === asked) this.#askedAtRest = asked
    }
  }

  /** Questions that nodes have asked the database so far. */
  #asked(): number {
    return this.#nodes.reduce((sum, { line }) => sum + line.asked, 0)
  }

  /** Resolves when the living have heard of all that was committed. */
  async #hear(): Promise<void> {
    const mark = `${MARK}${++this.#marks}`
    const lines = this.#nodes.filter(({ dead }) => !dead).map(({ line }) => line)
    const channels = new Set(lines.flatMap((line) => line.channels))
    const heard = lines.map((line) => line.heard(mark))
    await this.#options.database.pool.query(
      'select pg_notify(channel, $2) from unnest($1::text[]) as channel',
      [[...channels], mark],
    )
    await Promise.all(heard)
  }

  async #calm(turns: number, of: 'all' | 'dying'): Promise<void> {
    for (let calm = 0; calm < (this.#isOnItsWay() ? Math.max(turns, CALM_TURNS_IN_CODE) : turns);) {
      await turn()
      calm = this.#isBusy() || (this.#dying && of !== 'dying') ? 0 : calm + 1
    }
  }

  #isBusy(): boolean {
    if (this.post.inFlight > 0) return true
    if (this.#nodes.some(({ line }) => line.pending > 0)) return true
    if (this.#exchanges.some((exchange) => !exchange.over && !this.#waitsForTheClock(exchange))) return true
    return [...this.#options.standIns.values()].some(({ twin }) =>
      twin.deliveries().some(({ state, attempts }) => state === 'sending' && attempts.length === 0),
    )
  }

  /** Runs whose calls are on their way; others that a node has claimed are in its code, or wait for its clock. */
  #runsUnderWay(): number {
    const runs = this.#exchanges.flatMap(({ over, ticket }) => (over || !ticket ? [] : [ticket.run]))
    return new Set(runs).size
  }

  #isUnderWay(): boolean {
    return this.#exchanges.some(({ over }) => !over)
  }

  /** A slow twin holds its answer back until the clock has moved. */
  #waitsForTheClock({ connection, from }: { connection: string; from: number }): boolean {
    return this.#options.standIns
      .get(connection)!
      .twin.requests()
      .some(({ number, status, fault }) => number > from && status === undefined && fault === 'slow')
  }

  /** A call that was let out may take a while in this machine before it leaves: nobody else is let out meanwhile. */
  #isOnItsWay(): boolean {
    for (const { owner } of this.#onTheirWay) if (!owner.dead) return true
    return false
  }

  /** Ends everything, also what had died. */
  async stop(): Promise<void> {
    for (const [node, open] of this.#frozen) {
      node.revive()
      for (const one of open) one()
    }
    this.#frozen.clear()
    const nodes = Promise.allSettled(this.#nodes.map((node) => node.stop()))
    const over = { yes: false }
    void nodes.then(() => {
      over.yes = true
    })
    while (!over.yes) {
      // What waits at the gate or for the clock must not hold up the end.
      while (this.#gate.openFirst((ticket) => ticket.run)) await turn()
      this.clock.moveTo(this.clock.elapsed + SECOND)
      await pause(systemClock, 1)
    }
    await this.post.close()
    await Promise.allSettled([...this.#options.standIns.values()].map(({ twin }) => twin.stop()))
    await this.#egress.destroy()
  }
}

function marked(request: EgressRequest, exchange: number): EgressRequest {
  const { headers } = request
  const list = Array.isArray(headers) ? headers : Object.entries(headers)
  return { ...request, headers: [...list, [EXCHANGE_HEADER, String(exchange)]] }
}
