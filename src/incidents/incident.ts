import type { Id } from '../base/index.ts'

/** What can be wrong. Each kind has one entry in the table of detectors. */
export const INCIDENT_KINDS = [
  'failing_calls',
  'outage',
  'budget',
  'dead_letters',
  'held_runs',
  'schedule',
  'reauthorization',
  'credential_refresh',
  'credential_refused',
  'credential_expiry',
  'certificate_expiry',
  'token_expiry',
  'conservation',
  'node_gone',
  'database_away',
  'disk',
  'left_out',
] as const
export type IncidentKind = (typeof INCIDENT_KINDS)[number]

export type IncidentId = Id<'inc'>

/** Something that a person should know about, as a detector finds it now. */
export interface Condition {
  readonly kind: IncidentKind
  /** What it is about: unique among the conditions of its kind, and the same as long as it lasts. At most 500 characters. */
  readonly subject: string
  /** A few words that stay the same as long as it lasts: the subject of the mail. */
  readonly title: string
  /** What is wrong, in a sentence. */
  readonly what: string
  /** Since when, in milliseconds since 1970. */
  readonly since: number
  /** What it holds up, in a sentence. */
  readonly holdsUp: string
  /** What to do, in a sentence. */
  readonly todo: string
  readonly connectionId?: string | undefined
  readonly flow?: string | undefined
  /** It is told again each time that what it holds up changes, as for an end that comes nearer. */
  readonly toldAgain?: boolean | undefined
  /** Of an outage: failing calls to what it names are part of it. As the ledger names targets, such as `hubspot.contacts`. */
  readonly covers?: { readonly connectionId: string; readonly target: string } | undefined
}

/** An incident that is not resolved. */
export interface OpenIncident extends Condition {
  readonly id: IncidentId
  readonly state: 'open' | 'acknowledged'
}

/** The moves between the states of an incident; `resolved` is the end: what comes back is a new incident. */
export const INCIDENT_MOVES = {
  open: ['acknowledged', 'resolved'],
  acknowledged: ['resolved'],
  resolved: [],
} as const satisfies Readonly<Record<string, readonly string[]>>
export type IncidentState = keyof typeof INCIDENT_MOVES
export const INCIDENT_STATES = [
  'open',
  'acknowledged',
  'resolved',
] as const satisfies readonly IncidentState[]

/** What an alert tells: that an incident began, that it is there still and more urgent, or that it is over. */
export const ALERT_CHANGES = ['opened', 'reminded', 'resolved'] as const
export type AlertChange = (typeof ALERT_CHANGES)[number]

/** Of an alert: it is to be sent, it was, or the other side never took it. */
export const ALERT_STATES = ['waiting', 'sent', 'given_up'] as const

/** What an alert tells: all that its message is made of, fixed when it was decided. */
export interface AlertPayload {
  readonly incident: IncidentId
  readonly kind: IncidentKind
  readonly change: AlertChange
  readonly title: string
  readonly what: string
  /** ISO 8601. */
  readonly since: string
  readonly holdsUp: string
  readonly todo: string
  readonly connection: string | null
  readonly flow: string | null
  /** When it was opened, told again or resolved. ISO 8601. */
  readonly at: string
  /** How it ended, in a sentence; of a resolved one only. */
  readonly resolution: string | null
}
