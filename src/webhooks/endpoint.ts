import type { AnyConnector, Settings } from '../define/index.ts'
import type { RawHeaders } from './signed-content.ts'

/** One inbound address, for one connection. */
export interface Endpoint {
  readonly tenant: string
  readonly id: string
  /** As in the request line: `/webhooks/stripe`. */
  readonly path: string
  /** The address that the provider was given, scheme and host included. Some signatures cover it. */
  readonly publicUrl: string
  readonly connectionId: string
  readonly connectionName: string
  readonly connector: AnyConnector
  /** The connection's. */
  readonly settings: Settings
  /** The secrets that are valid now, several during rotation. It rejects where they cannot be opened. */
  readonly secrets: () => Promise<readonly string[]>
  /** The same, read anew: asked before a signature is said to be bad, since one may have been rotated in a moment ago. */
  readonly freshSecrets?: () => Promise<readonly string[]>
}

/** A request that was not accepted. */
export interface Rejection {
  /** Absent for an unknown path. */
  readonly endpoint?: Endpoint
  /** What was answered. Absent where the sender had gone. */
  readonly status?: number
  readonly code: string
  readonly reason: string
  readonly headers: RawHeaders
  /** As much as had come, up to the limit of a body. Empty for a 503, since the sender will bring it again. */
  readonly body: Buffer
  readonly receivedAt: number
  /** What was thrown, for a 503. */
  readonly cause?: unknown
}
