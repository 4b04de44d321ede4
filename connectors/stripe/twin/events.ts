import { signatureSchemes } from 'trestle'
import { signPayload, type Twin } from 'trestle/testing'
import type { Emit } from './state.ts'

/** Where a Stripe account sends its events. */
export interface WebhookEndpoint {
  readonly url: string
  /** `whsec_…` */
  readonly secret: string
  /** The event types that it wants. Default: all. */
  readonly enabledEvents?: readonly string[]
}

/** Renders events as they were at that moment and sends them to every endpoint that wants them. */
export function createEventSender(
  twin: Twin,
  endpoints: readonly WebhookEndpoint[],
  apiVersion: string,
): Emit {
  return (type, object, { previous, request } = {}) => {
    const wanting = endpoints.filter(({ enabledEvents }) => enabledEvents?.includes(type) ?? true)
    const event = {
      id: twin.newId('evt_'),
      object: 'event',
      api_version: apiVersion,
      created: Math.floor(twin.clock.now() / 1000),
      data: { object, ...(previous ? { previous_attributes: previous } : {}) },
      livemode: false,
      pending_webhooks: wanting.length,
      request: { id: request?.id ?? null, idempotency_key: request?.key ?? null },
      type,
    }
    // Stripe pretty-prints what it sends; the signature covers these very bytes.
    const body = JSON.stringify(event, null, 2)
    for (const { url, secret } of wanting) {
      void twin.webhooks.send({
        url,
        body,
        eventId: event.id,
        contentType: 'application/json; charset=utf-8',
        headers: { 'user-agent': 'Stripe/1.0 (+https://stripe.com/docs/webhooks)' },
        sign: (signed, at) =>
          signPayload(
            signatureSchemes.stripe,
            { url, body: signed, at, contentType: 'application/json; charset=utf-8' },
            [secret],
          ),
      })
    }
  }
}
