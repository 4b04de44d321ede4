import { createHmac } from 'node:crypto'
import { createBundle, type Clock, type OutgoingWebhook } from 'trestle/testing'
import type { Change } from './twinObjects.ts'

/** What a webhook says of one change, besides what every event has. */
export type HubspotEvent = Readonly<Record<string, unknown>> & { readonly subscriptionType: string }

/** Tells the subscriber what happened. */
export interface EventTeller {
  /** Sends webhooks here from now on; `undefined` sends none. */
  subscribe(url: string | undefined): void
  /** Events of one moment. They share an `eventId`, which HubSpot does not promise to be unique. */
  tell(source: string, events: readonly HubspotEvent[]): Promise<void>
  /** Everything told meanwhile goes out together, up to 100 events in a delivery. */
  together(happenings: () => Promise<unknown>): Promise<void>
}

const EVENTS_PER_DELIVERY = 100
const PORTAL_ID = 62_515
const APP_ID = 54_321

export function createEventTeller(options: {
  readonly clock: Clock
  /** The app's client secret. */
  readonly secret: string
  readonly url: string | undefined
  readonly send: (webhook: OutgoingWebhook) => Promise<unknown>
}): EventTeller {
  const { clock, secret } = options
  let subscribed = options.url
  let lastEventId = 1_000_000

  const send = async (events: readonly HubspotEvent[]): Promise<void> => {
    if (subscribed === undefined) return
    const url = subscribed
    for (let from = 0; from < events.length; from += EVENTS_PER_DELIVERY) {
      const batch = events.slice(from, from + EVENTS_PER_DELIVERY)
      await options.send({
        url,
        body: JSON.stringify(batch),
        eventId: batch.map((event) => String(event['eventId'])).join(','),
        sign: (body, now) => ({ headers: signatureOf(secret, url, body, now) }),
      })
    }
  }
  const bundle = createBundle(send)

  return {
    subscribe(url) {
      subscribed = url
    },
    async tell(source, events) {
      if (events.length === 0) return
      const eventId = ++lastEventId
      const whole = events.map((event) => ({
        eventId,
        subscriptionId: subscriptionIdOf(event.subscriptionType),
        portalId: PORTAL_ID,
        appId: APP_ID,
        occurredAt: clock.now(),
        attemptNumber: 0,
        changeSource: source,
        ...event,
      }))
      await bundle.tell(whole)
    },
    together: (happenings) => bundle.together(happenings),
  }
}

/** A creation, and one event for each property that changed. Notes have no webhooks. */
export function eventsOfChange({ how, object, changed }: Change): HubspotEvent[] {
  if (object.type === 'notes') return []
  const what = object.type.slice(0, -1)
  const objectId = Number(object.id)
  const creation = { subscriptionType: `${what}.creation`, objectId, changeFlag: 'CREATED' }
  const changes = Object.entries(changed).map(([propertyName, propertyValue]) => ({
    subscriptionType: `${what}.propertyChange`,
    objectId,
    propertyName,
    propertyValue,
  }))
  return how === 'created' ? [creation, ...changes] : changes
}

/** Version 3: HMAC-SHA256 over method, URL, body and the time in milliseconds, base64. */
function signatureOf(secret: string, url: string, body: string, now: number): Record<string, string> {
  const signed = `POST${url}${body}${now}`
  return {
    'x-hubspot-request-timestamp': String(now),
    'x-hubspot-signature-v3': createHmac('sha256', secret).update(signed).digest('base64'),
  }
}

/** An app has one subscription for each type. */
function subscriptionIdOf(type: string): number {
  return 10_000 + Buffer.from(type).reduce((sum, byte) => sum + byte, 0)
}
