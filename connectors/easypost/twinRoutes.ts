import {
  fieldsOf,
  Refusal,
  route,
  textOf,
  type TwinAnswer,
  type TwinRequest,
  type TwinRoute,
} from 'trestle/testing'
import {
  addressAnswer,
  labelOf,
  ratesFor,
  verificationOf,
  type TwinAddress,
  type TwinShipment,
  type TwinTracker,
} from './twinObjects.ts'

export interface EasypostState {
  /** By id, oldest first. */
  readonly addresses: Map<string, TwinAddress>
  readonly shipments: Map<string, TwinShipment>
  readonly trackers: Map<string, TwinTracker>
}

/** What the routes ask of the twin. */
export interface EasypostWorld {
  readonly state: EasypostState
  /** Prefix and 32 hexadecimal digits. */
  newId(prefix: string): string
  /** ISO 8601 with whole seconds, as EasyPost writes times. */
  timeText(ms: number): string
  /** Follows a parcel and tells the webhooks of it. */
  follow(parcel: { trackingCode: string; carrier: string; shipmentId: string | null }): TwinTracker
}

type Request = TwinRequest<EasypostState>
type Fields = Readonly<Record<string, unknown>>

/** Three months, in which no second tracker is made for the same code and carrier. */
const DUPLICATE_MS = 90 * 86_400_000

/** `{ error: { code, message, errors } }`. */
export function errorBody(status: number, message: string, code = `HTTP.${status}`): unknown {
  return { error: { code, message, errors: [] } }
}

function refuse(status: number, code: string, message: string, errors: readonly unknown[] = []): never {
  throw new Refusal({ status, json: { error: { code, message, errors } } })
}

export function easypostRoutes(world: EasypostWorld): readonly TwinRoute<EasypostState>[] {
  const { state } = world

  const keepAddress = (written: Fields, request: Request): TwinAddress => {
    const known = textOf(written['id'])
    if (known !== undefined) return findIn(state.addresses, known)
    if (textOf(written['street1']) === undefined && textOf(written['zip']) === undefined)
      refuse(422, 'ADDRESS.INVALID', 'The address lacks a street and a ZIP code.')
    const now = world.timeText(request.now)
    const made: TwinAddress = {
      ...addressAnswer(written),
      id: world.newId('adr_'),
      object: 'Address',
      mode: 'test',
      created_at: now,
      updated_at: now,
    }
    state.addresses.set(made.id, made)
    return made
  }
  const verified = (one: TwinAddress): TwinAddress => {
    const verification = verificationOf(one)
    if (!verification.success)
      refuse(422, 'ADDRESS.VERIFY.FAILURE', 'Unable to verify address.', verification.errors)
    const done: TwinAddress = {
      ...one,
      street1: one.street1?.toUpperCase() ?? null,
      city: one.city?.toUpperCase() ?? null,
      residential: false,
      verifications: { delivery: verification },
    }
    state.addresses.set(done.id, done)
    return done
  }

  return [
    route('POST', '/v2/addresses', (request) => {
      const body = fieldsOf(request.json)
      const strict = body['verify_strict'] !== undefined && body['verify_strict'] !== false
      const written = fieldsOf(body['address'])
      const failed = verificationOf({ street1: textOf(written['street1']) ?? null })
      if (strict && !failed.success)
        refuse(422, 'ADDRESS.VERIFY.FAILURE', 'Unable to verify address.', failed.errors)
      const made = keepAddress(written, request)
      const reported: TwinAddress =
        body['verify'] === undefined ? made : { ...made, verifications: { delivery: verificationOf(made) } }
      state.addresses.set(made.id, reported)
      request.effect({
        kind: 'address.created',
        key: made.id,
        ref: made.id,
        summary: `address ${made.street1}`,
      })
      return { status: 201, json: strict ? verified(made) : reported }
    }),
    route('GET', '/v2/addresses/:id/verify', ({ params }) => ({
      status: 200,
      json: { address: verified(findIn(state.addresses, params['id'])) },
    })),
    route('GET', '/v2/addresses/:id', ({ params }) => ({
      status: 200,
      json: findIn(state.addresses, params['id']),
    })),
    route('GET', '/v2/addresses', ({ query }) => pageOf('addresses', [...state.addresses.values()], query)),

    route('POST', '/v2/shipments', (request) => {
      const wanted = fieldsOf(fieldsOf(request.json)['shipment'])
      if (wanted['to_address'] === undefined || wanted['from_address'] === undefined)
        refuse(422, 'SHIPMENT.INVALID_PARAMS', 'to_address and from_address are required.')
      const to = keepAddress(fieldsOf(wanted['to_address']), request)
      const from = keepAddress(fieldsOf(wanted['from_address']), request)
      const id = world.newId('shp_')
      const now = world.timeText(request.now)
      const parcel = { id: world.newId('prcl_'), object: 'Parcel', ...fieldsOf(wanted['parcel']) }
      const made: TwinShipment = {
        id,
        object: 'Shipment',
        mode: 'test',
        created_at: now,
        updated_at: now,
        reference: textOf(wanted['reference']) ?? null,
        to_address: to,
        from_address: from,
        parcel,
        is_return: wanted['is_return'] === true,
        options: fieldsOf(wanted['options']),
        rates: ratesFor(id, () => world.newId('rate_'), now),
        selected_rate: null,
        postage_label: null,
        tracking_code: null,
        tracker: null,
        insurance: null,
        status: 'unknown',
        refund_status: null,
        messages: [],
        fees: [],
      }
      state.shipments.set(id, made)
      request.effect({
        kind: 'shipment.created',
        key: made.reference ?? id,
        ref: id,
        summary: `shipment to ${to.city}`,
      })
      return { status: 201, json: made }
    }),

    route('POST', '/v2/shipments/:id/buy', (request) => {
      const found = findIn(state.shipments, request.params['id'])
      if (found.postage_label !== null)
        refuse(422, 'SHIPMENT.POSTAGE.EXISTS', 'Postage already exists for this shipment.')
      const body = fieldsOf(request.json)
      const wanted = textOf(fieldsOf(body['rate'])['id'])
      const rate = found.rates.find(({ id }) => id === wanted)
      if (!rate) return refuse(422, 'SHIPMENT.POSTAGE.FAILURE', 'The rate is not one of this shipment.')
      const trackingCode = `9400100${found.id.replaceAll(/\D/g, '').padEnd(15, '0').slice(0, 15)}`
      const bought: TwinShipment = {
        ...found,
        updated_at: world.timeText(request.now),
        selected_rate: rate,
        postage_label: labelOf(world.newId('pl_'), world.timeText(request.now)),
        tracking_code: trackingCode,
        insurance: textOf(body['insurance']) ?? null,
      }
      request.effect({
        kind: 'label.bought',
        key: found.id,
        ref: trackingCode,
        summary: `label at ${rate.rate} ${rate.currency}`,
      })
      const tracker = world.follow({ trackingCode, carrier: rate.carrier, shipmentId: found.id })
      const whole = { ...bought, tracker }
      state.shipments.set(found.id, whole)
      return { status: 200, json: whole }
    }),

    route('POST', '/v2/shipments/:id/refund', (request) => {
      const found = findIn(state.shipments, request.params['id'])
      if (found.postage_label === null)
        refuse(422, 'SHIPMENT.REFUND.UNAVAILABLE', 'This shipment has no label to refund.')
      if (found.refund_status === 'submitted' || found.refund_status === 'refunded')
        refuse(422, 'SHIPMENT.REFUND.UNAVAILABLE', 'A refund was asked for already.')
      const asked: TwinShipment = { ...found, refund_status: 'submitted' }
      state.shipments.set(found.id, asked)
      request.effect({
        kind: 'refund.asked',
        key: found.id,
        ref: found.tracking_code ?? '',
        summary: `label ${found.tracking_code} given back`,
      })
      return { status: 200, json: asked }
    }),
    route('GET', '/v2/shipments/:id', ({ params }) => {
      const id = params['id'] ?? ''
      const byReference = [...state.shipments.values()].findLast(({ reference }) => reference === id)
      return { status: 200, json: byReference ?? findIn(state.shipments, id) }
    }),
    route('GET', '/v2/shipments', ({ query }) => {
      const all = [...state.shipments.values()]
      const bought =
        query.get('purchased') === 'false' ? all : all.filter((one) => one.postage_label !== null)
      return pageOf('shipments', bought, query)
    }),

    route('POST', '/v2/trackers', (request) => {
      const wanted = fieldsOf(fieldsOf(request.json)['tracker'])
      const trackingCode = textOf(wanted['tracking_code'])
      if (trackingCode === undefined) return refuse(422, 'TRACKER.CREATE.ERROR', 'tracking_code is required.')
      const carrier = textOf(wanted['carrier']) ?? 'USPS'
      const known = [...state.trackers.values()].findLast(
        (one) =>
          one.tracking_code === trackingCode &&
          one.carrier === carrier &&
          request.now - Date.parse(one.created_at) < DUPLICATE_MS,
      )
      if (known) return { status: 200, json: known }
      const made = world.follow({ trackingCode, carrier, shipmentId: null })
      request.effect({
        kind: 'tracker.created',
        key: `${carrier} ${trackingCode}`,
        ref: made.id,
        summary: `parcel ${trackingCode} is followed`,
      })
      return { status: 201, json: made }
    }),
    route('GET', '/v2/trackers/:id', ({ params }) => ({
      status: 200,
      json: findIn(state.trackers, params['id']),
    })),
    route('GET', '/v2/trackers', ({ query }) => {
      const fits = (name: 'tracking_code' | 'carrier', one: TwinTracker): boolean =>
        query.get(name) === null || query.get(name) === one[name]
      const all = [...state.trackers.values()]
      return pageOf(
        'trackers',
        all.filter((one) => fits('tracking_code', one) && fits('carrier', one)),
        query,
      )
    }),
  ]
}

function findIn<T>(all: ReadonlyMap<string, T>, id = ''): T {
  return all.get(id) ?? refuse(404, 'NOT_FOUND', 'The requested resource could not be found.')
}

/** Newest first; `before_id` and `after_id` go by the order in which they were made. */
function pageOf(
  name: string,
  oldestFirst: readonly { readonly id: string; readonly created_at: string }[],
  query: URLSearchParams,
): TwinAnswer {
  const size = Number(query.get('page_size') ?? 20)
  if (!Number.isInteger(size) || size < 1 || size > 100)
    refuse(422, 'PAGE_SIZE.INVALID', 'page_size must be from 1 to 100.')
  const place = (id: string): number => oldestFirst.findIndex((one) => one.id === id)
  const before = query.get('before_id')
  const after = query.get('after_id')
  const from = query.get('start_datetime')
  const to = query.get('end_datetime')
  const all = oldestFirst
    .slice(after === null ? 0 : place(after) + 1, before === null ? undefined : Math.max(place(before), 0))
    .filter(({ created_at: at }) => (from === null || at >= from) && (to === null || at <= to))
    .toReversed()
  return { status: 200, json: { [name]: all.slice(0, size), has_more: all.length > size } }
}
