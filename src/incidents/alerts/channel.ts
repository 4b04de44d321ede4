import type { AlertPayload } from '../incident.ts'

/** One alert on its way: the same id in every attempt, so that who gets it twice can tell. */
export interface Alert {
  readonly id: string
  readonly payload: AlertPayload
}

/**
 * - `told`: the other side took it. - `refused`: it said that it wants no more of them.
 * - `failed`: it is tried again.
 */
export type Told =
  | { readonly as: 'told'; readonly note?: string }
  | { readonly as: 'refused'; readonly reason: string }
  | { readonly as: 'failed'; readonly reason: string }

/** A way to tell people. Makes one attempt and never throws. */
export interface Channel {
  /** Kept with each alert: `email`, `webhook`. */
  readonly name: string
  readonly tell: (alert: Alert) => Promise<Told>
}
