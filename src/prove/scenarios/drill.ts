import { HOUR, MINUTE, SECOND, seededRandom } from '../../base/index.ts'
import type { Postage } from '../simulation/postOffice.ts'
import type { Interference, Ticket } from '../simulation/simulation.ts'
import type { TwinFault } from '../standIn.ts'
import { fieldThatAnswersNeed } from './poison.ts'

/** What goes wrong in a drill. */
export type DrillKind =
  | 'undisturbed'
  | 'outage'
  | 'crash'
  | 'duplicates'
  | 'disorder'
  | 'slow'
  | 'rate_limit'
  | 'reset'
  | 'poison_answer'
  | 'poison_event'

/** One drill: what is played, and what may come of it. */
export interface Drill {
  /** `'outage-quickbooks'`: the anchor on the page. */
  readonly id: string
  readonly kind: DrillKind
  readonly title: string
  /** What was done to the platform, in a sentence or two. */
  readonly injected: string
  /** The connection that it concerns; `undefined`: all. */
  readonly connection?: string
  /** With events over three days. */
  readonly long: boolean
  /** Between two events, in milliseconds. Default 1 s. */
  readonly apartMs?: number
  readonly outage?: { readonly fromMs: number; readonly toMs: number }
  readonly postage?: Postage
  /** Whether people may find something kept for them at the end: true where what came in cannot be trusted. */
  readonly mayKeep: boolean
  /** Made anew for each simulation: it may count. */
  readonly interference?: (nameOf: NameOf) => Interference
}

/** Names the run of a call. */
type NameOf = (ticket: Ticket) => string

/** Which call, whoever makes it and whenever: the same in every simulation of a script. */
export function callName(
  run: string,
  { connection, step, kind }: Pick<Ticket, 'connection' | 'step' | 'kind'>,
): string {
  return `${connection} ${run} ${step} ${kind}`
}

/** What the undisturbed run shows of the flows' calls. */
export interface Landscape {
  /** Connections that were called. */
  readonly called: readonly string[]
  /** Connections at which something was done. */
  readonly acting: readonly string[]
  /** Calls that did something, by {@link callName}. */
  readonly acts: ReadonlySet<string>
  /** For calls that did something: a field that their answer's contract needs. */
  readonly needed: ReadonlyMap<string, string>
}

const OUTAGE = { fromMs: 10 * SECOND, toMs: 72 * HOUR }
const LATE_ANSWER_MS = 20 * SECOND
/** Beyond what any call waits, and within what a look-up waits for an effect to show. */
const TOO_LATE_MS = MINUTE
const RETRY_AFTER_SECONDS = 30
const COPIES = 3
/** So that a run which is begun anew after a death gets on before the next: five times without is a run that kills. */
const APART_MS = 30 * SECOND

/** The drills for flows that call these connections. */
export function drillsFor(
  landscape: Landscape,
  seed: string,
  titleOf: (connection: string) => string,
): readonly Drill[] {
  const base = { long: false, mayKeep: false }
  const outages = landscape.called.map((connection): Drill => ({
    ...base,
    id: `outage-${connection}`,
    kind: 'outage',
    connection,
    long: true,
    outage: OUTAGE,
    title: `${titleOf(connection)} is away for 72 hours`,
    injected: `From the tenth second on and for 72 hours every request to ${titleOf(connection)} is answered 503. Events keep coming in: before it, 20 hours and 60 hours into it.`,
  }))
  const drills: Drill[] = [
    {
      ...base,
      id: 'duplicates',
      kind: 'duplicates',
      postage: { copies: COPIES },
      title: 'Every webhook is delivered three times',
      injected: `Each webhook is delivered ${COPIES} times, with the same signature and the same id.`,
    },
    {
      ...base,
      id: 'disorder',
      kind: 'disorder',
      postage: { held: true },
      title: 'Webhooks arrive in the wrong order',
      injected: 'All webhooks are held back and then delivered at once, the last first.',
    },
    {
      ...base,
      id: 'slow',
      kind: 'slow',
      title: 'Providers answer slowly, or after the caller has given up',
      injected: `The first attempt of every third call is answered after ${LATE_ANSWER_MS / SECOND} s. At each provider one call that does something is worse: the provider acts on it ${TOO_LATE_MS / SECOND} s later, long after the caller has given up.`,
    },
    {
      ...base,
      id: 'rate-limit',
      kind: 'rate_limit',
      title: 'Providers have had enough: 429 with Retry-After',
      injected: `The first attempt of every second call is answered 429 with Retry-After: ${RETRY_AFTER_SECONDS}.`,
    },
    {
      ...base,
      id: 'reset',
      kind: 'reset',
      title: 'The connection is cut after the provider has acted',
      injected:
        'The first attempt of every call that does something is carried out by the provider, and the connection is cut before its answer.',
    },
    {
      ...base,
      id: 'crash',
      kind: 'crash',
      apartMs: APART_MS,
      title: 'The node dies after the provider has acted',
      injected: `${landscape.acting.length} times, once for each provider at which something is done: the node dies in the moment in which the provider has acted and before it hears of it. Nothing is handed over. Another node takes its place. At the end the dead ones come back to life and go on where they stopped.`,
    },
    {
      ...base,
      id: 'poison-answer',
      kind: 'poison_answer',
      mayKeep: true,
      title: 'An answer breaks its contract',
      injected:
        'At each provider the answer to one call that does something lacks a field which its contract needs.',
    },
    {
      ...base,
      id: 'poison-event',
      kind: 'poison_event',
      mayKeep: true,
      title: 'An event breaks its contract',
      injected:
        'Of each kind of event one arrives without a field that its contract needs, and with a valid signature.',
    },
    ...outages,
  ]
  return drills.map((drill) => ({ ...drill, ...interferenceOf(drill.kind, landscape, seed) }))
}

function interferenceOf(kind: DrillKind, landscape: Landscape, seed: string): Pick<Drill, 'interference'> {
  switch (kind) {
    case 'slow':
      return { interference: (nameOf) => slowly(landscape, seed, nameOf) }
    case 'rate_limit':
      return {
        interference: (nameOf) => ({
          faultFor: (ticket) =>
            ticket.attempt === 1 && lot(seed, callOf(ticket, nameOf)) < 1 / 2
              ? { kind: 'rate_limit', retryAfterSeconds: RETRY_AFTER_SECONDS }
              : undefined,
        }),
      }
    case 'reset':
      return {
        interference: (nameOf) => ({
          faultFor: (ticket) =>
            ticket.attempt === 1 && landscape.acts.has(callOf(ticket, nameOf))
              ? { kind: 'reset_after_acting' }
              : undefined,
        }),
      }
    case 'crash':
      return { interference: () => dying() }
    case 'poison_answer':
      return { interference: (nameOf) => poisoning(landscape, nameOf) }
    default:
      return {}
  }
}

function slowly(landscape: Landscape, seed: string, nameOf: NameOf): Interference {
  const late = new Set<string>()
  return {
    faultFor(ticket, connection): TwinFault | undefined {
      if (ticket.attempt !== 1) return undefined
      const name = callOf(ticket, nameOf)
      if (landscape.acts.has(name) && !late.has(connection)) {
        late.add(connection)
        return { kind: 'slow', ms: TOO_LATE_MS, actLate: true }
      }
      return lot(seed, name) < 1 / 3 ? { kind: 'slow', ms: LATE_ANSWER_MS } : undefined
    },
  }
}

function dying(): Interference {
  const done = new Set<string>()
  return {
    diesAfter(ticket, effects) {
      if (effects.length === 0 || done.has(ticket.connection)) return false
      done.add(ticket.connection)
      return true
    },
  }
}

function poisoning(landscape: Landscape, nameOf: NameOf): Interference {
  const done = new Set<string>()
  return {
    faultFor(ticket, connection) {
      const path = landscape.needed.get(callOf(ticket, nameOf))
      if (path === undefined || done.has(connection)) return undefined
      done.add(connection)
      return { kind: 'drop_field', path }
    },
  }
}

export interface Survey {
  readonly interference: Interference
  readonly landscape: (called: readonly string[]) => Landscape
}

/** Watches the undisturbed run: which calls do something, and which fields their answers need. */
export function surveying(nameOf: NameOf): Survey {
  const acts = new Set<string>()
  const acting = new Set<string>()
  const needed = new Map<string, string>()
  const answers = new Map<string, string | undefined>()
  return {
    interference: {
      onAnswer(ticket, result) {
        if (result.as !== 'answered' || ticket.kind !== 'send') return
        const { operation, input } = ticket.request
        answers.set(callOf(ticket, nameOf), fieldThatAnswersNeed(operation, result, input))
      },
      // Asked after every exchange; nobody dies here.
      diesAfter(ticket, effects) {
        if (effects.length === 0) return false
        const name = callOf(ticket, nameOf)
        acts.add(name)
        acting.add(ticket.connection)
        const field = answers.get(name)
        if (field !== undefined) needed.set(name, field)
        return false
      },
    },
    landscape: (called) => ({ called, acting: [...acting].sort(), acts, needed }),
  }
}

function callOf(ticket: Ticket, nameOf: NameOf): string {
  return callName(nameOf(ticket), ticket)
}

/** A number from 0 to 1 that depends on the seed and on the call alone. */
function lot(seed: string, name: string): number {
  return seededRandom(`${seed} ${name}`).next()
}
