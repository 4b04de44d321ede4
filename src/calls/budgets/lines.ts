interface Line {
  /** The time that the next one to be deferred is given. */
  next: number
  /** The same for those who come back and find nothing. */
  nextAgain: number
}

const MOST_LINES = 1000

/**
 * The times that deferred calls of one connection are given, flow by flow: one after another at the pace that is
 * allowed, and not all at once. Flows do not wait behind each other's backlog; who of them goes is decided when they
 * come back.
 */
export class Lines {
  readonly #lines = new Map<string, Line>()

  /** A time no earlier than `earliest`, and `paceMs` after the one given before. */
  turn(
    flow: string,
    turn: { readonly earliest: number; readonly paceMs: number; readonly again: boolean },
  ): number {
    const line = this.#lines.get(flow) ?? { next: 0, nextAgain: 0 }
    const which = turn.again ? 'nextAgain' : 'next'
    const until = Math.max(turn.earliest, line[which])
    line[which] = until + turn.paceMs
    this.#lines.delete(flow)
    this.#lines.set(flow, line)
    if (this.#lines.size > MOST_LINES)
      for (const oldest of this.#lines.keys()) {
        this.#lines.delete(oldest)
        break
      }
    return until
  }

  /** Flows whose line has not come to its end. */
  waiting(now: number): number {
    let count = 0
    for (const line of this.#lines.values()) if (line.next > now || line.nextAgain > now) count++
    return count
  }
}
