/** Who waits at the gate, by a key that does not depend on this machine's speed. */
interface Waiting<Ticket> {
  readonly ticket: Ticket
  readonly open: () => void
}

/**
 * Lets calls out one at a time, in an order of their own: what several runs do in the same simulated moment then
 * happens in the same order every time.
 */
export class Gate<Ticket extends { readonly owner: unknown }> {
  #waiting: Waiting<Ticket>[] = []

  get tickets(): readonly Ticket[] {
    return this.#waiting.map(({ ticket }) => ticket)
  }

  wait(ticket: Ticket): Promise<void> {
    return new Promise((open) => {
      this.#waiting.push({ ticket, open })
    })
  }

  /** Lets out the first by this key; whether there was one. */
  openFirst(keyOf: (ticket: Ticket) => string): boolean {
    let first: Waiting<Ticket> | undefined
    let least = ''
    for (const one of this.#waiting) {
      const key = keyOf(one.ticket)
      if (first !== undefined && key >= least) continue
      first = one
      least = key
    }
    if (first === undefined) return false
    this.#waiting = this.#waiting.filter((one) => one !== first)
    first.open()
    return true
  }

  /** Those of an owner that has died wait no more; they are given so that they can be let out when it is revived. */
  takeAway(owner: unknown): (() => void)[] {
    const gone = this.#waiting.filter(({ ticket }) => ticket.owner === owner)
    this.#waiting = this.#waiting.filter(({ ticket }) => ticket.owner !== owner)
    return gone.map(({ open }) => open)
  }
}
