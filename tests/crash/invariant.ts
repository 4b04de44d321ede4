import { effectsOf } from './flows.ts'
import type { Sent } from './sender.ts'

/**
 * What the crash tests hold the platform to, from what its surroundings wrote down: the sender every 2xx, the provider
 * every effect. The platform's own tables are asked for one thing only: whether a run is held for a person.
 */
export interface Observed {
  readonly sent: readonly Sent[]
  /** Each effect's key, with the places at which it happened in the order of all effects. */
  readonly places: ReadonlyMap<string, readonly number[]>
  /** In words, the states of a delivery's runs: `held (outcome_unknown)`. */
  readonly stateOf: (eventId: string) => string
}

/**
 * - `lost`: acknowledged, and an effect is missing.
 * - `doubled`: an effect happened more than once.
 * - `half_done`: not acknowledged, and only a part of its effects happened.
 * - `held`: acknowledged, and held although the provider could have been asked.
 * - `out_of_order`: a run did not wait for the one before it in its lane.
 * - `unknown`: an effect that nothing sent asks for.
 * - `node_ended`: a node ended that nobody killed.
 * - `not_serving`, `not_rescued`: it took longer than promised.
 */
export interface Violation {
  readonly as:
    | 'lost'
    | 'doubled'
    | 'half_done'
    | 'held'
    | 'out_of_order'
    | 'unknown'
    | 'node_ended'
    | 'not_serving'
    | 'not_rescued'
  readonly point: string
  readonly what: string
}

export interface Verdict {
  readonly violations: readonly Violation[]
  /** Acknowledged deliveries of `none` operations whose outcome nobody can know: held for a person. */
  readonly heldForPeople: number
}

export function judge({ sent, places, stateOf }: Observed): Verdict {
  const violations: Violation[] = []
  let heldForPeople = 0
  const expected = new Set<string>()
  for (const delivery of sent) {
    const keys = effectsOf(delivery)
    for (const key of keys) expected.add(key)
    const violate = (as: Violation['as'], what: string): void =>
      void violations.push({ as, point: delivery.point, what: `${delivery.kind} ${delivery.id}: ${what}` })

    for (const key of keys) {
      const times = places.get(key)?.length ?? 0
      if (times > 1) violate('doubled', `effect ${key} happened ${times} times`)
    }
    const missing = keys.filter((key) => !places.has(key))
    if (missing.length === 0) continue
    if (delivery.acknowledgedAt === undefined) {
      if (missing.length < keys.length)
        violate(
          'half_done',
          `not acknowledged, and only ${missing.join(', ')} is missing; ${stateOf(delivery.id)}`,
        )
      continue
    }
    const state = stateOf(delivery.id)
    if (!state.startsWith('held'))
      violate('lost', `acknowledged, and ${missing.join(', ')} is missing; ${state}`)
    else if (delivery.kind === 'none') heldForPeople++
    else violate('held', state)
  }
  for (const key of places.keys())
    if (!expected.has(key)) violations.push({ as: 'unknown', point: '', what: `effect ${key}` })
  violations.push(...inversions(sent, places))
  return { violations, heldForPeople }
}

/** Whether everything acknowledged has its effects: what is left over may still come. */
export function unfinished(sent: readonly Sent[], places: ReadonlyMap<string, unknown>): Sent[] {
  return sent.filter(
    (delivery) =>
      delivery.acknowledgedAt !== undefined && effectsOf(delivery).some((key) => !places.has(key)),
  )
}

/** A lane's delivery is sent after the one before was acknowledged, so its effects must come after that one's. */
function inversions(sent: readonly Sent[], places: ReadonlyMap<string, readonly number[]>): Violation[] {
  const lanes = new Map<string, Sent[]>()
  for (const delivery of sent) {
    if (delivery.kind !== 'lane' || delivery.acknowledgedAt === undefined) continue
    const lane = lanes.get(delivery.customer)
    if (lane) lane.push(delivery)
    else lanes.set(delivery.customer, [delivery])
  }
  const found: Violation[] = []
  for (const lane of lanes.values()) {
    let before = 0
    for (const delivery of lane) {
      const at = effectsOf(delivery).flatMap((key) => places.get(key)?.[0] ?? [])
      if (at.length > 0 && Math.min(...at) < before)
        found.push({
          as: 'out_of_order',
          point: delivery.point,
          what: `lane ${delivery.customer}: ${delivery.id}`,
        })
      before = Math.max(before, ...at)
    }
  }
  return found
}
