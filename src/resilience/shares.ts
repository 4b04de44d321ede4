import { SECOND } from '../base/index.ts'
import { PRIORITIES, type Priority } from '../define/index.ts'

/** What somebody wants of a limit, in any unit, by priority. */
export type Wants = Readonly<Record<Priority, number>>

export const NO_WANTS: Wants = { interactive: 0, normal: 0, bulk: 0 }

/**
 * The part of the whole that a class gets at least, however much those before it want: nobody starves. What a class
 * does not want of it goes to the others.
 */
const FLOORS: Wants = { interactive: 0, normal: 0.15, bulk: 0.05 }

/**
 * Shares `capacity` out to those who want of it: the more urgent first, but for the floors; within a class evenly,
 * and nobody more than they want (max-min fair). What nobody wants is spread evenly, so that a call to come finds some.
 */
export function sharesOf(capacity: number, wants: readonly Wants[]): number[] {
  const shares = wants.map(() => 0)
  const give = (amounts: readonly number[]): number => {
    let given = 0
    for (const [i, amount] of amounts.entries()) {
      shares[i]! += amount
      given += amount
    }
    return given
  }
  let left = capacity
  const floors = { ...NO_WANTS }
  for (const priority of PRIORITIES) {
    const wanted = wants.reduce((sum, want) => sum + want[priority], 0)
    floors[priority] = Math.min(wanted, capacity * FLOORS[priority])
  }
  let keptForOthers = PRIORITIES.reduce((sum, priority) => sum + floors[priority], 0)
  for (const priority of PRIORITIES) {
    keptForOthers -= floors[priority]
    left -= give(
      fairly(
        Math.max(0, left - keptForOthers),
        wants.map((want) => want[priority]),
      ),
    )
  }
  if (wants.length > 0) give(wants.map(() => Math.max(0, left) / wants.length))
  return shares
}

/**
 * Parts in whole points of a window that allows `whole` of them. Who cannot make a single call with its part gets none,
 * unless there is enough for one; what is left goes round, and so does the turn of who comes first.
 */
export function partsOf(
  whole: number,
  those: readonly { readonly wants: Wants; readonly unit: number }[],
  windowMs: number,
  turn: number,
): number[] {
  const perSecond = (whole * SECOND) / windowMs
  const exact = sharesOf(
    perSecond,
    those.map(({ wants }) => wants),
  ).map((share) => (share * windowMs) / SECOND)
  const unitOf = (i: number): number => Math.max(1, Math.min(those[i]!.unit, whole))
  const parts = exact.map((share, i) => (share + 1e-6 < unitOf(i) ? 0 : Math.floor(share + 1e-6)))
  const order = those.map((_, i) => (i + turn) % those.length)
  let left = whole - parts.reduce((sum, part) => sum + part, 0)
  for (const [rank, i] of order.entries()) {
    if (parts[i]! > 0 || exact[i]! <= 0) continue
    if (rank === 0) left += taken(parts, unitOf(i) - left)
    if (left < unitOf(i)) continue
    parts[i] = unitOf(i)
    left -= unitOf(i)
  }
  const served = order.filter((i) => parts[i]! > 0)
  for (let next = 0; left >= 1 && served.length > 0; next++) {
    parts[served[next % served.length]!]!++
    left--
  }
  return parts
}

/** Takes points away from those who have most; gives how many. */
function taken(parts: number[], points: number): number {
  let got = 0
  while (got < points) {
    const most = parts.indexOf(Math.max(...parts))
    if (parts[most]! <= 0) break
    parts[most]!--
    got++
  }
  return got
}

/** Max-min fair: whoever wants less than an even part gets it whole, and the others share the rest. */
export function fairly(capacity: number, wanted: readonly number[]): number[] {
  const given = wanted.map(() => 0)
  let left = capacity
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a]! - wanted[b]!)
  for (const [rank, i] of order.entries()) {
    given[i] = Math.min(wanted[i]!, left / (order.length - rank))
    left -= given[i]
  }
  return given
}
