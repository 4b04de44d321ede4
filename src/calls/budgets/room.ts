import { PRIORITIES, type Priority } from '../../define/index.ts'

/** A call that waits for points for a moment. */
export interface Waiting {
  readonly priority: Priority
  /** Whose it is: flows of one priority take turns. */
  readonly flow: string
  /** The time that it was promised when it was deferred; calls that were promised earlier go first. */
  readonly promised: number
  readonly enteredAt: number
  readonly cost: number
}

/** How often in a row those of a lower priority are passed over, at most: nobody starves. */
const MOST_PASSED_OVER: Readonly<Record<Priority, number>> = { interactive: 0, normal: 6, bulk: 19 }

/**
 * The calls of one connection that wait on this node, and who goes first: by priority, but for a turn now and then of
 * those who were passed over; within a priority the flow that had least; within a flow who was promised first.
 */
export class Room<Call extends Waiting> {
  readonly #calls = new Set<Call>()
  readonly #passedOver: Record<Priority, number> = { interactive: 0, normal: 0, bulk: 0 }
  readonly #served = new Map<string, number>()
  /** What the flow that went last had been served before: who comes anew begins there. */
  readonly #level: Record<Priority, number> = { interactive: 0, normal: 0, bulk: 0 }

  get size(): number {
    return this.#calls.size
  }

  get calls(): ReadonlySet<Call> {
    return this.#calls
  }

  enter(call: Call): void {
    this.#calls.add(call)
  }

  leave(call: Call): boolean {
    const left = this.#calls.delete(call)
    if (this.#calls.size === 0) this.#served.clear()
    return left
  }

  /** Whether those of its priority were passed over so often that it is their turn. */
  isDue({ priority }: Waiting): boolean {
    return priority !== 'interactive' && this.#passedOver[priority] >= MOST_PASSED_OVER[priority]
  }

  /** All of them, in the order in which they should go. */
  inOrder(): Call[] {
    const rank = (call: Call): number => (this.isDue(call) ? -1 : PRIORITIES.indexOf(call.priority))
    return [...this.#calls].sort(
      (a, b) =>
        rank(a) - rank(b) ||
        this.#servedOf(a) - this.#servedOf(b) ||
        a.promised - b.promised ||
        a.enteredAt - b.enteredAt,
    )
  }

  /** The one who should go last: of the lowest priority, of the flow that has most here, promised latest. */
  last(): Call | undefined {
    const counts = new Map<string, number>()
    for (const call of this.#calls) counts.set(keyOf(call), (counts.get(keyOf(call)) ?? 0) + 1)
    let last: Call | undefined
    for (const call of this.#calls) if (last === undefined || goesAfter(call, last, counts)) last = call
    return last
  }

  /** This one goes now. */
  serve(call: Call): void {
    const key = keyOf(call)
    const served = this.#servedOf(call)
    this.#level[call.priority] = served
    this.#served.set(key, served + call.cost)
    this.leave(call)
    for (const priority of PRIORITIES)
      if (priority !== call.priority && this.#has(priority)) this.#passedOver[priority]++
    this.#passedOver[call.priority] = 0
  }

  #has(priority: Priority): boolean {
    for (const call of this.#calls) if (call.priority === priority) return true
    return false
  }

  #servedOf(call: Call): number {
    return Math.max(this.#served.get(keyOf(call)) ?? 0, this.#level[call.priority])
  }
}

function keyOf(call: Waiting): string {
  return `${call.priority} ${call.flow}`
}

function goesAfter(a: Waiting, b: Waiting, counts: ReadonlyMap<string, number>): boolean {
  const order =
    PRIORITIES.indexOf(a.priority) - PRIORITIES.indexOf(b.priority) ||
    counts.get(keyOf(a))! - counts.get(keyOf(b))! ||
    a.promised - b.promised ||
    a.enteredAt - b.enteredAt
  return order > 0
}
