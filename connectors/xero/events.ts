import { defineEvent, PermanentError, type IncomingDelivery, type IncomingEvent } from 'trestle'
import { change } from './contracts.ts'

const event = (what: string, done: string) =>
  defineEvent({
    schema: change,
    summary: `${what} ${done}`,
    match: ['data.resourceId'],
    describe: ({ resourceId }) => `${what} ${resourceId} ${done}`,
  })

/**
 * Changes that Xero tells of, without their values: read the thing to learn them, and expect it to be newer than the
 * event. A payment, a void and an archiving are updates.
 * Source: https://developer.xero.com/documentation/webhooks/overview and https://github.com/XeroAPI/Xero-OpenAPI
 * (xero-webhooks.yaml 12.0.2), read 2026-11-22.
 */
export const events = {
  'contact.created': event('contact', 'created'),
  'contact.updated': event('contact', 'updated'),
  'invoice.created': event('invoice', 'created'),
  'invoice.updated': event('invoice', 'updated'),
} as const

/**
 * The events of a delivery. An app has one endpoint for all the organisations that are connected to it, and one
 * delivery may hold changes of several. Those of another than the setting `tenantId` names are not this connection's,
 * and are left out. Without the setting none is. The request that asks for the intent to receive has no events.
 */
export function eventsOf({ body, settings }: IncomingDelivery): readonly IncomingEvent[] {
  const list = record(body)?.['events']
  if (!Array.isArray(list))
    throw new PermanentError('body_unexpected', 'A Xero webhook has a list "events"; this body has none.')
  const own = settings['tenantId']
  return list.flatMap((value: unknown, i) => {
    const tenantId = record(value)?.['tenantId']
    const isOthers = own !== undefined && typeof tenantId === 'string' && tenantId !== own
    return isOthers ? [] : [fromChange(value, i)]
  })
}

/** No id is given. The same change has the same organisation, thing, kind and time; all of it is signed. */
function fromChange(value: unknown, i: number): IncomingEvent {
  const { tenantId, eventCategory, eventType, resourceId, eventDateUtc } = record(value) ?? {}
  if (
    typeof tenantId !== 'string' ||
    typeof eventCategory !== 'string' ||
    typeof eventType !== 'string' ||
    typeof resourceId !== 'string'
  )
    throw new PermanentError(
      'body_unexpected',
      `The Xero webhook has an event without tenantId, eventCategory, eventType or resourceId at /events/${i}.`,
    )
  const occurredAt = utc(eventDateUtc)
  return {
    id: [tenantId, eventCategory, resourceId, eventType, String(eventDateUtc)].join(':'),
    type: `${eventCategory.toLowerCase()}.${pastTense(eventType)}`,
    ...(occurredAt === undefined ? {} : { occurredAt }),
    at: `/events/${i}`,
  }
}

function pastTense(eventType: string): string {
  const word = eventType.toLowerCase()
  return word.endsWith('e') ? `${word}d` : word
}

/** Xero writes UTC without saying so: `2024-06-21T01:15:39.902`. */
function utc(value: unknown): string | undefined {
  if (typeof value !== 'string') return undefined
  const date = new Date(/(Z|[+-]\d\d:?\d\d)$/.test(value) ? value : `${value}Z`)
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString()
}

function record(value: unknown): Record<string, unknown> | undefined {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined
}
