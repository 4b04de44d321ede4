import type { Clock } from '../base/index.ts'
import type { ConnectOptions } from '../define/index.ts'

/** Somebody whom events concern. Their names and addresses are made up; no mail and no text ever reaches them. */
export interface Person {
  readonly name: string
  readonly email: string
  /** E.164. */
  readonly phone: string
}

/** What goes wrong with one exchange at a twin; see `Faults` of `trestle/testing`. */
export type TwinFault =
  | { readonly kind: 'rate_limit'; readonly retryAfterSeconds: number }
  | { readonly kind: 'reset_after_acting' }
  | { readonly kind: 'slow'; readonly ms: number; readonly actLate?: boolean }
  | { readonly kind: 'drop_field'; readonly path: string }

/** One request, as the twin wrote it down. */
export interface SeenRequest {
  readonly number: number
  /** Milliseconds since 1970, on the simulated clock. */
  readonly at: number
  readonly method: string
  readonly path: string
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>
  readonly status: number | 'reset' | undefined
  readonly fault: string | undefined
}

/** One thing that the twin did, noted at the moment when it acted. */
export interface SeenEffect {
  readonly number: number
  readonly at: number
  readonly kind: string
  readonly key: string
  readonly summary: string
  /** The number of the request that caused it; 0: the twin acted by itself. */
  readonly request: number
}

/** As much of a twin as a proof needs. Every twin of `trestle/testing` is one. */
export interface ProvenTwin {
  readonly name: string
  readonly faults: {
    down(on: boolean): void
    arm(times: number, fault: TwinFault): void
  }
  requests(): readonly SeenRequest[]
  requestCount(): number
  effects(): readonly SeenEffect[]
  deliveries(): readonly { readonly state: string; readonly attempts: readonly unknown[] }[]
  ownErrors(): readonly string[]
  stop(): Promise<void>
}

/** What makes an event of one type happen. `turn` counts from 0: a further event is another fact. */
export type Happening = (person: Person, turn: number) => unknown

/**
 * A provider that stands in for the real one while flows are proven: a twin, the credentials that open it, and what
 * can be made to happen there. `trestle/connectors/<name>/twin` exports `createStandIn`, and so may your own.
 */
export interface StandIn {
  /** Started. */
  readonly twin: ProvenTwin
  /** What a connection to it has, in place of what the configuration says. */
  readonly connection: Pick<
    ConnectOptions,
    'baseUrl' | 'tokenUrl' | 'settings' | 'secrets' | 'webhookSecrets'
  >
  /** Makes these people known there, and tells nobody. Called once, before {@link sendWebhooksTo}. */
  know?(people: readonly Person[]): unknown
  /** Where its webhooks go from now on. */
  sendWebhooksTo(url: string): void
  /** By event type. What is not here cannot be exercised, and the page says so. */
  readonly happenings: Readonly<Record<string, Happening | undefined>>
}

/** Makes a stand-in. Everything that it makes up comes from the seed, every time from the clock. */
export type CreateStandIn = (options: { readonly clock: Clock; readonly seed: string }) => Promise<StandIn>
