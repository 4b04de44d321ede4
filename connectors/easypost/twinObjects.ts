/** What the twin keeps, in the shape in which EasyPost answers it (https://docs.easypost.com/docs/shipments, read 2026-11-22). */

export interface TwinAddress {
  readonly id: string
  readonly object: 'Address'
  readonly mode: 'test'
  readonly created_at: string
  readonly updated_at: string
  readonly street1: string | null
  readonly city: string | null
  readonly residential: boolean | null
  readonly verifications: Readonly<Record<string, TwinVerification>>
  readonly [more: string]: unknown
}

interface TwinVerification {
  readonly success: boolean
  readonly errors: readonly { readonly field: string; readonly message: string; readonly suggestion: null }[]
  readonly details: Readonly<Record<string, unknown>>
}

interface TwinRate {
  readonly id: string
  readonly object: 'Rate'
  readonly mode: 'test'
  readonly carrier: string
  readonly service: string
  readonly rate: string
  readonly currency: string
  readonly delivery_days: number
  readonly shipment_id: string
  readonly created_at: string
  readonly updated_at: string
}

export interface TwinTracker {
  readonly id: string
  readonly object: 'Tracker'
  readonly mode: 'test'
  readonly created_at: string
  readonly updated_at: string
  readonly tracking_code: string
  readonly carrier: string
  readonly status: string
  readonly status_detail: string
  readonly shipment_id: string | null
  readonly signed_by: string | null
  /** Ounces. EasyPost writes it with a fraction, `12.0` too. */
  readonly weight: number
  readonly est_delivery_date: string | null
  readonly public_url: string
  readonly tracking_details: readonly unknown[]
}

export interface TwinShipment {
  readonly id: string
  readonly object: 'Shipment'
  readonly mode: 'test'
  readonly created_at: string
  readonly updated_at: string
  readonly reference: string | null
  readonly to_address: TwinAddress
  readonly from_address: TwinAddress
  readonly parcel: Readonly<Record<string, unknown>>
  readonly is_return: boolean
  readonly options: Readonly<Record<string, unknown>>
  readonly rates: readonly TwinRate[]
  readonly selected_rate: TwinRate | null
  readonly postage_label: Readonly<Record<string, unknown>> | null
  readonly tracking_code: string | null
  readonly tracker: TwinTracker | null
  readonly insurance: string | null
  readonly status: string
  readonly refund_status: string | null
  readonly messages: readonly unknown[]
  readonly fees: readonly unknown[]
}

/** The fields of an address that may be written, with `null` for what was left out. */
export function addressAnswer(
  written: Readonly<Record<string, unknown>>,
): Pick<TwinAddress, 'street1' | 'city' | 'residential' | 'verifications'> & Record<string, unknown> {
  const field = (name: string): string | null =>
    typeof written[name] === 'string' && written[name] !== '' ? written[name] : null
  return {
    name: field('name'),
    company: field('company'),
    street1: field('street1'),
    street2: field('street2'),
    city: field('city'),
    state: field('state'),
    zip: field('zip'),
    country: field('country') ?? 'US',
    phone: field('phone'),
    email: field('email'),
    residential: null,
    carrier_facility: null,
    federal_tax_id: null,
    state_tax_id: null,
    verifications: {},
  }
}

/** An address is deliverable in the twin if its street begins with a house number. */
export function verificationOf({ street1 }: Pick<TwinAddress, 'street1'>): TwinVerification {
  if (street1 !== null && /^\d/.test(street1))
    return { success: true, errors: [], details: { time_zone: 'America/Los_Angeles' } }
  return {
    success: false,
    errors: [
      { field: 'address', message: 'Address not found', suggestion: null },
      { field: 'street1', message: 'House number is missing', suggestion: null },
    ],
    details: {},
  }
}

const SERVICES = [
  ['GroundAdvantage', '5.93', 3],
  ['Priority', '7.58', 2],
  ['Express', '33.10', 1],
] as const

export function ratesFor(shipmentId: string, newId: () => string, now: string): readonly TwinRate[] {
  return SERVICES.map(([service, rate, days]) => ({
    id: newId(),
    object: 'Rate',
    mode: 'test',
    carrier: 'USPS',
    service,
    rate,
    currency: 'USD',
    delivery_days: days,
    shipment_id: shipmentId,
    created_at: now,
    updated_at: now,
  }))
}

export function labelOf(id: string, now: string): Readonly<Record<string, unknown>> {
  return {
    id,
    object: 'PostageLabel',
    created_at: now,
    updated_at: now,
    label_date: now,
    label_file_type: 'image/png',
    label_size: '4x6',
    label_type: 'default',
    label_url: `https://easypost-files.example/postage_label/${id}.png`,
  }
}
