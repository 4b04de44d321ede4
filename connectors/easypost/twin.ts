/**
 * A twin of EasyPost: addresses, shipments, labels, trackers and webhooks of the API v2.
 *
 * It is no kinder than EasyPost: no idempotency key, a list that leaves out shipments without a label, one label for a
 * shipment, the first tracker again for the same code and carrier, and webhooks that are signed over their bytes, with
 * weights written as `12.0`.
 */
import { createHmac } from 'node:crypto'
import { createTwin, systemClock, type Clock, type Twin } from 'trestle/testing'
import type { TwinTracker } from './twinObjects.ts'
import { easypostRoutes, errorBody, type EasypostState, type EasypostWorld } from './twinRoutes.ts'

export type { TwinAddress, TwinShipment, TwinTracker } from './twinObjects.ts'
export type { EasypostState } from './twinRoutes.ts'

export interface EasypostTwinOptions {
  /** Default `EZTK_twin`. */
  readonly apiKey?: string
  readonly seed?: string
  readonly clock?: Clock
  readonly witnessFile?: string
}

/** What can be made to happen at EasyPost. */
export interface EasypostTwinMethods {
  /** Where events are sent from now on, and what signs them. */
  readonly subscribe: (url: string, secret: string) => void
  /** A carrier took up a parcel whose label was bought elsewhere. */
  readonly parcelFollowed: (parcel: { trackingCode: string; carrier?: string }) => TwinTracker
  /** A carrier scanned a parcel. */
  readonly parcelMoved: (parcel: { trackingCode: string; status: string; signedBy?: string }) => TwinTracker
  /** The carrier decided about a label that was given back. */
  readonly refundDecided: (refund: { trackingCode: string; status?: 'refunded' | 'rejected' }) => void
  /** Resolves when everything that happened was sent once. */
  readonly settled: () => Promise<void>
}

export type EasypostTwin = Twin<EasypostState> & EasypostTwinMethods & { readonly apiKey: string }

/** Makes a twin of EasyPost. It does nothing before `start`. */
export function createEasypostTwin(options: EasypostTwinOptions = {}): EasypostTwin {
  const clock = options.clock ?? systemClock
  const apiKey = options.apiKey ?? 'EZTK_twin'
  const state: EasypostState = { addresses: new Map(), shipments: new Map(), trackers: new Map() }
  const webhooks: { readonly url: string; readonly secret: string }[] = []
  const sending = new Set<Promise<unknown>>()
  const timeText = (ms: number): string => new Date(ms).toISOString().replace(/\.\d{3}Z$/, 'Z')

  const newId = (prefix: string): string => {
    let digits = ''
    for (let i = 0; i < 32; i++) digits += Math.floor(twin.random.next() * 16).toString(16)
    return prefix + digits
  }

  const tell = (description: string, result: object, previous: object = {}): void => {
    const now = timeText(clock.now())
    const id = newId('evt_')
    for (const { url, secret } of webhooks) {
      const event = {
        id,
        object: 'Event',
        mode: 'test',
        description,
        created_at: now,
        updated_at: now,
        user_id: 'user_twin',
        status: 'pending',
        previous_attributes: previous,
        pending_urls: webhooks.map((one) => one.url),
        completed_urls: [],
        result,
      }
      const sent = twin.webhooks.send({
        url,
        body: withFractions(JSON.stringify(event)),
        eventId: id,
        headers: { 'user-agent': 'EasyPost/v2 EasyPost-Webhook/1.0' },
        sign: (body) => ({ headers: { 'x-hmac-signature': signature(secret, body) } }),
      })
      sending.add(sent)
      void sent.finally(() => sending.delete(sent))
    }
  }

  const trackerOf = (trackingCode: string): TwinTracker => {
    const found = [...state.trackers.values()].findLast((one) => one.tracking_code === trackingCode)
    if (!found) throw new Error(`The twin follows no parcel ${trackingCode}.`)
    return found
  }

  const follow: EasypostWorld['follow'] = ({ trackingCode, carrier, shipmentId }) => {
    const now = timeText(clock.now())
    const id = newId('trk_')
    const made: TwinTracker = {
      id,
      object: 'Tracker',
      mode: 'test',
      created_at: now,
      updated_at: now,
      tracking_code: trackingCode,
      carrier,
      status: 'pre_transit',
      status_detail: 'status_update',
      shipment_id: shipmentId,
      signed_by: null,
      weight: 12,
      est_delivery_date: null,
      public_url: `https://track.easypost.com/${id}`,
      tracking_details: [],
    }
    state.trackers.set(id, made)
    tell('tracker.created', made)
    return made
  }

  const methods: EasypostTwinMethods = {
    subscribe(url, secret) {
      webhooks.push({ url, secret })
    },
    parcelFollowed: ({ trackingCode, carrier = 'USPS' }) =>
      follow({ trackingCode, carrier, shipmentId: null }),
    parcelMoved({ trackingCode, status, signedBy }) {
      const before = trackerOf(trackingCode)
      const now = timeText(clock.now())
      const moved: TwinTracker = {
        ...before,
        updated_at: now,
        status,
        signed_by: signedBy ?? before.signed_by,
        tracking_details: [
          ...before.tracking_details,
          { object: 'TrackingDetail', datetime: now, status, message: status.replaceAll('_', ' ') },
        ],
      }
      state.trackers.set(moved.id, moved)
      const shipment = state.shipments.get(moved.shipment_id ?? '')
      if (shipment) state.shipments.set(shipment.id, { ...shipment, status, tracker: moved })
      tell('tracker.updated', moved, { status: before.status })
      return moved
    },
    refundDecided({ trackingCode, status = 'refunded' }) {
      const shipment = [...state.shipments.values()].find((one) => one.tracking_code === trackingCode)
      if (!shipment) throw new Error(`The twin has no label ${trackingCode}.`)
      state.shipments.set(shipment.id, { ...shipment, refund_status: status })
      // EasyPost has no event for a refund that was refused.
      if (status === 'rejected') return
      const now = timeText(clock.now())
      tell('refund.successful', {
        id: newId('rfnd_'),
        object: 'Refund',
        created_at: now,
        updated_at: now,
        tracking_code: trackingCode,
        confirmation_number: null,
        status,
        carrier: shipment.selected_rate?.carrier ?? 'USPS',
        shipment_id: shipment.id,
      })
    },
    async settled() {
      while (sending.size > 0) await Promise.all(sending)
    },
  }

  const core = createTwin<EasypostState>({
    name: 'easypost',
    state,
    routes: easypostRoutes({ state, newId, timeText, follow }),
    authorize: ({ headers }) =>
      headers['authorization'] === `Basic ${Buffer.from(`${apiKey}:`).toString('base64')}`
        ? undefined
        : { status: 401, json: errorBody(401, 'Unauthorized', 'APIKEY.INVALID') },
    errorBody,
    headers: ({ number }) => ({ 'x-request-id': `req_${String(number).padStart(16, '0')}` }),
    actions: {
      parcelFollowed: methods.parcelFollowed,
      parcelMoved: methods.parcelMoved,
      refundDecided: methods.refundDecided,
      subscribe: ({ url, secret }: { url: string; secret: string }) => methods.subscribe(url, secret),
    },
    seed: options.seed,
    clock,
    witnessFile: options.witnessFile,
  })
  const twin: EasypostTwin = Object.assign(core, methods, { apiKey })
  return twin
}

/** EasyPost writes weights with a fraction, which JavaScript would leave out: its own client mends that before it verifies. */
function withFractions(json: string): string {
  return json.replaceAll(/("weight":)(\d+)(?=[,}])/g, '$1$2.0')
}

/** https://docs.easypost.com/guides/webhooks-guide and @easypost/api 8.9.0 `src/utils/util.js`, read 2026-11-22. */
function signature(secret: string, body: string): string {
  const hex = createHmac('sha256', secret.normalize('NFKD')).update(body).digest('hex')
  return `hmac-sha256-hex=${hex}`
}
