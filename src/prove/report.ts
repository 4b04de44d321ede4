import type { Drill } from './scenarios/drill.ts'
import type { History } from './scenarios/history.ts'
import type { Unexercised } from './scenarios/script.ts'
import type { Verdict } from './scenarios/verdict.ts'

/** What one drill came to. */
export interface DrillReport {
  readonly drill: Pick<Drill, 'id' | 'kind' | 'title' | 'injected' | 'connection' | 'outage'>
  readonly history: History
  readonly verdict: Verdict
  /** Where something was taken out: what, and from what. */
  readonly poisoned: readonly string[]
  /** Why it did not hold what was promised; empty: it did. */
  readonly broken: readonly string[]
}

/** A flow, and how often it was exercised in the undisturbed run. */
export interface FlowReport {
  readonly name: string
  readonly summary: string
  readonly trigger: string
  readonly runs: number
  /** Connections at which it did something. */
  readonly actsAt: readonly string[]
}

export interface IntegrationReport {
  readonly connection: string
  readonly title: string
  /** Requests in the undisturbed run. */
  readonly calls: number
  readonly effects: number
}

/** Everything that the page says, and `--json`. */
export interface ProofReport {
  readonly ok: boolean
  readonly seed: string
  readonly version: string
  readonly flows: readonly FlowReport[]
  readonly integrations: readonly IntegrationReport[]
  readonly undisturbed: History
  readonly drills: readonly DrillReport[]
  readonly unexercised: readonly Unexercised[]
  /** What else was not shown, in sentences. */
  readonly notShown: readonly string[]
  /** What was promised and did not hold, by drill. */
  readonly broken: readonly string[]
}

/** Why a drill did not hold what was promised, in sentences. */
export function brokenPromises(
  { mayKeep }: Pick<Drill, 'mayKeep'>,
  verdict: Verdict,
  history: History,
): string[] {
  const { lost, twice, unasked, accounted, unfinished, refused } = verdict
  const dead = accounted.filter(({ how }) => how === 'dead_letter' || how === 'undone')
  const silent = accounted.filter(({ reason }) => reason === '')
  return [
    ...list(lost, 'was lost', 'were lost'),
    ...list(twice, 'happened twice', 'happened twice'),
    ...list(unasked, 'happened that nothing asked for', 'happened that nothing asked for'),
    ...list(unfinished, 'is not over and waits for nobody', 'are not over and wait for nobody'),
    ...list(
      silent.map(({ what, run }) => `${what} (${run})`),
      'is kept without a reason',
      'are kept without a reason',
    ),
    ...(mayKeep
      ? []
      : list(
          dead.map(({ what, run, reason }) => `${what} (${run}): ${reason}`),
          'was given up, though the provider came back',
          'were given up, though the provider came back',
        )),
    ...(refused === 0 ? [] : [`${refused} ${refused === 1 ? 'webhook was' : 'webhooks were'} never taken.`]),
    ...list(history.faults, 'fault of the platform itself', 'faults of the platform itself'),
  ]
}

const SHOWN = 5

function list(items: readonly string[], one: string, many: string): string[] {
  if (items.length === 0) return []
  const more = items.length > SHOWN ? `; and ${items.length - SHOWN} more` : ''
  return [`${items.length} ${items.length === 1 ? one : many}: ${items.slice(0, SHOWN).join('; ')}${more}.`]
}
