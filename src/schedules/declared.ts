import { UsageError } from '../base/index.ts'
import {
  SCHEDULE_SOURCE,
  type AnyConnector,
  type AnyFlow,
  type CronTrigger,
  type EventDefinition,
  type PollTrigger,
  type Priority,
} from '../define/index.ts'

/** A schedule or a poll as the code declares it. Its name is its flow's. */
export type Declared = DeclaredCron | DeclaredPoll

export interface DeclaredCron {
  readonly kind: 'cron'
  readonly name: string
  /** What of it matters, as text: another text is another schedule. */
  readonly declaration: string
  readonly trigger: CronTrigger
}

export interface DeclaredPoll {
  readonly kind: 'poll'
  readonly name: string
  readonly declaration: string
  readonly trigger: PollTrigger
  /** Its flow's: who goes first where a budget is short. */
  readonly priority: Priority
}

/** The schedules and polls that the flows start on. */
export function declaredSchedules(flows: readonly AnyFlow[]): ReadonlyMap<string, Declared> {
  return new Map(flows.flatMap((flow) => declaredOf(flow).map((one) => [one.name, one] as const)))
}

function declaredOf({ name, on, priority = 'normal' }: AnyFlow): Declared[] {
  switch (on.kind) {
    case 'event':
      return []
    case 'cron':
      return [{ kind: 'cron', name, declaration: `${on.expression} ${on.zone} ${on.missed}`, trigger: on }]
    case 'poll':
      // Not how often, nor the overlap: with another of those the cursor stays good.
      return [
        {
          kind: 'poll',
          name,
          declaration: [on.connector, on.operationName, on.source.items, on.connection ?? ''].join(' '),
          trigger: on,
          priority,
        },
      ]
  }
}

/**
 * The connectors with the events of schedules and polls beside their own, so that those are read, checked and released
 * like all others; and the source of schedules, which is the platform's own.
 */
export function withScheduleEvents(
  connectors: ReadonlyMap<string, AnyConnector>,
  flows: readonly AnyFlow[],
): ReadonlyMap<string, AnyConnector> {
  const found = new Map(connectors)
  found.set(SCHEDULE_SOURCE, CLOCK_SOURCE)
  for (const { trigger } of declaredSchedules(flows).values()) {
    const connector = found.get(trigger.connector)
    if (connector === undefined)
      throw new UsageError(
        'config_invalid',
        `No connection of ${trigger.connector} is declared, and "${trigger.type}" polls it. Add one to "connections".`,
      )
    const definition = trigger.definition as EventDefinition
    found.set(trigger.connector, {
      ...connector,
      events: { ...connector.events, [trigger.type]: definition },
    } as AnyConnector)
  }
  return found
}

/** What the platform's own clock tells comes from here. Nothing is ever sent to it. */
const CLOCK_SOURCE: AnyConnector = {
  name: SCHEDULE_SOURCE,
  title: 'Schedules',
  baseUrl: '',
  auth: { kind: 'none' },
  operations: {},
  operationsByName: new Map(),
  events: {},
  limits: [],
  check: { operation: '', input: {} },
  on() {
    throw new UsageError('trigger_invalid', "A schedule is started on with cron('0 8 * * 1').")
  },
  connect() {
    throw new UsageError('connection_invalid', 'Schedules need no connection.')
  },
}
