import { defineEvent, signatureSchemes, textAt, type IncomingEvent, type WebhookDefinition } from 'trestle'
import { refund, tracker } from './contracts.ts'

/**
 * EasyPost's events (https://docs.easypost.com/docs/events, read 2026-11-22): `description` is the type, `result` the
 * object as it is now. Batches, insurance, claims, reports and payments come by the same webhook; flows may name only
 * what stands here, and the rest is kept as unmatched.
 */
const parcelEvent = (summary: string) =>
  defineEvent({
    schema: tracker,
    summary,
    match: ['data.id', 'data.tracking_code', 'data.shipment_id'],
    describe: (data) => `parcel ${data.tracking_code}: ${data.status}`,
  })

export const events = {
  'tracker.created': parcelEvent('a parcel is followed'),
  'tracker.updated': parcelEvent('a parcel moved'),
  'refund.successful': defineEvent({
    schema: refund,
    summary: 'a label was refunded',
    match: ['data.shipment_id', 'data.tracking_code'],
    describe: (data) => `label ${data.tracking_code ?? data.shipment_id} ${data.status}`,
  }),
}

function readEvents({ body }: { readonly body: unknown }): readonly IncomingEvent[] {
  const id = textAt(body, 'id')
  const type = textAt(body, 'description')
  if (textAt(body, 'object') !== 'Event' || id === undefined || type === undefined)
    throw new Error('The body is no Event of EasyPost: it needs object "Event", an id and a description.')
  const occurredAt = textAt(body, 'created_at')
  return [{ id, type, at: '/result', ...(occurredAt === undefined ? {} : { occurredAt }) }]
}

export const webhooks: WebhookDefinition = {
  signature: signatureSchemes.easypost,
  events: readEvents,
  // The id stands in the body, all of which is signed.
  idIsSigned: true,
}
