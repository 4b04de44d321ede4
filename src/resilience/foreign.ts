import { MINUTE, SECOND } from '../base/index.ts'

/**
 * What others take of the same limit: another program with the same credential, or a person in the provider's own
 * app. Measured from what the provider says is left, or else from its refusals.
 */
export interface Foreign {
  /** Points in a window. */
  readonly amount: number
  /** When the provider last said how much is left. */
  readonly measuredAt: number
  /** Less is tried no sooner than this, where only refusals tell. */
  readonly heldUntil: number
  /** How long it was held last. */
  readonly holdMs: number
  /** The part of the limit that is tried next. */
  readonly step: number
  readonly refusedAt: number
  /**
   * The part of the limit that is left unused because calls were refused: they reach the provider closer together than
   * they left, more so on a busy machine or a shaky line.
   */
  readonly slack: number
  readonly slackAt: number
}

export const NO_FOREIGN: Foreign = {
  amount: 0,
  measuredAt: 0,
  heldUntil: 0,
  holdMs: 0,
  step: 0,
  refusedAt: 0,
  slack: 0,
  slackAt: 0,
}

interface Context {
  readonly allowed: number
  readonly windowMs: number
  readonly now: number
}

/** More is believed at once, less only by and by: what is too little now costs refusals, what is too much a moment. */
const RISE = 0.5
const FALL = 0.25
/** Less than this part of the limit is the error of the measurement, unless a call was refused. */
const NOISE = 0.05
/** After a refusal a little less is used than what had got through. */
const CAUTION = 0.02
/** A refusal halves what is used at most, and at least this part of the limit is always tried. */
const LEAST = 0.05
const FIRST_STEP = 0.01
const LARGEST_STEP = 0.16
const FIRST_HOLD_MS = 5 * SECOND
const LONGEST_HOLD_MS = MINUTE

/** The provider said what is left; `ours` is what we had used of the same window. */
export function measured(
  foreign: Foreign,
  seen: { readonly left: number; readonly ours: number; readonly refused: boolean },
  context: Context,
): Foreign {
  const { allowed, now } = context
  const { left, ours, refused } = seen
  const found = Math.min(allowed, Math.max(0, allowed - left - ours))
  const taken = !refused && found < Math.max(1, allowed * NOISE) ? 0 : found
  const weight = taken > foreign.amount ? RISE : FALL
  const amount = foreign.amount + weight * (taken - foreign.amount)
  return { ...foreign, amount: amount < 0.5 ? 0 : amount, measuredAt: now }
}

/** The provider refused a call; what we had got through in the window was all that there was for us. */
export function refused(foreign: Foreign, ours: number, context: Context): Foreign {
  const { allowed, windowMs, now } = context
  // One window's refusals tell one thing.
  if (now < foreign.refusedAt + windowMs) return foreign
  const effective = allowed - foreign.amount
  const left = Math.max(Math.min(ours * (1 - CAUTION), effective), effective / 2, allowed * LEAST, 1)
  const triedLess = foreign.step > FIRST_STEP
  const holdMs = Math.min(
    LONGEST_HOLD_MS,
    triedLess && foreign.holdMs > 0 ? foreign.holdMs * 2 : Math.max(FIRST_HOLD_MS, 5 * windowMs),
  )
  return {
    ...foreign,
    amount: Math.max(foreign.amount, allowed - left),
    refusedAt: now,
    holdMs,
    heldUntil: now + holdMs,
    step: FIRST_STEP,
  }
}

const SLACK_STEP = 0.02
const MOST_SLACK = 0.1
const LESS_SLACK = 0.01
const SLACK_HELD_MS = 10 * SECOND

/** A call was refused: whatever the reason, a little more is left unused for a while. */
export function cautious(foreign: Foreign, { windowMs, now }: Context): Foreign {
  if (foreign.slack > 0 && now < foreign.slackAt + windowMs) return foreign
  return { ...foreign, slack: Math.min(MOST_SLACK, foreign.slack + SLACK_STEP), slackAt: now }
}

function lessSlack(foreign: Foreign, now: number): Foreign {
  if (foreign.slack === 0 || now < foreign.slackAt + SLACK_HELD_MS) return foreign
  return { ...foreign, slack: Math.max(0, foreign.slack - LESS_SLACK), slackAt: now }
}

/** As time passes, more is tried: in small steps at first, in larger ones while nothing is refused. */
export function relaxed(before: Foreign, context: Context): Foreign {
  const { allowed, windowMs, now } = context
  const foreign = lessSlack(before, now)
  const measuredLately = now - foreign.measuredAt < 2 * windowMs + 5 * SECOND
  if (foreign.amount === 0 || measuredLately || now < foreign.heldUntil) return foreign
  return {
    ...foreign,
    amount: Math.max(0, foreign.amount - Math.max(foreign.step, FIRST_STEP) * allowed),
    step: Math.min(LARGEST_STEP, Math.max(foreign.step, FIRST_STEP) * 2),
    heldUntil: now + Math.max(2 * windowMs, 2 * SECOND),
  }
}
