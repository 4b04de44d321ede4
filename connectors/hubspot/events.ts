import { createHash } from 'node:crypto'
import { defineEvent, PermanentError, type IncomingDelivery, type IncomingEvent } from 'trestle'
import { associationEvent, mergeEvent, objectEvent, propertyEvent } from './contracts.ts'

/**
 * HubSpot dates changes to the millisecond and sends them in no order
 * (https://developers.hubspot.com/docs/api-reference/webhooks-webhooks-v3/guide, read 2026-11-22). What is newer or
 * older is one property of one object.
 */
const propertyChange = {
  datedBy: 'data.occurredAt',
  subject: ['data.objectId', 'data.propertyName'],
} as const

/**
 * Webhook events by subscription type. The names are HubSpot's; generic subscriptions (`object.creation` with an
 * `objectTypeId`) are given the name of their object, so that a flow need not know how the app subscribed.
 * Source: https://developers.hubspot.com/docs/api-reference/webhooks-webhooks-v3/guide and
 * https://developers.hubspot.com/docs/apps/legacy-apps/public-apps/create-generic-webhook-subscriptions, read 2026-11-22.
 */
export const events = {
  'contact.creation': defineEvent({
    schema: objectEvent,
    summary: 'contact created',
    match: ['data.objectId'],
    describe: ({ objectId }) => `contact ${objectId} created`,
  }),
  'contact.propertyChange': defineEvent({
    ...propertyChange,
    schema: propertyEvent,
    summary: 'contact changed',
    match: ['data.objectId', 'data.propertyName'],
    describe: ({ objectId, propertyName }) => `${propertyName} of contact ${objectId} changed`,
  }),
  'contact.deletion': defineEvent({
    schema: objectEvent,
    summary: 'contact deleted',
    match: ['data.objectId'],
    describe: ({ objectId }) => `contact ${objectId} deleted`,
  }),
  'contact.restore': defineEvent({
    schema: objectEvent,
    summary: 'contact restored',
    match: ['data.objectId'],
    describe: ({ objectId }) => `contact ${objectId} restored`,
  }),
  'contact.privacyDeletion': defineEvent({
    schema: objectEvent,
    summary: 'contact deleted for privacy reasons',
    match: ['data.objectId'],
    describe: ({ objectId }) => `contact ${objectId} deleted for privacy reasons`,
  }),
  'contact.merge': defineEvent({
    schema: mergeEvent,
    summary: 'contacts merged',
    match: ['data.primaryObjectId'],
    describe: ({ mergedObjectIds, primaryObjectId }) =>
      `contacts ${mergedObjectIds.join(', ')} merged into ${primaryObjectId}`,
  }),
  'contact.associationChange': defineEvent({
    schema: associationEvent,
    summary: "contact's association changed",
    match: ['data.fromObjectId'],
    describe: ({ fromObjectId, toObjectId, associationType, associationRemoved }) =>
      `${associationType} of ${fromObjectId} and ${toObjectId} ${associationRemoved ? 'removed' : 'added'}`,
  }),
  'deal.creation': defineEvent({
    schema: objectEvent,
    summary: 'deal created',
    match: ['data.objectId'],
    describe: ({ objectId }) => `deal ${objectId} created`,
  }),
  'deal.propertyChange': defineEvent({
    ...propertyChange,
    schema: propertyEvent,
    summary: 'deal changed',
    match: ['data.objectId', 'data.propertyName'],
    describe: ({ objectId, propertyName }) => `${propertyName} of deal ${objectId} changed`,
  }),
  'deal.deletion': defineEvent({
    schema: objectEvent,
    summary: 'deal deleted',
    match: ['data.objectId'],
    describe: ({ objectId }) => `deal ${objectId} deleted`,
  }),
} as const

/** HubSpot's ids of its object types. */
const OBJECT_NAMES: Readonly<Record<string, string>> = {
  '0-1': 'contact',
  '0-2': 'company',
  '0-3': 'deal',
  '0-5': 'ticket',
}

/** The events of a delivery: a list, up to 100 at once. */
export function eventsOf({ body }: IncomingDelivery): readonly IncomingEvent[] {
  if (!Array.isArray(body))
    throw new PermanentError('body_unexpected', 'A HubSpot webhook is a list of events; this body is none.')
  return body.map((event, i) => {
    if (event === null || typeof event !== 'object' || Array.isArray(event))
      throw new PermanentError('body_unexpected', `Entry ${i} of the HubSpot webhook is not an event.`)
    const fields = event as Record<string, unknown>
    const occurredAt = timeOf(fields['occurredAt'])
    return {
      id: identityOf(fields),
      type: typeOf(fields, i),
      ...(occurredAt === undefined ? {} : { occurredAt }),
      at: `/${i}`,
    }
  })
}

function typeOf(event: Record<string, unknown>, i: number): string {
  const type = event['subscriptionType']
  if (typeof type !== 'string')
    throw new PermanentError('body_unexpected', `Entry ${i} of the HubSpot webhook has no subscriptionType.`)
  const name = OBJECT_NAMES[String(event['objectTypeId'])]
  return type.startsWith('object.') && name !== undefined ? type.replace('object', name) : type
}

/** What makes an event that event: everything but the number of the delivery attempt, and what HubSpot adds one day. */
const IDENTITY = [
  'portalId',
  'appId',
  'subscriptionId',
  'subscriptionType',
  'eventId',
  'occurredAt',
  'objectTypeId',
  'objectId',
  'propertyName',
  'propertyValue',
  'primaryObjectId',
  'mergedObjectIds',
  'fromObjectId',
  'toObjectId',
  'associationType',
  'associationRemoved',
] as const

/**
 * HubSpot's `eventId` "is not guaranteed to be unique", so the id is made of it and of what the signature covers
 * besides. A repeated delivery differs only in `attemptNumber`, which does not count.
 */
function identityOf(event: Record<string, unknown>): string {
  const digest = createHash('sha256')
  for (const field of IDENTITY) {
    const value = event[field]
    const text = Array.isArray(value) ? value.map(String).join(',') : String(value)
    digest.update(`${field}:${value === undefined ? '' : `${text.length}:${text}`}\n`)
  }
  return `${String(event['eventId'])}-${digest.digest('hex').slice(0, 32)}`
}

/** Milliseconds since 1970 as ISO 8601. */
function timeOf(value: unknown): string | undefined {
  if (typeof value !== 'number') return undefined
  const date = new Date(value)
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString()
}
