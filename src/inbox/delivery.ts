import type { JsonValue } from '../base/index.ts'
import type { AnyConnector, IncomingEvent } from '../define/index.ts'
import type { Actor } from '../ledger/index.ts'

/** A delivery whose signature was checked, as it is handed to the inbox. Nothing of it is stored yet. */
export interface VerifiedDelivery {
  readonly tenant: string
  /** Absent where it came through the API. */
  readonly endpointId?: string
  readonly connectionId: string
  readonly connectionName: string
  readonly connector: AnyConnector
  /** Who handed it in, for the ledger. Default: the provider, by the connection's name. */
  readonly actor?: Actor
  /** As they came, repeated ones kept, without `authorization`, `proxy-authorization` and `cookie`. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** Lower case, without parameters. */
  readonly contentType: string
  /** The raw bytes, which are what was signed. */
  readonly body: Buffer
  /** Milliseconds since 1970, taken when the last byte had come. */
  readonly receivedAt: number
  /** The body, read losslessly. Absent where it could not be read; `quarantine` then says why. */
  readonly parsed?: JsonValue
  /** Empty where the delivery carries none, and where it is quarantined. */
  readonly events: readonly IncomingEvent[]
  /** Whether the body holds the value that the connector names in `contentUniqueBy`: equal content then means the same event. */
  readonly contentUnique: boolean
  /** Set where the body is not what the provider documents: to be kept raw, for a person to look at. */
  readonly quarantine?: {
    readonly code: string
    /** JSON Pointer (RFC 6901) into the body. `''` is the whole body. */
    readonly path: string
    readonly reason: string
  }
}

/** What became of a delivery, given only once that is committed. */
export interface AcceptResult {
  readonly state: 'accepted' | 'duplicate'
  readonly deliveryId: string
}
