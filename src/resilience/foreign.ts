import { SECOND } from '../base/index.ts'

/**
 * What others take of the same limit: another program with the same credential, or a person in the provider's own
 * app. Measured from what the provider says is left, or else from its refusals.
 */
export interface Foreign {
  /** Points in a window. */
  readonly amount: number
  /** When the provider last said how much is left. */
  readonly measuredAt: number
  /** What its answers tell, smoothed. */
  readonly smooth: number
  /** The most that this came to since a time, and in the stretch before. */
  readonly most: { readonly since: number; readonly now: number; readonly before: number }
  /** More is tried no sooner than this, where only refusals tell. */
  readonly heldUntil: number
  /** How long it was held last. */
  readonly holdMs: number
  /** The part of the limit that is tried next. */
  readonly step: number
  readonly refusedAt: number
  /** The part of ours that is left unused because calls were refused that nothing else explains. */
  readonly slack: number
  readonly slackAt: number
}

export const NO_FOREIGN: Foreign = {
  amount: 0,
  measuredAt: 0,
  smooth: 0,
  most: { since: 0, now: 0, before: 0 },
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

/** How much a single answer counts. Nodes tell what they used a little late, so one answer may be some points off. */
const WEIGHT = 0.2
/** Many providers count from the beginning of each second or ten: what others took shows only towards its end. */
const SHORTEST_STRETCH_MS = SECOND
/** Less than this part of the limit is the error of the measurement. */
const NOISE = 0.05
/** After a refusal a little less is used than what had got through. */
const CAUTION = 0.02
/** A refusal halves what is used at most, and at least this part of the limit is always tried. */
const LEAST = 0.05
const FIRST_STEP = 0.01
const STEP_GROWS = 1.5
const LARGEST_STEP = 0.32
const FIRST_HOLD_MS = 2 * SECOND
const LONGEST_HOLD_MS = 16 * SECOND
/** Windows after more was tried, in which a refusal says that there was no more. */
const AGAIN_SOON = 4

/**
 * The provider said what is left; `ours` is what we had used of the same window. What others take is the most that its
 * answers told in the last window or two: it rises within a few answers, and falls when others have left for so long.
 */
export function measured(
  foreign: Foreign,
  seen: { readonly left: number; readonly ours: number },
  context: Context,
): Foreign {
  const { allowed, windowMs, now } = context
  const { left, ours } = seen
  const found = Math.min(allowed, Math.max(0, allowed - left - ours))
  const taken = found < Math.max(1, allowed * NOISE) ? 0 : found
  const smooth = foreign.smooth + WEIGHT * (taken - foreign.smooth)
  const isOver = now - foreign.most.since >= Math.max(SHORTEST_STRETCH_MS, windowMs)
  const most = isOver
    ? { since: now, now: smooth, before: foreign.most.now }
    : { ...foreign.most, now: Math.max(foreign.most.now, smooth) }
  const amount = Math.max(most.now, most.before)
  return { ...foreign, smooth, most, amount: amount < 0.5 ? 0 : amount, measuredAt: now }
}

/** The provider refused a call; what we had got through in the window was all that there was for us. */
export function refused(foreign: Foreign, ours: number, context: Context): Foreign {
  const { allowed, windowMs, now } = context
  // One window's refusals tell one thing.
  if (now < foreign.refusedAt + windowMs) return foreign
  const effective = allowed - foreign.amount
  const left = Math.max(Math.min(ours * (1 - CAUTION), effective), effective / 2, allowed * LEAST, 1)
  // Nobody made room meanwhile: it is tried less often.
  const againSoon = now - foreign.heldUntil < AGAIN_SOON * Math.max(windowMs, SECOND)
  const holdMs = Math.min(
    LONGEST_HOLD_MS,
    againSoon && foreign.holdMs > 0 ? foreign.holdMs * 2 : Math.max(FIRST_HOLD_MS, 2 * windowMs),
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
const MOST_SLACK = 0.06
const LESS_SLACK = 0.02
const SLACK_HELD_MS = 5 * SECOND

/** A call was refused though points were left, as it seemed: a little more is left unused for a while. */
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
    step: Math.min(LARGEST_STEP, Math.max(foreign.step, FIRST_STEP) * STEP_GROWS),
    heldUntil: now + Math.max(windowMs, SECOND),
  }
}
