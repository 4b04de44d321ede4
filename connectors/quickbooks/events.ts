import { defineEvent, PermanentError, type IncomingDelivery, type IncomingEvent } from 'trestle'
import { change, isCloudEvent, type Change } from './contracts.ts'

/** What a webhook says, the same from both of Intuit's formats. */
export interface ChangedEntity {
  /** As Intuit's API names it, in lower case: `payment`. */
  readonly entity: string
  readonly id: string
  /** `created`, `updated`, `deleted`, `merged`, `voided`, `emailed`, or what Intuit adds. */
  readonly operation: string
  /** As Intuit wrote it. */
  readonly at: string
}

/**
 * The entity that an event is about. The event holds no values: read the entity to learn them, and expect it to be
 * newer than the event, since Intuit gathers changes for minutes and sends them in any order.
 */
export function changedEntity(data: Change): ChangedEntity {
  if (isCloudEvent(data)) {
    const [entity, operation] = cloudEventName(data.type)
    return { entity, operation, id: data.intuitentityid, at: data.time }
  }
  const { name, id, operation, lastUpdated } = data
  return { entity: name.toLowerCase(), operation: pastTense(operation), id, at: lastUpdated }
}

const event = (entity: string, operation: string) =>
  defineEvent({
    schema: change,
    summary: `${entity} ${operation}`,
    match: ['data.intuitentityid', 'data.id'],
    describe: (data) => `${entity} ${changedEntity(data).id} ${operation}`,
  })

/**
 * Changes of the entities that flows ask for most. Both formats of a webhook lead to the same types.
 * Source: https://developer.intuit.com/app/developer/qbo/docs/develop/webhooks and
 * https://blogs.intuit.com/2025/11/12/upcoming-change-to-webhooks-payload-structure, read 2026-11-22.
 */
export const events = {
  'customer.created': event('customer', 'created'),
  'customer.updated': event('customer', 'updated'),
  'customer.deleted': event('customer', 'deleted'),
  'customer.merged': event('customer', 'merged'),
  'invoice.created': event('invoice', 'created'),
  'invoice.updated': event('invoice', 'updated'),
  'invoice.deleted': event('invoice', 'deleted'),
  'invoice.voided': event('invoice', 'voided'),
  'invoice.emailed': event('invoice', 'emailed'),
  'payment.created': event('payment', 'created'),
  'payment.updated': event('payment', 'updated'),
  'payment.deleted': event('payment', 'deleted'),
  'payment.voided': event('payment', 'voided'),
  'payment.emailed': event('payment', 'emailed'),
} as const

/**
 * The events of a delivery, in either format. Intuit sets no limit to their number. An app has one endpoint for all the
 * companies that it is connected to, and one delivery may hold changes of several. Those of another company than the
 * setting `realmId` names are not this connection's, and are left out. Without the setting none is.
 */
export function eventsOf({ body, settings }: IncomingDelivery): readonly IncomingEvent[] {
  const own = settings['realmId']
  const isOthers = (realmId: unknown): boolean =>
    typeof realmId === 'string' && own !== undefined && realmId !== own
  if (Array.isArray(body))
    return body.flatMap((event: unknown, i) =>
      isOthers(record(event)?.['intuitaccountid']) ? [] : [fromCloudEvent(event, i)],
    )
  const notifications = record(body)?.['eventNotifications']
  if (!Array.isArray(notifications))
    throw new PermanentError(
      'body_unexpected',
      'An Intuit webhook is a list of CloudEvents or has "eventNotifications"; this body is neither.',
    )
  return notifications.flatMap((notification: unknown, i) =>
    isOthers(record(notification)?.['realmId']) ? [] : fromNotification(notification, i),
  )
}

/** `source` and `id` together are unique (CloudEvents 1.0, 3.1.1). */
function fromCloudEvent(value: unknown, i: number): IncomingEvent {
  const event = record(value)
  const { id, source, type } = event ?? {}
  if (typeof id !== 'string' || typeof source !== 'string' || typeof type !== 'string')
    throw unexpected(`/${i}`, 'a CloudEvent without id, source or type')
  const occurredAt = timeOf(event?.['time'])
  return {
    id: `${source} ${id}`,
    type: cloudEventName(type).join('.'),
    ...(occurredAt === undefined ? {} : { occurredAt }),
    at: `/${i}`,
  }
}

/** The first format: changes of one company, without ids. */
function fromNotification(value: unknown, i: number): IncomingEvent[] {
  const notification = record(value)
  const realmId = notification?.['realmId']
  const entities = record(notification?.['dataChangeEvent'])?.['entities']
  if (typeof realmId !== 'string' || !Array.isArray(entities))
    throw unexpected(`/eventNotifications/${i}`, 'a notification without realmId or dataChangeEvent.entities')
  return entities.map((value: unknown, j) => {
    const at = `/eventNotifications/${i}/dataChangeEvent/entities/${j}`
    const { name, id, operation, lastUpdated } = record(value) ?? {}
    if (typeof name !== 'string' || typeof id !== 'string' || typeof operation !== 'string')
      throw unexpected(at, 'a change without name, id or operation')
    const occurredAt = timeOf(lastUpdated)
    return {
      // No id is given. The same change has the same company, entity, operation and time; all of it is signed.
      id: [realmId, name, id, operation, String(lastUpdated)].join(':'),
      type: `${name.toLowerCase()}.${pastTense(operation)}`,
      ...(occurredAt === undefined ? {} : { occurredAt }),
      at,
    }
  })
}

/** `qbo.payment.created.v1` is `['payment', 'created']`. */
function cloudEventName(type: string): [entity: string, operation: string] {
  const parts = type.split('.').filter((part) => part !== 'qbo' && !/^v\d+$/.test(part))
  return [parts[0] ?? type, parts.slice(1).join('.') || 'changed']
}

const PAST_TENSE: Readonly<Record<string, string>> = {
  create: 'created',
  update: 'updated',
  delete: 'deleted',
  merge: 'merged',
  void: 'voided',
  emailed: 'emailed',
}

function pastTense(operation: string): string {
  const word = operation.toLowerCase()
  return PAST_TENSE[word] ?? word
}

/** Intuit writes `2015-10-05T14:42:19-0700` as well as nine digits of a second; both become ISO 8601. */
function timeOf(value: unknown): string | undefined {
  if (typeof value !== 'string') return undefined
  const date = new Date(value.replace(/(\.\d{3})\d+/, '$1').replace(/([+-]\d\d)(\d\d)$/, '$1:$2'))
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString()
}

function record(value: unknown): Record<string, unknown> | undefined {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined
}

function unexpected(at: string, what: string): PermanentError {
  return new PermanentError('body_unexpected', `The Intuit webhook has ${what} at ${at}.`)
}
