import { SECOND } from '../../base/index.ts'

interface Line {
  /** The times that were given, soonest first. */
  readonly first: Turns
  /** The same for those who came back and found nothing. */
  readonly again: Turns
}

interface Turns {
  /** The time that the next one to be deferred is given. */
  next: number
  /** Who was given a time that is still to come. */
  promised: InTurn[]
}

/** A deferred call and the time that it was given. */
export interface Promised {
  readonly tenant: string
  readonly runId: string
  /** In milliseconds since 1970: what the call was told. */
  readonly until: number
}

interface InTurn extends Promised {
  /** The same time by the clock of the lines. */
  readonly at: number
}

const MOST_LINES = 1000
/** Of a connection, on a node. Those beyond keep the time that they have. */
const MOST_PROMISED = 50_000

/**
 * The times that deferred calls of one connection are given, flow by flow: one after another at the pace that is
 * allowed, and not all at once. Flows do not wait behind each other's backlog; who of them goes is decided when they
 * come back. Where the pace rises, those who wait are brought forward.
 */
export class Lines {
  readonly #lines = new Map<string, Line>()
  #size = 0

  /** A time no earlier than `earliest`, and `paceMs` after the one given before. `told` turns it into what the call is told. */
  turn(
    flow: string,
    turn: { readonly earliest: number; readonly paceMs: number; readonly again: boolean },
    told: (at: number) => Promised,
  ): Promised {
    const line = this.#lines.get(flow) ?? { first: noTurns(), again: noTurns() }
    const turns = turn.again ? line.again : line.first
    const at = Math.max(turn.earliest, turns.next)
    turns.next = at + turn.paceMs
    this.#lines.delete(flow)
    this.#lines.set(flow, line)
    if (this.#lines.size > MOST_LINES) this.#forgetOldest()
    const promise = told(at)
    if (this.#size < MOST_PROMISED) {
      turns.promised.push({ ...promise, at })
      this.#size++
    }
    return promise
  }

  /** Flows whose line has not come to its end. */
  waiting(now: number): number {
    let count = 0
    for (const { first, again } of this.#lines.values()) if (first.next > now || again.next > now) count++
    return count
  }

  /**
   * Takes out those who may come in the next second though they were given a later time: as many as `perSecond` has room
   * for beside those who come anyway, soonest first.
   */
  early(now: number, perSecond: number): readonly Promised[] {
    if (this.#size === 0) return []
    const all = [...this.#lines.values()].flatMap(({ first, again }) => [first, again])
    for (const turns of all) this.#dropPast(turns, now)
    const soon = all.map(({ promised }) => countUntil(promised, now + SECOND))
    const taken = all.map(() => 0)
    const early: InTurn[] = []
    for (let room = Math.floor(perSecond) - sum(soon); room > 0; room--) {
      const which = soonest(all.map(({ promised }, i) => promised[soon[i]! + taken[i]!]))
      if (which < 0) break
      early.push(all[which]!.promised[soon[which]! + taken[which]!]!)
      taken[which]!++
    }
    for (const [i, turns] of all.entries()) takeOut(turns, soon[i]!, taken[i]!)
    this.#size -= early.length
    return early.map(({ tenant, runId, until }) => ({ tenant, runId, until }))
  }

  #dropPast(turns: Turns, now: number): void {
    const past = countUntil(turns.promised, now)
    if (past === 0) return
    turns.promised.splice(0, past)
    this.#size -= past
  }

  #forgetOldest(): void {
    for (const [flow, { first, again }] of this.#lines) {
      this.#lines.delete(flow)
      this.#size -= first.promised.length + again.promised.length
      break
    }
  }
}

function noTurns(): Turns {
  return { next: 0, promised: [] }
}

/** Takes out so many after the first few. Whoever is deferred next need not queue behind times that nobody waits for. */
function takeOut(turns: Turns, from: number, count: number): void {
  if (count === 0) return
  turns.promised.splice(from, count)
  const last = turns.promised.at(-1)
  if (turns.promised.length === from && last) turns.next = Math.min(turns.next, last.at + SECOND)
  else if (!last) turns.next = 0
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0)
}

/** The place of the soonest of these; -1: there is none. */
function soonest(heads: readonly (InTurn | undefined)[]): number {
  let which = -1
  for (const [i, head] of heads.entries()) if (head && (which < 0 || head.at < heads[which]!.at)) which = i
  return which
}

/** How many of these, which are in order, are not after a time. */
function countUntil(promised: readonly InTurn[], at: number): number {
  let low = 0
  let high = promised.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (promised[middle]!.at <= at) low = middle + 1
    else high = middle
  }
  return low
}
