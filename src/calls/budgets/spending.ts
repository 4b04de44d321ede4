import { HOUR } from '../../base/index.ts'

/** What a flow spent of a limit in an hour. */
export interface Spent {
  readonly tenant: string
  readonly connectionId: string
  readonly limit: string
  readonly flow: string
  /** The hour's beginning, in milliseconds since 1970. */
  readonly hour: number
  readonly calls: number
  readonly points: number
  /** Calls that the provider refused for want of points. */
  readonly refused: number
}

/** How full a limit's fullest window was: 1 is the limit. */
export interface Peak {
  readonly tenant: string
  readonly connectionId: string
  readonly limit: string
  readonly peak: number
}

/** Distinct sums that wait to be written. Beyond, further flows are counted together. */
const MOST_SUMS = 5_000

/** Who spends what, summed up between two writings. */
export class Spending {
  #sums = new Map<string, { -readonly [Name in keyof Spent]: Spent[Name] }>()

  add(connection: Connection, limit: string, flow: string, points: number, now: number): void {
    const sum = this.#of(connection, limit, flow, now)
    sum.calls++
    sum.points += points
  }

  /** A call that was counted was not made after all. */
  notMade(connection: Connection, limit: string, flow: string, points: number, now: number): void {
    const sum = this.#of(connection, limit, flow, now)
    sum.calls--
    sum.points -= points
  }

  refused(connection: Connection, limit: string, flow: string, now: number): void {
    this.#of(connection, limit, flow, now).refused++
  }

  /** Everything since the last time. */
  taken(): Spent[] {
    const sums = [...this.#sums.values()]
    this.#sums = new Map()
    return sums
  }

  #of(connection: Connection, limit: string, flow: string, now: number) {
    const hour = now - (now % HOUR)
    const named = this.#sums.size < MOST_SUMS ? flow : ''
    const key = `${connection.tenant}|${connection.id}|${limit}|${named}|${hour}`
    let sum = this.#sums.get(key)
    if (sum === undefined) {
      const { tenant, id } = connection
      sum = { tenant, connectionId: id, limit, flow: named, hour, calls: 0, points: 0, refused: 0 }
      this.#sums.set(key, sum)
    }
    return sum
  }
}

interface Connection {
  readonly tenant: string
  readonly id: string
}
