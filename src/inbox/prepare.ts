import { createHash } from 'node:crypto'
import {
  atPath,
  atPointer,
  newId,
  reasonOf,
  type DeliveryId,
  type EventId,
  type RunId,
} from '../base/index.ts'
import { checkEvent } from '../contracts/index.ts'
import type { AnyFlow, EventDefinition, EventState, FlowEvent, IncomingEvent } from '../define/index.ts'
import type { VerifiedDelivery } from './delivery.ts'
import { fieldValue, indexable } from './fields.ts'
import type { FlowTable } from './flowTable.ts'
import type { NewRun } from './insertRuns.ts'

/** A delivery, read and decided on, ready to be written. */
export interface PreparedDelivery {
  readonly id: DeliveryId
  readonly delivery: VerifiedDelivery
  readonly events: readonly PreparedEvent[]
}

export interface PreparedEvent {
  readonly id: EventId
  readonly keys: readonly EventKey[]
  readonly type: string
  readonly providerEventId: string | undefined
  readonly state: EventState
  readonly reason: string | undefined
  readonly reasonPath: string | undefined
  readonly dataAt: string
  readonly summary: string | undefined
  readonly occurredAt: Date | undefined
  readonly fields: readonly (readonly [field: string, value: string])[]
  readonly runs: readonly NewRun[]
}

export interface EventKey {
  readonly kind: 'id' | 'content'
  readonly hash: Buffer
}

/** Most events that one delivery may carry; a larger one is quarantined whole. */
export const EVENTS_PER_DELIVERY = 1_000
const SUMMARY_LENGTH = 200

/** Decides what becomes of each event of a delivery: pure but for the ids. `now` in milliseconds. */
export function prepareDelivery(delivery: VerifiedDelivery, flows: FlowTable): PreparedDelivery {
  const id = newId('dlv')
  if (delivery.quarantine)
    return { id, delivery, events: [unreadable(delivery.quarantine.reason, delivery.quarantine.path)] }
  if (delivery.events.length > EVENTS_PER_DELIVERY)
    return {
      id,
      delivery,
      events: [
        unreadable(
          `The delivery carries ${delivery.events.length} events; at most ${EVENTS_PER_DELIVERY} are taken from one. Discard it and have the provider send them again in smaller deliveries, or reconcile the connection.`,
          '',
        ),
      ],
    }
  return { id, delivery, events: delivery.events.map((event) => prepareEvent(event, delivery, flows)) }
}

function unreadable(reason: string, path: string): PreparedEvent {
  return {
    id: newId('evt'),
    keys: [],
    type: 'unreadable',
    providerEventId: undefined,
    state: 'quarantined',
    reason,
    reasonPath: path,
    dataAt: '',
    summary: undefined,
    occurredAt: undefined,
    fields: [],
    runs: [],
  }
}

function prepareEvent(event: IncomingEvent, delivery: VerifiedDelivery, flows: FlowTable): PreparedEvent {
  const { connector, connectionName, receivedAt } = delivery
  const id = newId('evt')
  const base = {
    id,
    keys: keysOf(event, delivery),
    type: indexable(event.type),
    providerEventId: event.id === undefined ? undefined : indexable(event.id),
    dataAt: event.at,
    occurredAt: timeOf(event.occurredAt),
  }
  const quarantined = (reason: string, reasonPath: string): PreparedEvent => ({
    ...base,
    state: 'quarantined',
    reason,
    reasonPath,
    summary: undefined,
    fields: [],
    runs: [],
  })

  const definition = connector.events[event.type] as EventDefinition | undefined
  if (!definition)
    return {
      ...base,
      state: 'unmatched',
      reason: undefined,
      reasonPath: undefined,
      summary: undefined,
      fields: [],
      runs: [],
    }

  const raw = delivery.parsed === undefined ? undefined : atPointer(delivery.parsed, event.at)
  const checked = checkEvent(definition.schema, raw)
  if (checked.as === 'broken') return quarantined(checked.reason, `${event.at}${checked.path}`)

  const flowEvent: FlowEvent = {
    id,
    type: event.type,
    connection: connectionName,
    occurredAt: (base.occurredAt ?? new Date(receivedAt)).toISOString(),
    receivedAt: new Date(receivedAt).toISOString(),
    data: checked.value,
  }
  const matching = flows.startingOn(connector.name, event.type, connectionName)
  let runs: NewRun[]
  try {
    runs = matching.map((flow) => newRun(flow, flowEvent, delivery.tenant, originOf(base.keys, delivery)))
  } catch (thrown) {
    return quarantined(reasonOf(thrown), event.at)
  }
  return {
    ...base,
    state: runs.length > 0 ? 'dispatched' : 'unmatched',
    reason: undefined,
    reasonPath: undefined,
    summary: summaryOf(definition, checked.value),
    fields: fieldsOf(definition, flowEvent),
    runs,
  }
}

/** What the provider itself recognises the event by; `undefined` where it has nothing of the kind. */
function originOf([key]: readonly EventKey[], { connectionId }: VerifiedDelivery): string | undefined {
  return key && `${connectionId} ${key.hash.toString('hex')}`
}

/**
 * A new run of the flow for the event. Throws where the author's `key` throws. The first run of an event is given its
 * `origin`: a database that was put back from a copy and hears of the event again makes the same keys as before.
 */
export function newRun(flow: AnyFlow, event: FlowEvent, tenant: string, origin?: string): NewRun {
  let key: unknown
  try {
    key = flow.key?.(event)
  } catch (thrown) {
    throw new Error(
      `The key of flow "${flow.name}" threw: ${reasonOf(thrown)}. Mend it, then release the event.`,
      { cause: thrown },
    )
  }
  if (key !== undefined && key !== null && typeof key !== 'string')
    throw new Error(
      `The key of flow "${flow.name}" gave a ${typeof key}; it must give a string, or undefined where no order is kept. Mend it, then release the event.`,
    )
  const id: RunId = newId('run')
  return {
    tenant,
    id,
    flow: flow.name,
    flowVersion: flow.version ?? 1,
    eventId: event.id as EventId,
    rootRunId: origin === undefined ? id : rootOf(tenant, flow.name, origin),
    replayOf: undefined,
    laneKey: key === undefined || key === null || key === '' ? undefined : indexable(key),
  }
}

function rootOf(tenant: string, flow: string, origin: string): string {
  return `root_${createHash('sha256').update(`${tenant}\0${flow}\0${origin}`).digest('hex').slice(0, 40)}`
}

/**
 * The keys that recognise the event again: its id; where that is not signed or missing, also the signed content,
 * but only if the body itself holds something that makes it unique. Two equal bodies without are two events.
 */
function keysOf(event: IncomingEvent, delivery: VerifiedDelivery): EventKey[] {
  const keys: EventKey[] = []
  const webhooks = delivery.connector.webhooks
  if (event.id !== undefined)
    keys.push({ kind: 'id', hash: createHash('sha256').update(`id\0${event.id}`).digest() })
  if ((event.id === undefined || webhooks?.idIsSigned !== true) && delivery.contentUnique)
    keys.push({
      kind: 'content',
      hash: createHash('sha256').update(`content\0${event.at}\0`).update(delivery.body).digest(),
    })
  return keys
}

function timeOf(text: string | undefined): Date | undefined {
  if (text === undefined) return undefined
  const at = new Date(text)
  return Number.isNaN(at.getTime()) ? undefined : at
}

/** What the event says, for lists. */
export function summaryOf(definition: EventDefinition, data: unknown): string {
  try {
    return indexable((definition.describe?.(data) ?? definition.summary).slice(0, SUMMARY_LENGTH))
  } catch {
    return definition.summary
  }
}

/** The values of the event that `waitFor` may match on. */
export function fieldsOf(definition: EventDefinition, event: FlowEvent): [string, string][] {
  const fields: [string, string][] = []
  for (const field of definition.match ?? []) {
    const value = fieldValue(atPath(event, field))
    if (value !== undefined) fields.push([field, value])
  }
  return fields
}
