import { seededRandom } from '../../src/base/index.ts'

/** What goes wrong with one exchange, by the boundary at which it does. */
export const FAULTS = {
  before_send: ['refused', 'node_dies_before_send'],
  after_send: ['reset_before_acting', 'unavailable', 'node_dies_in_flight', 'acts_late'],
  after_commit: ['reset_after_acting', 'error_after_acting', 'timed_out', 'node_dies_before_answer'],
  before_journal: ['node_dies_answered', 'node_dies_before_commit', 'node_dies_after_commit', 'database_cut'],
} as const
export type Boundary = keyof typeof FAULTS
export type Fault = (typeof FAULTS)[Boundary][number]

/** The exchanges of the flow and of its undoing, with how their operations behave when repeated. */
export const STEPS = {
  record: 'natural',
  invoice: 'key',
  contact: 'natural',
  note: 'lookup',
  sms: 'lookup',
  letter: 'none',
  word: 'key',
  undo_letter: 'natural',
  undo_invoice: 'key',
  undo_record: 'natural',
} as const
export type Step = keyof typeof STEPS

export interface Trial {
  readonly seed: number
  readonly carrier: 'sms' | 'letter'
  /** How it is to end: by itself, because its last step is refused for good, or because a person cancels it. */
  readonly ending: 'succeeds' | 'fails' | 'cancelled'
  /** The exchange during which a person cancels. */
  readonly cancelAt: Step | undefined
  readonly faults: readonly PlannedFault[]
}

export interface PlannedFault {
  readonly step: Step
  readonly boundary: Boundary
  readonly fault: Fault
  /** How long nothing runs after it, in milliseconds: longer than a key may live. */
  readonly away: number
}

const HOUR = 3_600_000

/** Every combination of step and boundary comes up in turn; the rest is drawn from the seed. */
export function planTrial(seed: number): Trial {
  const random = seededRandom(`trial ${seed}`)
  const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random.next() * items.length)]!
  const boundaries = Object.keys(FAULTS) as Boundary[]
  const steps = Object.keys(STEPS) as Step[]
  const step = steps[seed % steps.length]!
  const boundary = boundaries[Math.floor(seed / steps.length) % boundaries.length]!
  const carrier =
    step === 'sms' ? 'sms' : step.endsWith('letter') ? 'letter' : pick(['sms', 'letter'] as const)
  const ending = step.startsWith('undo_')
    ? pick(['fails', 'cancelled'] as const)
    : pick(['succeeds', 'succeeds', 'fails', 'cancelled'] as const)
  const first = planFault(step, boundary, pick)
  const second = random.next() < 0.3 ? planFault(pick(steps), pick(boundaries), pick) : undefined
  const sent = carrier === 'sms' ? 'sms' : 'letter'
  // What is to be undone must have been made.
  const cancelAt = step.startsWith('undo_')
    ? 'word'
    : pick(['record', 'invoice', 'contact', 'note', sent, 'word'] as const)
  return {
    seed,
    carrier,
    ending,
    cancelAt: ending === 'cancelled' ? cancelAt : undefined,
    faults: second && second.step !== step ? [first, second] : [first],
  }
}

function planFault(
  step: Step,
  boundary: Boundary,
  pick: <Item>(items: readonly Item[]) => Item,
): PlannedFault {
  const kind = STEPS[step]
  // What acts late on a repeatable write, or where only a person can look, no system can wait for.
  const faults = FAULTS[boundary].filter(
    (fault) => fault !== 'acts_late' || kind === 'lookup' || (kind === 'key' && !step.startsWith('undo_')),
  )
  return { step, boundary, fault: pick(faults), away: pick([0, 0, 0, 2 * HOUR, 26 * HOUR]) }
}
