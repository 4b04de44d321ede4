import { repeatedEffects, type Clock, type Effect } from 'trestle/testing'
import type { Twins } from './twins.ts'

/** Something that happened in the salon's day. */
export interface Happening {
  /** `'payment of $45.00 by ada@example.com'` */
  readonly what: string
  /** When it happened, in milliseconds since 1970. */
  readonly at: number
  /** What it must lead to, each exactly once; see {@link effectId}. */
  readonly effects: readonly string[]
}

/** An effect that a twin noted, and what it belongs to. */
export interface SeenEffect extends Effect {
  readonly id: string
  readonly happening: Happening | undefined
}

/** How things stand between what happened and what the twins saw. */
export interface Verdict {
  readonly expected: number
  readonly found: number
  /** Expected, and not there. */
  readonly missing: readonly string[]
  /** There more than once. */
  readonly doubled: readonly string[]
  /** There, though nothing that happened asks for it. */
  readonly unasked: readonly string[]
}

interface Followed extends Happening {
  open: number
  doneAt: number | undefined
}

/**
 * Knows what must come of everything that happens, and compares it with the twins' ledgers of effects. It never asks
 * the platform: what counts is what the providers did.
 */
export class Witness {
  readonly #twins: Twins
  readonly #clock: Clock
  readonly #happenings: Followed[] = []
  readonly #expected = new Map<string, Followed>()
  readonly #seen = new Map<string, number>()
  /** How many effects of each twin were looked at. */
  readonly #read = new Map<string, number>()

  constructor(twins: Twins, clock: Clock) {
    this.#twins = twins
    this.#clock = clock
  }

  /** Something happened. Effects that are expected already, such as a customer's contact, are not expected twice. */
  happened(what: string, effects: readonly string[]): Happening {
    const followed: Followed = { what, at: this.#clock.now(), effects, open: 0, doneAt: undefined }
    for (const id of effects) {
      if (this.#expected.has(id)) continue
      this.#expected.set(id, followed)
      if (!this.#seen.has(id)) followed.open++
    }
    if (followed.open === 0) followed.doneAt = followed.at
    this.#happenings.push(followed)
    return followed
  }

  /** Effects that came since the last look. */
  look(): SeenEffect[] {
    const unread = this.#twins.all.flatMap((twin) => {
      const effects = twin.effects()
      const from = this.#read.get(twin.name) ?? 0
      this.#read.set(twin.name, effects.length)
      return effects.slice(from)
    })
    return unread.sort((a, b) => a.at - b.at).map((effect) => this.#note(effect))
  }

  #note(effect: Effect): SeenEffect {
    const id = effectId(effect.twin, effect.kind, this.#markOf(effect))
    const times = (this.#seen.get(id) ?? 0) + 1
    this.#seen.set(id, times)
    const happening = this.#expected.get(id)
    if (happening && times === 1 && --happening.open === 0) happening.doneAt = effect.at
    return { ...effect, id, happening }
  }

  /** What tells one effect of a kind from another: an id or an address that stands in it. */
  #markOf({ twin, key, ref }: Effect): string {
    const told =
      twin === 'business-app' ? this.#twins.app.state.events.find(({ id }) => id === ref) : undefined
    const text = told ? JSON.stringify(told.data) : key
    return MARKS.map((mark) => mark.exec(text)?.[1]).find((mark) => mark !== undefined) ?? ref
  }

  /** Happenings of which something is still to come. */
  unfinished(): readonly Happening[] {
    return this.#happenings.filter(({ doneAt }) => doneAt === undefined)
  }

  /** When the last effect of it came; `undefined` as long as one is to come. */
  doneAt(happening: Happening): number | undefined {
    return (happening as Followed).doneAt
  }

  happenings(): readonly Happening[] {
    return this.#happenings
  }

  verdict(): Verdict {
    this.look()
    const expected = [...this.#expected.keys()]
    const repeated = this.#twins.all.flatMap((twin) =>
      repeatedEffects(twin.effects()).map(({ kind, key }) => `${twin.name} ${kind} ${key}`),
    )
    const doubled = [...this.#seen].filter(([id, times]) => times > 1 && this.#expected.has(id))
    return {
      expected: expected.length,
      found: expected.filter((id) => this.#seen.has(id)).length,
      missing: expected.filter((id) => !this.#seen.has(id)),
      doubled: [...new Set([...doubled.map(([id]) => id), ...repeated])],
      unasked: [...this.#seen.keys()].filter((id) => !this.#expected.has(id)),
    }
  }
}

/** Names an effect: `effectId('quickbooks', 'payment.created', 'pi_…')`. */
export function effectId(twin: string, kind: string, mark: string): string {
  return `${twin} ${kind} ${mark}`
}

/** Ids of bookings, appointments, disputes, invoices, payments; else the customer's address. */
const MARKS = [
  /"booking":"(\w+)"/,
  /\b(apt_\w+)/,
  /\b(du_\w+)/,
  /\b(in_\w+)/,
  /\b(pi_\w+)/,
  /([\w.+-]+@[\w-]+\.\w+)/,
] as const
