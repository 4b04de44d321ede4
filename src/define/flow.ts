import { durationMs, UsageError, type Duration } from '../base/index.ts'
import type { AnyConnector, Connector } from './connector.ts'
import type { EventMap, EventTrigger, FlowEvent } from './events.ts'
import { PRIORITIES, type Priority } from './limits.ts'
import type { Operation, OperationTree } from './operation.ts'
import type { CronTrigger, PollTrigger } from './triggers/index.ts'
import type { RetryPolicy } from './retry.ts'

export interface StepOptions<Output> {
  /** Another name than the operation's, for a step that must be told from others. */
  readonly as?: string
  /**
   * The compensation, computed when the step succeeds: call exactly one operation of a client on the made thing.
   * It runs, in reverse order of the steps, when the run gives up or is cancelled.
   */
  readonly undo?: (made: Output) => unknown
  /** No attempt is begun after this time: ISO 8601 text, or a Date. */
  readonly validUntil?: string | Date
  /** What happens to a step that is too late. Default `'hold'`: a person decides. `'skip'` gives `undefined`. */
  readonly onLate?: 'skip' | 'hold' | 'run'
  readonly retry?: RetryPolicy
}

/** What a step gives: with `onLate: 'skip'` it may be `undefined`. */
export type StepResult<Output, Options> = Options extends { readonly onLate: 'skip' }
  ? Output | undefined
  : Output

/** A connector's operations as a flow calls them. */
export type Client<Operations extends OperationTree> = {
  readonly [Name in keyof Operations]: Operations[Name] extends Operation<infer Input, infer Output>
    ? <const Options extends StepOptions<Output> = StepOptions<Output>>(
        input: Input,
        options?: Options,
      ) => Promise<StepResult<Output, Options>>
    : Operations[Name] extends OperationTree
      ? Client<Operations[Name]>
      : never
}

export interface WaitOptions {
  /** A path that the connector declares for matching, such as `'data.customer'`. */
  readonly on: string
  /** The value that it must have. */
  readonly equals: string | number | boolean
  /** Longest wait. After it, `undefined` is given. */
  readonly timeout: Duration
}

/**
 * What a flow works with. Everything here is durable: once journaled, it is answered from the journal. Flows take it
 * apart (`run({ event, use, step })`), so nothing in it needs `this`.
 */
export interface FlowContext<Data = unknown> {
  readonly event: FlowEvent<Data>
  /** The run's id and its facts. */
  readonly run: { readonly id: string; readonly flow: string; readonly key: string | undefined }
  /** A client for the connection of this connector; `name` where the tenant has several of it. */
  use<Operations extends OperationTree, Events extends EventMap>(
    this: void,
    connector: Connector<Operations, Events>,
    name?: string,
  ): Client<Operations>
  /** Runs local code once and journals what it returns. Not for calls to providers: those belong to a connector. */
  step<Result>(this: void, name: string, work: () => Result | Promise<Result>): Promise<Result>
  /** Waits in the database: a duration, or until a time. */
  sleep(this: void, until: Duration | Date): Promise<void>
  /** Waits for an event since this run began; `undefined` after the time-out. */
  waitFor<Awaited>(
    this: void,
    trigger: EventTrigger<Awaited>,
    options: WaitOptions,
  ): Promise<FlowEvent<Awaited> | undefined>
  /** The time of the last delivered step: the same on every resume. */
  now(this: void): Date
  /** 0 to 1, the same on every resume. */
  random(this: void): number
  /** A UUID, the same on every resume. */
  uuid(this: void): string
}

/** What a flow starts on: an event that comes in, the clock, or a list that is read again and again. */
export type FlowTrigger<Data = unknown> = EventTrigger<Data> | CronTrigger<Data> | PollTrigger<Data>

export interface FlowDefinition<Data = unknown> {
  /** `^[a-z][a-z0-9-]*$`; unique among the flows. */
  readonly name: string
  readonly on: FlowTrigger<Data>
  /** What it is for, in a sentence, for operators. */
  readonly summary?: string
  /** The lane: runs with the same key go one after another. `undefined` or no `key`: no order is kept. */
  readonly key?: (event: FlowEvent<Data>) => string | null | undefined
  /** Until when a run holds its lane. Default `'untilFinished'`. */
  readonly hold?: 'untilFinished' | 'untilFirstWait'
  /** Raise it when you change the flow so that runs in flight cannot go on with the new code. Default 1. */
  readonly version?: number
  /** Default policy of the flow's steps. */
  readonly retry?: RetryPolicy
  /**
   * Who goes first where a provider's limit is short. `'interactive'`: somebody waits for it. `'bulk'`: a great many
   * that may take their time. Default `'normal'`.
   */
  readonly priority?: Priority
  /**
   * A run that has not ended this long after its event came in gives up: attempts in doubt are resolved, what it did
   * is undone, and it says why. Default: never. A run that waits for a person is left to them, and counts anew from
   * the moment that they let it go on.
   */
  readonly giveUpAfter?: Duration
  /**
   * What becomes of an event that is older than one about the same subject that this flow has applied already. `skip`:
   * its run ends `cancelled` with the code `stale` before it does anything, and the event says so. `run` (default): it
   * is processed in the order of arrival. `skip` needs an event that is dated (`datedBy`) and a `key` that puts all
   * events about one subject into one lane.
   */
  readonly stale?: 'skip' | 'run'
  /**
   * What a run of it is about in business words, so that an outage can say what waits: `'invoice'` gives "41 invoices".
   * Where the plural is another word, both: `{ one: 'entry', many: 'entries' }`. Default: a run of the flow.
   */
  readonly waitsAs?: string | { readonly one: string; readonly many: string }
  readonly run: (context: FlowContext<Data>) => unknown
}

export interface Flow<Data = unknown> extends FlowDefinition<Data> {
  readonly isFlow: true
}

// oxlint-disable-next-line typescript/no-explicit-any -- a flow of any event
export type AnyFlow = Flow<any>
export type { AnyConnector }

/** Declares a flow. Throws a {@link UsageError} that names the mistake. */
export function defineFlow<Data>(definition: FlowDefinition<Data>): Flow<Data> {
  const refuse = (what: string): never => {
    throw new UsageError('flow_invalid', `Flow "${definition.name}": ${what}`)
  }
  if (typeof definition.name !== 'string' || !/^[a-z][a-z0-9-]*$/.test(definition.name))
    refuse('its name must be lower-case letters, digits and hyphens, beginning with a letter.')
  if (!['event', 'cron', 'poll'].includes(definition.on?.kind))
    refuse(
      `"on" must be a trigger such as stripe.on('payment_intent.succeeded'), cron('0 8 * * 1') or poll(…).`,
    )
  if (typeof definition.run !== 'function') refuse('"run" must be a function.')
  if (definition.giveUpAfter !== undefined && !(durationMs(definition.giveUpAfter) > 0))
    refuse('"giveUpAfter" must be longer than nothing, such as "3 days".')
  if (definition.stale === 'skip') refuseUnordered(definition, refuse)
  if (definition.priority !== undefined && !PRIORITIES.includes(definition.priority))
    refuse(`"priority" is "${definition.priority as string}"; it must be one of ${PRIORITIES.join(', ')}.`)
  return { ...definition, on: ownTrigger(definition.on, definition.name), isFlow: true }
}

/** A schedule or a poll is its flow's own, and so are its events. */
function ownTrigger<Data>(trigger: FlowTrigger<Data>, flow: string): FlowTrigger<Data> {
  switch (trigger.kind) {
    case 'event':
      return trigger
    case 'cron':
      return { ...trigger, type: `schedule.${flow}` }
    case 'poll':
      return { ...trigger, type: `poll.${flow}` }
  }
}

/** Stale events can only be told where events are dated, and those about one subject come one after another. */
function refuseUnordered<Data>(
  { on, key, hold }: FlowDefinition<Data>,
  refuse: (what: string) => never,
): void {
  if (on.definition.datedBy === undefined)
    refuse(
      `"stale: 'skip'" needs events that the provider dates, and the event "${on.type}" of ${on.connector} declares no "datedBy".`,
    )
  if (key === undefined)
    refuse(`"stale: 'skip'" needs a "key": events about one subject must go one after another.`)
  if (hold === 'untilFirstWait')
    refuse(`"stale: 'skip'" cannot go with "hold: 'untilFirstWait'", which lets runs of a lane overlap.`)
}
