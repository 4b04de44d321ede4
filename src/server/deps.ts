import type { Clock, Random } from '../base/index.ts'
import type { CallOutcome } from '../calls/index.ts'
import type { Database } from '../db/index.ts'
import type { AnyConnector } from '../define/index.ts'
import type { FlowTable, Inbox } from '../inbox/index.ts'
import type { Actor } from '../ledger/index.ts'
import type { Operator } from '../operator/index.ts'
import type { Rotated, RotationWish, Vault } from '../vault/index.ts'
import type { OpenHold } from './http/readiness.ts'

/** What the HTTP API is built from. An installation has most of it. */
export interface ApiDeps {
  readonly database: Pick<Database, 'pool'>
  readonly vault: Pick<
    Vault,
    | 'tokens'
    | 'loadConnection'
    | 'loadConnectionById'
    | 'listConnections'
    | 'authorizations'
    | 'revokeGrant'
    | 'setEnd'
    | 'masterKeyState'
  >
  readonly operator: Operator
  readonly inbox: Pick<Inbox, 'accept' | 'acceptWithin'>
  readonly flows: Pick<FlowTable, 'byName' | 'forRun'>
  readonly connectorNamed: (name: string) => AnyConnector | undefined
  readonly clock: Clock
  readonly random: Random
  /** Whose data the live page shows to who enters by a one-time link. Tokens carry their own tenant. */
  readonly tenant: string
  /** The address that others reach us at, without a trailing slash. */
  readonly publicUrl: () => string
  /** Makes the connector's check over a connection. Throws `not_found`. */
  readonly testConnection: (tenant: string, name: string) => Promise<CallOutcome>
  /** Puts new secrets in place, tried first unless `untested`. Throws `not_found`, and a `UsageError` that says what to do. */
  readonly rotateCredential: (
    tenant: string,
    name: string,
    wish: RotationWish & { readonly untested?: boolean | undefined },
    actor: Actor,
  ) => Promise<Rotated & { readonly tested: boolean }>
  /** Whether this node is on its way down, so that `/ready` says so. Default: never. */
  readonly stopping?: () => boolean
  /** The hold that this node knows to be open, so that `/ready` says so. Default: none. */
  readonly openHold?: () => OpenHold | undefined
  /** Told of faults of ours that were answered with 500. */
  readonly onFault?: (what: string, error: unknown) => void
}
