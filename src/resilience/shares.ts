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
